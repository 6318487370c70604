#!/usr/bin/env bash
# lighttpd's proxy holds an answer of unknown length until it ends, by default.
#
# Seen with: lighttpd 1.4.69 of Debian 12, November 2026.
# Expected: as with nginx, HAProxy, Caddy, Apache and Varnish, which pass a stream of text/event-stream on as it comes, or at
#   the latest with its second piece.
# Seen: the client gets not even the head before the answer has ended. An endless one fills a temporary file.
# Why it matters: a page with live values stays empty, and nothing is in any log.
#   `server.stream-response-body = 2` passes it on at once.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download lighttpd >/dev/null 2>&1
dpkg -x lighttpd_*.deb root
cat >origin.py <<'PROGRAM'
import socket
import time

with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"data: x\n\n")
            time.sleep(1)
        connection.close()
PROGRAM
python3 -u origin.py >port &
pids+=($!)
until [ -s port ]; do sleep 0.1; done
origin=$(cat port)
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# Seconds from the request to the first byte of the answer; $1 is a line of the configuration.
first_byte() {
    {
        echo "server.port = $free"
        echo 'server.bind = "127.0.0.1"'
        echo "server.document-root = \"$folder\""
        echo 'server.modules = ("mod_proxy")'
        echo "proxy.server = (\"\" => ((\"host\" => \"127.0.0.1\", \"port\" => $origin)))"
        echo "$1"
    } >lighttpd.conf
    root/usr/sbin/lighttpd -D -f lighttpd.conf -m root/usr/lib/lighttpd 2>log &
    local server=$!
    pids+=("$server")
    curl -s -o /dev/null -w '%{time_starttransfer}' --retry 20 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$free/"
    kill "$server"
    wait "$server" || true
}
held=$(first_byte "")
passed=$(first_byte "server.stream-response-body = 2")
echo "first byte after $held s by default, after $passed s with server.stream-response-body = 2"
python3 -c "import sys; sys.exit(not ($held > 3 > $passed))" || { echo "changed"; exit 1; }
