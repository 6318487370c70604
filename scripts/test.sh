#!/usr/bin/env bash
# Format, lint, types, then the tests; sets up what is missing first. Arguments go to pytest, with
# paths relative to the checkout: scripts/test.sh tests/unit -x
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/venv.sh"

ensure_venv tests
cd "$root"
"$venv/bin/python" -m ruff format --check --quiet . ||
    die "Some files are not formatted: .venv/bin/python -m ruff format . formats them."
"$venv/bin/python" -m ruff check --quiet .
"$venv/bin/python" -m mypy
exec "$venv/bin/python" -m pytest "$@"
