#!/usr/bin/env bash
# Two minutes of sealing and conversion that are killed: a process stores readings and packs them, and
# is killed fifty times; after each kill every acknowledged reading is there once and in order.
set -euo pipefail
# shellcheck source=scripts/lib/drill.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/drill.sh"
drill "after fifty kills during packing every acknowledged reading is there once and in order." \
    tests/integration/test_kill_while_packing.py "$@"
