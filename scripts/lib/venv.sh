# shellcheck shell=bash
# The virtualenv of this checkout, for scripts that `set -euo pipefail` and source this file.
# Sets $root (the checkout) and $venv; `ensure_venv runtime|tests` makes $venv/bin/python ready.
# BAS_PYTHON names the Python to build it with.

root=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
venv=$root/.venv
unfinished=$venv/.unfinished # stands while the set-up runs, so that an interrupted one is seen

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# The Python's version tag (cpython-311); fails unless it runs and is 3.11 or newer.
tag_of() {
    "$1" -I -S -c 'import sys
if sys.version_info < (3, 11): sys.exit(1)
print(sys.implementation.cache_tag)' 2>/dev/null
}

# What the stamp of a finished set-up says: the Python's tag and the hash of the pins. With an
# older or broken Python the tag is missing and no stamp matches.
fingerprint() {
    local tag
    tag=$(tag_of "${BAS_PYTHON:-$venv/bin/python}") || return 0
    printf '%s %s' "$tag" "$(cat "${@/#/$root/}" | sha256sum)"
}

# Brings ensurepip to Debian's python3, which comes without.
install_ensurepip() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then return 0; fi
    say "Installing python3-venv..."
    { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } \
        >/dev/null 2>&1 || say "apt-get could not install python3-venv."
}

# Sets $python to one of at least 3.11 that can make virtualenvs. Candidates are run, not only
# looked up: a pyenv shim exists and fails when its version is not chosen.
find_python() {
    local candidate able=() candidates=(python3 python3.13 python3.12 python3.11 /usr/bin/python3)
    if [ -n "${BAS_PYTHON:-}" ]; then candidates=("$BAS_PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if tag_of "$candidate" >/dev/null; then able+=("$candidate"); fi
    done
    if [ "${#able[@]}" -eq 0 ]; then
        die "Python 3.11 or newer is needed, and ${candidates[*]} is not." \
            "Install python3 and python3-venv, or set BAS_PYTHON to a newer Python."
    fi
    find_with_ensurepip "${able[@]}" && return
    install_ensurepip
    find_with_ensurepip "${able[@]}" && return
    die "${able[0]} cannot make virtualenvs." \
        "Install them (Debian, Ubuntu: sudo apt-get install python3-venv) and run this again."
}

find_with_ensurepip() {
    for python in "$@"; do
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return 0; fi
    done
    return 1
}

# A virtualenv that pip can add to: complete, working, of the Python asked for.
is_usable() {
    local tag
    [ ! -e "$unfinished" ] &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        tag=$(tag_of "$venv/bin/python") &&
        [ "$tag" = "$(tag_of "${BAS_PYTHON:-$venv/bin/python}")" ]
}

install_pins() {
    if is_usable; then
        say "Bringing .venv up to date..."
        touch "$unfinished"
    else
        find_python
        say "Setting up .venv (first run, about a minute)..."
        mkdir -p "$venv"
        touch "$unfinished"
        find "$venv/" -mindepth 1 -maxdepth 1 ! -name "${unfinished##*/}" -exec rm -rf {} +
        "$python" -m venv "$venv"
    fi
    rm -f "$venv"/*.stamp
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$1" ||
        die "pip could not install the packages of $1; its messages are above."
}

# ensure_venv runtime|tests
ensure_venv() {
    local pins=requirements.txt files=(requirements.txt)
    if [ "$1" = tests ]; then
        pins=tests/requirements.txt
        files+=(tests/requirements.txt)
    fi
    is_stamped "$1" "${files[@]}" && return

    # The lock is on this very file: nothing to clean up, and two first runs take turns.
    exec 9<"$root/scripts/lib/venv.sh"
    if command -v flock >/dev/null && ! flock -n 9; then
        say "Waiting for another set-up of .venv to end..."
        flock 9
    fi
    if ! is_stamped "$1" "${files[@]}"; then
        install_pins "$root/$pins"
        fingerprint requirements.txt >"$venv/runtime.stamp"
        if [ "$1" = tests ]; then fingerprint "${files[@]}" >"$venv/tests.stamp"; fi
        rm "$unfinished"
    fi
    exec 9<&-
}

is_stamped() {
    local stamp=$venv/$1.stamp
    [ -s "$stamp" ] && [ ! -e "$unfinished" ] && [ "$(<"$stamp")" = "$(fingerprint "${@:2}")" ]
}
