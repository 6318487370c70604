#!/usr/bin/env bash
# Installs the server on Debian as a service of systemd, or updates it: sudo scripts/install.sh
#
# Each run puts a whole new copy of this checkout beside the installed one and switches to it at the
# end, so that a run that fails changes nothing. Accounts, readings and settings stay as they are:
#
#   /opt/bas                          the program, a link to its newest copy in /opt/bas-versions
#   /var/lib/bas                      the data, of the user bas alone
#   /etc/bas.env                      the settings
#   /etc/systemd/system/bas.service   the unit, infra/bas.service
#   /usr/local/bin/bas                runs commands as the server's user
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/venv.sh"
# shellcheck source=scripts/lib/apt.sh
source "$root/scripts/lib/apt.sh"
# shellcheck source=scripts/lib/settings.sh
source "$root/scripts/lib/settings.sh"

user=bas
program=/opt/bas
versions=/opt/bas-versions
unit=/etc/systemd/system/bas.service
command=/usr/local/bin/bas
START_S=60
copy=

# Stops before anything is changed, where the result would not be what the reader of this wants.
check() {
    [ "$(id -u)" -eq 0 ] || die "Run it as root: sudo $0"
    command -v apt-get >/dev/null || die "This is no Debian: docs/operations.md shows a container."
    if [ -e "$program" ] && [ ! -L "$program" ]; then
        die "$program is a folder, from an earlier way to install. Move it away, then run this in it:" \
            "systemctl stop bas; mv $program /usr/local/src/bas"
    fi
    if [ -e "$unit" ] && ! grep -q scripts/install.sh "$unit"; then
        die "$unit was written by hand. Move its Environment= settings to $settings, delete it, and" \
            "run this again."
    fi
    if [ -e "$command" ] && [ "$(readlink "$command")" != "$program/scripts/bas.sh" ]; then
        die "$command is there already, from something else: move it away."
    fi
    if [ "$(id -u "$user" 2>/dev/null || echo 0)" -ge 1000 ]; then
        die "The account $user is a person's, and the server needs one of this name for itself."
    fi
}

# Makes $copy: a copy of this checkout that belongs to root, with its packages.
copy_program() {
    local version
    version=$(sed -n 's/^VERSION = "\(.*\)"/\1/p' "$root/server/common/version.py")
    umask 022
    mkdir -p "$versions"
    exec 8<"$versions"
    flock -n 8 || die "Another run of this is at work."
    copy=$versions/$(date -u +%Y%m%dT%H%M%SZ)-$version
    trap 'rm -rf "$copy"' EXIT
    mkdir "$copy"
    cp -R "$root"/{bas_server.py,server,infra,scripts,docs,requirements.txt} \
        "$root"/{README.md,CHANGELOG.md,CONTRIBUTING.md,LICENSE} "$copy"
    chmod -R u=rwX,go=rX "$copy"
    find "$copy" -name __pycache__ -prune -exec rm -rf {} +
    # Not a Python of somebody's home folder: the service does not see those.
    BAS_PYTHON=${BAS_PYTHON:-/usr/bin/python3} PYTHONDONTWRITEBYTECODE='' \
        bash -c 'set -euo pipefail; source "$1/scripts/lib/venv.sh"; ensure_venv runtime' - "$copy"
    "$copy/.venv/bin/python" -m compileall -q "$copy/server" "$copy/bas_server.py"
}

# What stays from one version to the next.
prepare_machine() {
    if ! id "$user" >/dev/null 2>&1; then
        useradd --system --user-group --home-dir "$data" --no-create-home \
            --shell /usr/sbin/nologin "$user"
    fi
    install -d -o "$user" -g "$user" -m 700 "$data"
    [ -e "$settings" ] || install -o root -g "$user" -m 640 "$copy/infra/bas.env" "$settings"
}

# From here on the new version is the installed one. The last one stays, to go back to.
switch() {
    local last
    last=$(readlink "$program" || true)
    ln -s "$copy" "$copy/.link"
    mv -T "$copy/.link" "$program"
    trap - EXIT
    ln -sf "$program/scripts/bas.sh" "$command"
    install -m 644 "$copy/infra/bas.service" "$unit"
    find "$versions" -mindepth 1 -maxdepth 1 ! -path "$copy" ! -path "${last:-$copy}" \
        -exec rm -rf {} +
}

start() {
    if [ ! -d /run/systemd/system ]; then
        systemctl --quiet enable bas
        say "systemd does not run here: the server starts when it does."
        return
    fi
    systemctl daemon-reload
    systemctl --quiet enable bas
    systemctl restart bas
    say "Starting..."
    for ((second = 0; second < START_S; second++)); do
        if systemctl --quiet is-active bas && (load_settings && answers); then
            say "The server answers. Its first start printed the password of admin:" \
                "journalctl -u bas | grep password"
            return
        fi
        sleep 1
    done
    die "The server does not answer within $START_S s; its log says why: journalctl -u bas -n 20"
}

if [ "$#" -gt 0 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    [ "$1" = --help ] || exit 2
    exit 0
fi
check
install_packages ca-certificates python3 python3-venv ||
    die "apt-get could not install ca-certificates, python3 and python3-venv; try it by hand."
copy_program
prepare_machine
switch
start
