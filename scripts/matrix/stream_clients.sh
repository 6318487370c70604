#!/usr/bin/env bash
# Clients of the live stream in wide use, each through a drop, a `bye`, a `reset`, an outage of Redis, a 401
# and a 503: prints the table of docs/api/clients.md. Takes about 20 minutes; needs node, npm and redis-server.
# Parts of names choose some of the clients.
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
# Debian's package: Go's own proxy, where one is reached, has others.
go_source=/usr/share/gocode/src/github.com/donovanhide/eventsource
others=()
first_number() { sed -En '1s/[^0-9]*([0-9.]+).*/\1/p'; }
if command -v curl >/dev/null; then
    version=$(curl --version | first_number)
    others+=("curl=$version" "curl in a loop=$version")
fi
if command -v chromium >/dev/null; then
    others+=("Chromium=$(chromium --version 2>/dev/null | first_number)")
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if command -v go >/dev/null && [ -d "$go_source" ]; then
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$folder/cache" \
        go build -o "$folder/go-client" scripts/matrix/clients.go
    version=$(dpkg-query -W -f '${Version}' golang-github-donovanhide-eventsource-dev)
    version=${version#*git}
    others+=("Go donovanhide/eventsource=${version%-*}")
else
    echo "No client in Go: apt-get install golang-go golang-github-donovanhide-eventsource-dev" >&2
fi
mkdir "$folder/npm"
(cd "$folder/npm" && npm install --silent --no-fund --no-audit "${npm[@]/=/@}" >&2)
for one in "${pypi[@]}"; do # two of them have the same module, so each has its own folder
    "$venv/bin/python" -m pip install --quiet --target "$folder/${one%=*}" "${one/=/==}" requests httpx >&2
done
all=("${npm[@]/#/npm }" "${pypi[@]/#/Python }" "${others[@]}")
chosen=()
for one in "${all[@]}"; do
    for wanted in "${@:-}"; do
        if [[ $one == *"$wanted"* ]]; then
            chosen+=("$one")
            break
        fi
    done
done
"$venv/bin/python" -m scripts.matrix.stream_clients "$folder" "${chosen[@]}"
