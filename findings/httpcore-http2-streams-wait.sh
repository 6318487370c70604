#!/usr/bin/env bash
# What comes for one of three HTTP/2 streams of an httpx client may wait until more comes on the connection.
#
# Seen with: httpx 0.28.1, httpcore 1.0.9 and h2 4.4.1 from PyPI, CPython 3.11, November 2026.
# Expected: answers that are read at the same time, over one connection, are independent: the reader of one gets its bytes
#   when they come, also while nothing comes for the others.
# Seen: all readers queue for one lock. The first one reads the head of the third and lets go of the lock; the second takes
#   it and waits for new bytes, and the third waits behind it, although its bytes are there. With two streams all is well.
# Why it matters: of several Server-Sent Event streams of one AsyncClient with http2=True, some show an event only with
#   the next heartbeat. Remedy: one client for each stream, or HTTP/1.1.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpcore==1.0.9 h2==4.4.1
cat >"$folder/program.py" <<'PROGRAM'
import asyncio

import httpx
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

PAUSE_S = 3.0
seen = []


async def serve(reader, writer):
    """Answer three requests at once with a head, and after a pause send a byte to the first one."""
    http2 = H2Connection(H2Configuration(client_side=False))
    http2.initiate_connection()

    async def send_byte():
        await asyncio.sleep(PAUSE_S)
        seen.append("sent a byte to /first")
        http2.send_data(1, b"x")
        writer.write(http2.data_to_send())

    later = []
    while True:
        writer.write(http2.data_to_send())
        try:
            piece = await reader.read(65536)
        except asyncio.CancelledError:
            return
        if not piece:
            return
        for event in http2.receive_data(piece):
            if isinstance(event, RequestReceived):
                http2.send_headers(event.stream_id, [(":status", "200")])
                if event.stream_id == 5:
                    later.append(asyncio.create_task(send_byte()))


async def read(client, path):
    async with client.stream("GET", path) as answer:
        seen.append(f"read the head of {path}")
        async for _ in answer.aiter_raw():
            seen.append(f"read a byte of {path}")


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, http1=False, http2=True, timeout=30) as client:
        reading = []
        for path in ("/first", "/second", "/third"):
            reading.append(asyncio.create_task(read(client, path)))
            await asyncio.sleep(PAUSE_S / 3)  # it reads before the next one is there
        await asyncio.wait(reading, timeout=2 * PAUSE_S)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


asyncio.run(main())
print(*seen, sep="\n")
at_once = seen.index("read the head of /third") < seen.index("sent a byte to /first")
raise SystemExit("changed: each stream gets its bytes at once" if at_once else 0)
PROGRAM
"$folder/venv/bin/python" "$folder/program.py"
echo "as expected: the head of the third answer waited until something came for the first one"
