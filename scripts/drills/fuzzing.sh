#!/usr/bin/env bash
# Ten minutes and more of generated requests: schemathesis with 1,000 examples a route, new ones in every run.
# Arguments go to schemathesis.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/venv.sh"
ensure_venv tests
cd "$root"
"$venv/bin/python" -c "from tests.support.client_tools import need_client_tools; need_client_tools()"
"$venv/bin/python" -m tools.api_fuzzing --max-examples=1000 "$@"
