#!/usr/bin/env bash
# Two minutes of sealing and conversion that are killed: a process stores readings and packs them, and
# is killed fifty times; after each kill every acknowledged reading is there once and in order.
set -euo pipefail
export BAS_TEST_LONG=1
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" \
    tests/integration/test_kill_while_packing.py "$@"
