#!/usr/bin/env bash
# Runs a command of the installed server, as its user and with its settings: bas set-password admin
# scripts/install.sh links /usr/local/bin/bas to this file.
set -euo pipefail
root=$(readlink -f "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/..")
# shellcheck source=scripts/lib/settings.sh
source "$root/scripts/lib/settings.sh"

as=()
if [ -d "$data" ] && [ "$(id -u)" -ne "$(stat -c %u "$data")" ]; then
    user=$(stat -c %U "$data")
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && exec sudo -- "$0" "$@"
        printf '%s belongs to %s: run this as that user, or as root.\n' "$data" "$user" >&2
        exit 1
    fi
    as=(runuser -u "$user" --)
fi
load_settings
exec "${as[@]}" "$root/.venv/bin/python" "$root/bas_server.py" "$@"
