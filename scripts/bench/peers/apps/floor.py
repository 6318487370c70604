"""The floor: a bare protocol on uvloop that writes the same bytes to each socket.

`floor.py PORT [SECONDS]`. Nothing is stored, checked or parsed beyond the end of a request; a
POST's body becomes a frame, written at once to each socket: no Python process on asyncio is
cheaper. With SECONDS the frames of so long go out in one write, which shows what the load can read.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: stream\n\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PAUSE_S = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
streams: set[Any] = set()
waiting: list[bytes] = []


class Floor(asyncio.Protocol):
    """A connection: a stream after a GET, a producer after a POST."""

    number = 0

    # uvloop's transports are not asyncio's classes.
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._text = b""

    def data_received(self, data: bytes) -> None:
        self._text += data
        head, found, body = self._text.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):
            self._transport.write(HEAD)
            streams.add(self._transport)
            self._text = b""
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]):
            Floor.number += 1
            frame = b"event: telemetry\nid: floor-%d\ndata: %s\n\n" % (Floor.number, body)
            _send(frame)
            self._transport.write(ANSWER)
            self._text = b""

    def connection_lost(self, exc: Exception | None) -> None:
        streams.discard(self._transport)


def _send(frame: bytes) -> None:
    waiting.append(frame)
    if not PAUSE_S:
        _flush()
    elif len(waiting) == 1:
        asyncio.get_running_loop().call_later(PAUSE_S, _flush)


def _flush() -> None:
    piece = b"".join(waiting)
    waiting.clear()
    for stream in streams:
        stream.write(piece)


async def main(port: int) -> None:
    """Serve until killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
