#!/usr/bin/env bash
# 5,000 hostile connections and 3,000 streams of one account while 1,000 devices post.
set -euo pipefail
export BAS_TEST_LONG=1
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" \
    tests/integration/test_hostile_crowd.py -s "$@"
