"""A server on a real socket inside the test process, and raw requests to it."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from quart import Quart
from werkzeug.datastructures import Headers

from server.routes.plain_posts import PlainPosts
from server.serve import Drain, listen, serve
from tests.support.http import BOUND_S, Answer

# A start takes a tenth of a second; what a test does with the server has a bound of its own, and
# this one only ends a test that hangs.
START_S, BODY_S = 10.0, 60.0

HELLO = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def no_streams(timeout_s: float) -> None:
    assert timeout_s > 0


@asynccontextmanager
async def serving(
    app: Quart,
    posts: PlainPosts,
    *,
    shared: bool = True,
    sock: socket.socket | None = None,
    stop: asyncio.Event | None = None,
    drain: Drain = no_streams,
    others_accept: bool = False,
) -> AsyncIterator[int]:
    """The port of a server that takes 8 connections; `shared`: they may all be one address's."""
    port = asyncio.get_running_loop().create_future()
    stop = stop or asyncio.Event()

    async def ready(number: int) -> None:
        port.set_result(number)

    server = asyncio.create_task(
        serve(
            app,
            posts,
            sock or listen("127.0.0.1", 0),
            drain,
            ready,
            stop,
            max_connections=8,
            speaks_for_many=lambda address: shared,
            others_accept=others_accept,
        )
    )
    try:
        async with asyncio.timeout(START_S):
            number = await port
        async with asyncio.timeout(BODY_S):
            yield number
    finally:
        stop.set()
        await server
        gc.unfreeze()


def request(
    body: bytes,
    headers: Mapping[str, str] | None = None,
    target: str = "/api/sensor_data",
    version: str = "1.1",
) -> bytes:
    """A POST of JSON as bytes."""
    pairs = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in (pairs | dict(headers or {})).items())
    return f"POST {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body


def answers(received: bytes) -> list[Answer]:
    """What was received, taken apart by its Content-Lengths."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = Headers([tuple(line.split(": ", 1)) for line in lines])
        size = int(headers["Content-Length"])
        assert len(received) >= size
        found.append(Answer(int(first.split()[1]), headers, received[:size]))
        received = received[size:]
    return found


async def ask(port: int, *pieces: bytes) -> list[Answer]:
    """All that is answered, until the server closes, to pieces that are sent one by one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        async with asyncio.timeout(BOUND_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                for _ in range(5):  # the server, in this same loop, takes each by itself
                    await asyncio.sleep(0)
            return answers(await reader.read())
    finally:
        writer.close()
