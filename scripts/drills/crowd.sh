#!/usr/bin/env bash
# 5,000 hostile connections and 3,000 streams of one account while 1,000 devices post.
set -euo pipefail
# shellcheck source=scripts/lib/drill.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/drill.sh"
drill "no post was refused, and devices waited at most twice as long." \
    tests/integration/test_hostile_crowd.py -s "$@"
