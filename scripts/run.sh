#!/usr/bin/env bash
# Runs `python bas_server.py ARGS`, setting up what is missing first. Paths in ARGS are relative to
# where you are; the data stay in the checkout's data/ wherever you are, unless BAS_DATA_DIR says else.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/venv.sh"

ensure_venv runtime
export BAS_DATA_DIR="${BAS_DATA_DIR:-$root/data}"
exec "$venv/bin/python" "$root/bas_server.py" "$@"
