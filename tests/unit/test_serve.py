"""The accept loop: how many connections there may be, in all and from one address."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import asynccontextmanager

import pytest

from server.serve import listen, serve

HELLO = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving(app, *, shared):
    """The port of a server that takes 8 connections; `shared`: they may all be one address's."""
    port = asyncio.get_running_loop().create_future()

    async def ready(number):
        port.set_result(number)

    async def drain(timeout_s):
        assert timeout_s > 0

    server = asyncio.create_task(
        serve(
            app,
            listen("127.0.0.1", 0),
            drain,
            ready,
            max_connections=8,
            speaks_for_many=lambda address: shared,
        )
    )
    try:
        async with asyncio.timeout(5):
            yield await port
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await server
        gc.unfreeze()


@pytest.mark.parametrize(("shared", "served"), [(False, 2), (True, 8)])
async def test_one_address_has_a_quarter_of_the_connections_unless_it_is_many_peoples(
    container, shared, served
):
    async with serving(container.app, shared=shared) as port:
        answered = []
        writers = []
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(HELLO)
            try:
                answered.append((await reader.read(12)).startswith(b"HTTP/1.1 200"))
            except ConnectionError:
                answered.append(False)
        assert answered == [True] * served + [False] * (10 - served)
        for writer in writers:
            writer.close()


async def test_a_connection_that_ended_makes_room_for_another(container):
    async with serving(container.app, shared=False) as port:
        for _ in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()
