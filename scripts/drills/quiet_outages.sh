#!/usr/bin/env bash
# Three outages of a minute each under load: the log stays short.
set -euo pipefail
export BAS_TEST_LONG=1
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" \
    tests/integration/test_quiet_outages.py "$@"
