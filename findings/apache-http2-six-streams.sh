#!/usr/bin/env bash
# Apache announces 100 streams for an HTTP/2 connection and answers six; the others wait without a word.
#
# Seen with: Apache 2.4.71 of Debian 12 (apache2-bin), December 2026.
# Expected: SETTINGS_MAX_CONCURRENT_STREAMS is 100, so twelve requests of one connection are answered at the same time, as
#   with nginx, HAProxy and Caddy.
# Seen: mod_http2 starts with six requests at a time (`processing_limit` in h2_mplx.c). Answers that end double this number
#   step by step; answers that the client leaves lower it to 16, 8, 4 and 2, and an answer that the client has left occupies
#   its place until its source sends something. `LogLevel http2:trace1` shows each step ("mood update").
# Why it matters: answers that do not end, as Server-Sent Events, never raise the number. The seventh stream of a
#   program gets no head, and a page that opens and leaves streams may wait until the next event.
#   Remedies: some short requests before the streams; a connection for each stream; `Protocols http/1.1`.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download apache2-bin libapr1 libaprutil1 libjansson4 liblua5.3-0 libnghttp2-14 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install --quiet h2==4.4.1
cat >origin.py <<'PROGRAM'
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"data: x\n\n")
        if self.path == "/endless":
            Event().wait(60)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 64
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PROGRAM
python3 -u origin.py >port &
pids+=($!)
until [ -s port ]; do sleep 0.1; done
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
modules=$folder/root/usr/lib/apache2/modules
{
    for name in mpm_event authz_core proxy proxy_http http2; do
        echo "LoadModule ${name}_module $modules/mod_$name.so"
    done
    echo "Listen 127.0.0.1:$free"
    echo "ServerName localhost"
    echo "PidFile $folder/pid"
    echo "ErrorLog $folder/log"
    echo "DefaultRuntimeDir $folder"
    echo "Protocols h2c http/1.1"
    echo "ProxyPass / http://127.0.0.1:$(cat port)/ flushpackets=on"
} >apache.conf
libraries=$(dirname "$(find "$folder/root" -name 'libapr-1.so.0')")
LD_LIBRARY_PATH=$libraries root/usr/sbin/apache2 -X -d "$folder" -f "$folder/apache.conf" 2>errors &
pids+=($!)
curl -s -o /dev/null --retry 20 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$free/"
cat >program.py <<'PROGRAM'
import socket
import sys
import time

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded

STREAMS, PATIENCE_S, PAUSE_S = 12, 5.0, 0.2


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        self.http2 = H2Connection()
        self.http2.initiate_connection()
        self.got, self.ended = set(), set()

    def ask(self, path):
        number = self.http2.get_next_available_stream_id()
        head = {":method": "GET", ":path": path, ":scheme": "http", ":authority": "localhost"}
        self.http2.send_headers(number, list(head.items()), end_stream=True)
        return number

    def read_until(self, condition):
        ends = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < ends:
            self.socket.sendall(self.http2.data_to_send())
            self.socket.settimeout(max(0.01, ends - time.monotonic()))
            try:
                piece = self.socket.recv(65536)
            except TimeoutError:
                return
            for event in self.http2.receive_data(piece):
                if isinstance(event, DataReceived):
                    self.got.add(event.stream_id)
                if isinstance(event, StreamEnded):
                    self.ended.add(event.stream_id)

    def short(self):
        number = self.ask("/short")
        self.read_until(lambda: number in self.ended)
        time.sleep(PAUSE_S)

    def left(self):
        number = self.ask("/endless")
        self.read_until(lambda: number in self.got)
        self.http2.reset_stream(number, ErrorCodes.CANCEL)
        self.socket.sendall(self.http2.data_to_send())
        time.sleep(PAUSE_S)

    def streams(self):
        asked = {self.ask("/endless") for _ in range(STREAMS)}
        self.read_until(lambda: asked <= self.got)
        return len(asked & self.got)


fresh, warm, leaving = Client(), Client(), Client()
at_once = fresh.streams()
print("streams that Apache announces:", fresh.http2.remote_settings.max_concurrent_streams)
for _ in range(5):
    warm.short()
after_short = warm.streams()
for _ in range(5):
    leaving.short()
for _ in range(4):
    leaving.left()
after_left = leaving.streams()
print(f"answered of {STREAMS}: {at_once} on a new connection, {after_short} after five short answers,")
print(f"{after_left} after five short answers and four streams that the client left")
raise SystemExit(not (at_once == 6 and after_short == STREAMS and after_left < 6))
PROGRAM
venv/bin/python program.py "$free" || { echo "changed"; exit 1; }
