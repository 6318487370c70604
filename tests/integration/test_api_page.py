"""docs/api/routes.md: every line gets an answer of the form that the page shows."""

from __future__ import annotations

import json
import shutil

import pytest

from server.http.openapi.document import ANSWERS
from tests.support.pages import EVERYTHING, run_here
from tools.api_pages import PAGE, Examples, documented_server, form

for shown in [one for one in EVERYTHING if one.page == PAGE]:
    run_here(PAGE, shown.text)


def test_every_curl_line_of_the_page_gets_its_answer(tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the lines of docs/api/routes.md do NOT run")
    noted = json.loads(ANSWERS.read_text(encoding="utf-8"))
    with documented_server(tmp_path / "data") as server:
        found = Examples(server, tmp_path).run()
    assert {name: form(one) for name, one in found.items()} == {
        name: form(one) for name, one in noted.items()
    }
