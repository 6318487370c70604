"""/openapi.json in the hands of strangers: a validator, and generators of clients."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.client_tools import need_client_tools, need_openapi_typescript
from tools.api_pages import documented_server
from tools.process import REPOSITORY

TOOL_S = 600
# The generator reads no NDJSON; the same rows go as a JSON array.
UNREAD = "Unsupported content type application/x-ndjson"
USE = REPOSITORY / "tests" / "clients" / "use_client.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the account of the examples."""
    need_client_tools()
    with documented_server(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def document(server, tmp_path_factory):
    """The file with the server's document."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=60) as answer:
        path.write_bytes(answer.read())
    return path


def run(*command: str | Path, **environment: str) -> str:
    """What a tool prints; AssertionError with it if the tool fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOOL_S,
        check=False,
        env=os.environ | environment,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_document_is_valid_openapi_3_1(document, show):
    said = run(need_client_tools() / "openapi-spec-validator", document)
    show(said)
    assert said.endswith(": OK\n")


@pytest.mark.long
def test_the_python_client_calls_every_route(server, document, tmp_path, show):
    tools = need_client_tools()
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    generate = (tools / "openapi-python-client", "generate", "--meta", "none")
    made = run(*generate, "--path", document, "--output-path", tmp_path / "client", PATH=path)
    show(made)
    warnings = re.findall(r"^(?:Unsupported|Cannot|Could not|Invalid|Skipping).*", made, re.M)
    assert (warnings, made.count("WARNING")) == ([UNREAD], 1)
    called = run(tools / "python", USE, document, server.url, PYTHONPATH=str(tmp_path))
    assert len(re.findall(r"^\w+ ok$", called, re.M)) >= 33


def test_the_typescript_client_is_made_without_a_warning_and_leaves_optional_fields_out(
    document, tmp_path, show
):
    types = tmp_path / "types.ts"
    made = run(need_openapi_typescript(), document, "-o", types)
    show(made)
    assert "warn" not in made.lower()
    text = types.read_text()
    body = text[text.index("SensorData: {") :]
    assert re.search(r"\bsensor_ok: boolean;", body[:3000])
    assert re.search(r"\bseq\?: number \| null;", body[:3000])
