#!/usr/bin/env bash
# Reverse proxies in wide use in front of the server, each with its shortest configuration and with the one of
# docs/proxies.md: prints that page's table. Takes half an hour; names of proxies choose some of them.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/venv.sh"
ensure_venv tests
cd "$root"
"$venv/bin/python" -m scripts.matrix.proxies "$@"
