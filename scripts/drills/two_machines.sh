#!/usr/bin/env bash
# Ten minutes of two machines in network namespaces with two processes each, on one Redis and one
# Firestore emulator: 100 rounds of a killed or frozen process, a cut cable or a wrong clock. Run it as root.
set -euo pipefail
export BAS_TEST_LONG=1
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" \
    tests/integration/test_two_machines.py "$@"
