"""A server on a real socket inside the test process, and raw requests to it."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from unittest import mock

from quart import Quart
from werkzeug.datastructures import Headers

from server.http import serve as serve_module
from server.http.plain_posts import PlainPosts
from server.http.serve import Drain, listen, serve
from server.http.tls import ServerTls
from tests.support.http import BOUND_S, Answer

# A start takes a tenth of a second. Only the start has this limit: a limit around the whole test
# failed tests on a busy machine.
START_S = 60.0

# The server's start collects garbage and freezes all objects. In a test run that takes longer than
# the rest of the start, and the objects of every test would stay frozen until the run ends.
NO_COLLECTION = SimpleNamespace(
    collect=lambda: 0,
    freeze=lambda: None,
    get_threshold=gc.get_threshold,
    set_threshold=gc.set_threshold,
)

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
    tls: ServerTls | None = None,
) -> AsyncIterator[int]:
    """Start a server for 8 connections, with `shared` all from one address; yields its port."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
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
            is_shared_address=lambda address: shared,
            others_accept=others_accept,
            tls=tls,
        )
    )
    try:
        with mock.patch.object(serve_module, "gc", NO_COLLECTION):
            async with asyncio.timeout(START_S):
                await asyncio.wait((port, server), return_when=asyncio.FIRST_COMPLETED)
        yield port.result() if port.done() else await server
    finally:
        stop.set()
        await server


def request(
    body: bytes,
    headers: Mapping[str, str] | None = None,
    target: str = "/api/sensor_data",
    version: str = "1.1",
) -> bytes:
    """The bytes of a POST of JSON."""
    pairs = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in (pairs | dict(headers or {})).items())
    return f"POST {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body


def answers(received: bytes) -> list[Answer]:
    """The responses in the received bytes, split by their Content-Length."""
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
    """Send the pieces one by one; returns all answers until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        async with asyncio.timeout(BOUND_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                for _ in range(5):  # let the server, on this same loop, read each piece alone
                    await asyncio.sleep(0)
            return answers(await reader.read())
    finally:
        writer.close()
