"""schemathesis: answers to requests made from /openapi.json, right and wrong, are as it says.

The drill scripts/drills/fuzzing.sh sends 1,000 a route.
"""

from __future__ import annotations

import re

from tests.support.client_tools import need_client_tools
from tools.api_fuzzing import fuzz

# As many as take a quarter of a minute on an idle machine; the same ones in every run.
EXAMPLES, SEED = 10, 20261130
RUN_S = 900


def test_no_generated_request_gets_an_answer_that_the_document_does_not_describe(tmp_path):
    program = need_client_tools() / "schemathesis"
    options = (f"--max-examples={EXAMPLES}", f"--seed={SEED}", "--phases=examples,coverage,fuzzing")
    code, printed = fuzz(program, tmp_path, *options, timeout_s=RUN_S)
    print(printed)
    assert code == 0, printed
    tested = re.search(r"^  Tested: (\d+)$", printed, re.M)
    assert tested is not None
    assert int(tested[1]) >= 34, printed
