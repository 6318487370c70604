#!/usr/bin/env bash
# Clients of the live stream in wide use, each through a drop, a `bye`, a `reset`, an outage of Redis, a 401
# and a 503: prints the table of docs/api/clients.md. Takes about half an hour; needs node, npm and redis-server.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/venv.sh"
ensure_venv tests
cd "$root"

npm=(
    eventsource=4.1.1 eventsource-client=1.2.0 launchdarkly-eventsource=2.2.0
    @microsoft/fetch-event-source=2.0.1 reconnecting-eventsource=1.6.5
)
pypi=(
    httpx-sse=0.4.3 sseclient-py=1.9.0 sseclient=0.0.27 aiohttp-sse-client2=0.3.0
    launchdarkly-eventsource=1.7.4
)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/npm"
(cd "$folder/npm" && npm install --silent --no-fund --no-audit "${npm[@]/=/@}" >&2)
for one in "${pypi[@]}"; do # two of them have the same module, so each has its own folder
    "$venv/bin/python" -m pip install --quiet --target "$folder/${one%=*}" "${one/=/==}" requests httpx >&2
done
"$venv/bin/python" -m scripts.matrix.stream_clients "$folder" "${npm[@]/#/npm }" "${pypi[@]/#/Python }"
