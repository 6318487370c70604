#!/usr/bin/env bash
# Ten minutes of made-up outages, wrong clocks and reboots: the tests that have a long form, in it.
set -euo pipefail
export BAS_TEST_LONG=1
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" \
    tests/unit/control/test_mixed_disturbances.py tests/unit/control/test_device_clocks.py \
    tests/component/control/test_without_store_model.py "$@"
