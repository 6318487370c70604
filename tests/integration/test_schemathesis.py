"""schemathesis: answers to requests made from /openapi.json, right and wrong, are as it says.

The drill scripts/drills/fuzzing.sh sends 1,000 a route.
"""

from __future__ import annotations

import re

import pytest

from server.http.openapi.tables import TABLES
from tests.support.client_tools import need_client_tools
from tools.api_fuzzing import fuzz

# The same ones in every run. Beside them are about 40 a route that try each limit once.
EXAMPLES, SEED = 100, 20261130
RUN_S = 1800
# Each is a run with a server of its own and takes about as long as the others.
PARTS = {
    "accounts": ("accounts", "sessions", "pages", "health"),
    "history": ("history", "alarms", "audit", "notices", "tokens"),
    "zones": ("readings", "zones", "devices"),
}
# The tag of the stream's route, which needs a client that goes on reading.
NOT_READ = "stream"


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_no_generated_request_gets_an_answer_that_the_document_does_not_describe(
    part, tmp_path, show
):
    tags = PARTS[part]
    options = (
        f"--max-examples={EXAMPLES}",
        f"--seed={SEED}",
        "--phases=examples,coverage,fuzzing",
        *(f"--include-tag={tag}" for tag in tags),
    )
    with open(tmp_path / "printed", "w+") as output:
        program = need_client_tools() / "schemathesis"
        code = fuzz(program, tmp_path, *options, timeout_s=RUN_S, output=output)
        output.seek(0)
        printed = output.read()
    print(printed)
    show(printed[printed.rfind("Test Phases:") :])
    assert code == 0, printed
    tested = re.search(r"^  Tested: (\d+)$", printed, re.M)
    assert tested is not None
    assert int(tested[1]) == sum(len(TABLES[tag][1]) for tag in tags), printed


def test_every_operation_but_the_stream_is_in_a_part():
    assert {tag for tags in PARTS.values() for tag in tags} == set(TABLES) - {NOT_READ}
