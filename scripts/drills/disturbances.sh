#!/usr/bin/env bash
# Ten minutes of made-up outages, wrong clocks and reboots: the tests that have a long form, in it.
set -euo pipefail
# shellcheck source=scripts/lib/drill.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/drill.sh"
drill "no outage, wrong clock or reboot broke a minimum time, switched on without the store, or shut a zone out." \
    tests/unit/control/test_mixed_disturbances.py tests/unit/control/test_device_clocks.py \
    tests/component/control/test_without_store_model.py "$@"
