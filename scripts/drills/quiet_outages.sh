#!/usr/bin/env bash
# Three outages of a minute each under load: the log stays short.
set -euo pipefail
# shellcheck source=scripts/lib/drill.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/drill.sh"
drill "a minute without Redis, without Firestore or with a full disk writes at most 20 log lines." \
    tests/integration/test_quiet_outages.py "$@"
