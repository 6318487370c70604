#!/usr/bin/env bash
# A uvloop server that can open no more files resets new connections, and says nothing.
#
# Seen with: uvloop 0.23.0 from PyPI, CPython 3.11, November 2026.
# Expected: as with asyncio's own event loop, which logs "socket.accept() out of system resource", leaves new
#   connections in the queue of the listening socket for a second, and serves them when files are free again.
# Seen: uvloop accepts a connection and closes it at once. Nothing is logged, no exception handler is called.
# Why it matters: clients see resets from a server that seems healthy, and its log has no reason. Keep some
#   files back: count the connections, refuse them below the limit, and say so.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0
cat >"$folder/program.py" <<'PROGRAM'
import asyncio
import logging
import os
import resource
import socket
import sys

import uvloop

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("asyncio").addHandler(handler)


async def late_client(loop):
    """What a client hears that connects while the server can open no file, which then gets one."""
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    held = []
    client = socket.socket()  # before the files run out
    client.setblocking(False)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), most))
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    await loop.sock_connect(client, ("127.0.0.1", port))
    await asyncio.sleep(0.5)
    for one in held:
        os.close(one)
    try:
        answer = await asyncio.wait_for(loop.sock_recv(client, 1), 3)
        heard = "closed" if answer == b"" else "data"
    except TimeoutError:
        heard = "open"
    except ConnectionError:
        heard = "closed"
    server.close()
    return heard


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: lines.append(context["message"]))
    return await late_client(loop)


heard = (uvloop.run if sys.argv[1] == "uvloop" else asyncio.run)(main())
print(sys.argv[1], "connection", heard, "lines", "some" if lines else "none")
PROGRAM
seen=$(for loop in asyncio uvloop; do "$folder/venv/bin/python" "$folder/program.py" "$loop"; done)
echo "$seen"
expected='asyncio connection open lines some
uvloop connection closed lines none'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected a silent close with uvloop only." >&2
    exit 1
}
