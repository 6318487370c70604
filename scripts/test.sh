#!/usr/bin/env bash
# Format, lint, types, then the tests; sets up what is missing first. Arguments go to pytest, with
# paths relative to the checkout:
#
#   scripts/test.sh                        all, in several processes, then those that measure alone
#   scripts/test.sh tests/unit             a folder, in the same way
#   scripts/test.sh tests/unit/x.py -x     what names a file runs in one process
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/venv.sh"

NO_TESTS=5 # pytest's exit code where no test is left to run

# A folder in memory, where it may hold programs: what the tests store waits for no disk there.
memory_folder() {
    local free folder
    free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) || return 1
    [ "${free:-0}" -ge 1000000 ] || return 1
    folder=$(mktemp -d /dev/shm/bas-tests.XXXXXX 2>/dev/null) || return 1
    if cp /bin/true "$folder/probe" 2>/dev/null && "$folder/probe" 2>/dev/null; then
        rm "$folder/probe"
        printf '%s' "$folder"
    else
        rm -rf "$folder"
        return 1
    fi
}

# A test waits for half of its time, so that twice as many processes as cores keep these busy.
workers() {
    local cores
    cores=$(nproc 2>/dev/null || echo 2)
    echo $((cores < 3 ? cores * 2 : 4))
}

ensure_venv tests
cd "$root"
"$venv/bin/python" -m ruff format --check --quiet . ||
    die "Some files are not formatted: .venv/bin/python -m ruff format . formats them."
"$venv/bin/python" -m ruff check --quiet .
"$venv/bin/python" -m mypy

# Compiled once, not by each server that a test starts.
unset PYTHONDONTWRITEBYTECODE
if [ -z "${TMPDIR:-}" ] && TMPDIR=$(memory_folder); then
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
else
    [ -n "${TMPDIR:-}" ] || unset TMPDIR
fi

for argument in "$@"; do
    case $argument in
    *.py | *.py::*)
        code=0
        "$venv/bin/python" -m pytest "$@" || code=$?
        exit "$code"
        ;;
    esac
done

together=0 alone=0
"$venv/bin/python" -m pytest -n "$(workers)" -m "not alone" "$@" || together=$?
"$venv/bin/python" -m pytest -m alone "$@" || alone=$?
for code in "$together" "$alone"; do
    if [ "$code" -ne 0 ] && [ "$code" -ne "$NO_TESTS" ]; then exit "$code"; fi
done
[ "$together" -eq 0 ] || [ "$alone" -eq 0 ] || exit "$NO_TESTS"
