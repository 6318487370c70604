#!/usr/bin/env bash
# Ten minutes of two machines in network namespaces with two processes each, on one Redis and one
# Firestore emulator: 100 rounds of a killed or frozen process, a cut cable or a wrong clock. Run it as root.
# BAS_DRILL_ROUNDS sets the rounds; BAS_DRILL_SEED repeats the choices of an earlier run.
set -euo pipefail
# shellcheck source=scripts/lib/drill.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/drill.sh"
drill "nothing acknowledged was lost, no minimum time was broken, each stream is complete or was reset." \
    tests/integration/test_two_machines.py -s "$@"
