#!/usr/bin/env bash
# Ten minutes of systemd, as root: scripts/install.sh in a clean Debian that debootstrap made and
# systemd-nspawn booted; there the service is killed, frozen, started before its address is there,
# and updated. It uses this machine's network: BAS_DRILL_PORT, 18080, must be free.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/venv.sh"
# shellcheck source=scripts/lib/apt.sh
source "$root/scripts/lib/apt.sh"

port=${BAS_DRILL_PORT:-18080}
packages=systemd,systemd-sysv,dbus,python3,python3-venv,curl,ca-certificates,procps
KILLED_S=30 FROZEN_S=75

[ "$(id -u)" -eq 0 ] || die "Run it as root: it makes and boots a Debian."
install_packages debootstrap systemd-container || die "Install debootstrap and systemd-container."
debian=$(mktemp -d /var/tmp/bas-debian.XXXXXX)
# Its accounts must be able to pass through its root folder.
chmod 755 "$debian"
boot=

leave() {
    if [ -n "$boot" ]; then inside systemctl poweroff || true; wait "$boot" || true; fi
    rm -rf "$debian"
}
trap leave EXIT

# inside COMMAND...: runs it in the booted Debian.
inside() {
    local init
    init=$(pgrep --parent "$boot")
    nsenter --target "$init" --mount --pid --uts --ipc --root --wd=/proc/"$init"/root \
        env --ignore-environment PATH=/usr/local/bin:/usr/sbin:/usr/bin HOME=/root "$@"
}

property() { inside systemctl show bas --property "$1" --value; }

# within SECONDS WHAT COMMAND...: waits until the command succeeds, and says how long that took.
within() {
    local began=$SECONDS seconds=$1 what=$2
    shift 2
    until "$@"; do
        [ $((SECONDS - began)) -lt "$seconds" ] || die "Not within $seconds s: $what."
        sleep 0.2
    done
    say "$what: $((SECONDS - began)) s"
}

is_up() {
    case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) false ;; esac
}
answers() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/healthz")" = 200 ]; }
is_new() { [ "$(property MainPID)" != "$old" ] && answers; }
was_tried_again() { [ "$(property SubState)" = auto-restart ]; }

say "Making a Debian in $debian..."
debootstrap --variant=minbase --include="$packages" bookworm "$debian" >"$debian.log" 2>&1 ||
    die "debootstrap failed: $debian.log"
rm "$debian.log"
mkdir "$debian/root/bas"
git -C "$root" archive HEAD | tar -x -C "$debian/root/bas"
# Where this machine's pip finds packages, that one's does too.
binds=()
for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt /opt/wheels /opt/pypi; do
    [ ! -e "$file" ] || binds+=(--bind-ro="$file")
done
printf 'BAS_PORT=%s\n' "$port" >"$debian/etc/bas.env"
systemd-nspawn --quiet --directory "$debian" --keep-unit --register=no "${binds[@]}" --boot \
    </dev/null >/dev/null 2>&1 &
boot=$!
within 60 "systemd is up" is_up

inside bash /root/bas/scripts/install.sh
[ "$(property Type)" = notify ] || die "systemd does not wait until the server serves."
answers || die "The server does not answer after its installation."
inside bas list-users | grep -q admin || die "The bas command does not list the admin."

old=$(property MainPID)
inside kill -KILL "$old"
within "$KILLED_S" "killed, and in service again" is_new
old=$(property MainPID)
inside kill -STOP "$old"
within "$FROZEN_S" "frozen, and replaced by the watchdog" is_new
inside systemctl stop bas
[ "$(property Result)" = success ] || die "The stop failed: $(property Result)"

inside sh -c 'echo BAS_HOST=203.0.113.7 >>/etc/bas.env && systemctl start --no-block bas'
within 60 "its address is not there, and it is tried again" was_tried_again
inside sed -i /203.0.113.7/d /etc/bas.env
within "$KILLED_S" "its address is there, and it serves" answers

inside bash /root/bas/scripts/install.sh
answers || die "The server does not answer after its update."
say "Proved: the unit starts, is restarted when killed or frozen, waits for its address, and is updated."
