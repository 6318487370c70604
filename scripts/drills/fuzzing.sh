#!/usr/bin/env bash
# Ten minutes and more of generated requests: 1,000 hostile ones for each group of routes, 300 bodies for each way
# of a post, then schemathesis with 1,000 examples a route, new ones in every run.
# Arguments go to schemathesis.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/venv.sh"
ensure_venv tests
cd "$root"
"$venv/bin/python" -c "from tests.support.client_tools import need_client_tools; need_client_tools()"
BAS_TEST_LONG=1 PYTEST_TIMEOUT=0 "$venv/bin/python" -m pytest \
    tests/component/http/test_hostile_input.py tests/component/routes/test_every_path.py
"$venv/bin/python" -m tools.api_fuzzing --max-examples=1000 "$@"
