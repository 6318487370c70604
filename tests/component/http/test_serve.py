"""The accept loop: the limits of connections, in all and from one address."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import uvloop
from quart import Quart

from server.common.shielded_tasks import ShieldedTasks
from server.http.plain_posts import PlainPosts
from server.http.serve import listen
from tests.support.serving import HELLO, serving

# For an application without a store, to which no device posts.
NO_POSTS = PlainPosts(None, ShieldedTasks(), {}, {})


@pytest.mark.parametrize(("shared", "served"), [(False, 2), (True, 8)])
async def test_one_address_may_use_a_quarter_of_the_connections_unless_many_clients_share_it(
    container, shared, served
):
    async with serving(container.app, container.posts, shared=shared) as port:
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
    async with serving(container.app, container.posts, shared=False) as port:
        for _ in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("others_accept", [False, True])
async def test_a_draining_server_accepts_connections_unless_other_processes_do(
    container, others_accept
):
    stop, draining, drained = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def drain(timeout_s):
        draining.set()
        await drained.wait()

    with listen("127.0.0.1", 0) as sock, sock.dup() as kept:
        async with serving(
            container.app,
            container.posts,
            sock=sock,
            stop=stop,
            drain=drain,
            others_accept=others_accept,
        ) as port:
            stop.set()
            await draining.wait()
            # The socket is open here too, as it is in the supervisor: no connection is refused.
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            loop = asyncio.get_running_loop()
            if others_accept:
                taken, _ = await loop.sock_accept(kept)
                taken.close()
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await loop.sock_accept(kept)
            writer.close()
            drained.set()


async def test_a_connection_from_before_the_drain_may_still_send_its_first_request(container):
    stop = asyncio.Event()
    async with serving(container.app, container.posts, stop=stop) as port:
        late, silent, idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        idle[1].write(HELLO)
        assert (await idle[0].read(12)).startswith(b"HTTP/1.1 200")
        stop.set()
        # A connection that idles after a request has none in transit, and is closed first.
        while await idle[0].read(1024):
            pass
        late[1].write(HELLO)
        assert (await late[0].read()).startswith(b"HTTP/1.1 200 OK")
        assert await silent[0].read() == b""
        for _, writer in (late, silent, idle):
            writer.close()


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_made_as_the_drain_begins_is_answered_or_left_to_others(turns):
    """On the server's event loop: asyncio's own accepts in more steps, and may lose one here."""

    async def drain_after(sock, client):
        stop = asyncio.Event()
        app = Quart(__name__)
        app.add_url_rule("/healthz", view_func=lambda: "well")
        async with serving(app, NO_POSTS, sock=sock, stop=stop, others_accept=True) as port:
            client.connect(("127.0.0.1", port))
            client.sendall(HELLO)
            for _ in range(turns):
                await asyncio.sleep(0)
            stop.set()

    with contextlib.ExitStack() as sockets:
        sock = sockets.enter_context(listen("127.0.0.1", 0))
        kept = sockets.enter_context(sock.dup())
        client = sockets.enter_context(socket.socket())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(drain_after(sock, client))
        try:
            kept.accept()[0].close()
        except BlockingIOError:
            assert client.recv(15) == b"HTTP/1.1 200 OK"


async def test_a_status_without_a_standard_phrase_is_sent(container):
    @container.app.get("/odd")
    async def odd():
        return "odd", 499

    async with serving(container.app, container.posts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /odd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 499 \r\n")
    assert answer.endswith(b"\r\n\r\nodd")


@pytest.mark.parametrize("asked", [b"", HELLO])
async def test_a_connection_that_its_client_closed_makes_room_at_once(container, asked):
    async with serving(container.app, container.posts) as port:
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked)
            if asked:
                assert await reader.readexactly(12) == b"HTTP/1.1 200"
            writer.write_eof()
            await reader.read()  # to its end: the server has closed it too
            writer.close()


async def test_a_device_that_half_closes_is_answered_and_closed(container):
    body = b'{"temp_tenths":200,"sensor_ok":true}'
    head = (
        b"POST /api/sensor_data HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    async with serving(container.app, container.posts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + body)
        writer.write_eof()
        assert b"200 OK" in await reader.read()
        writer.close()


async def test_a_full_server_closes_the_oldest_connection_on_which_nothing_came(container):
    async with serving(container.app, container.posts) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HELLO)
        assert (await reader.read(12)).startswith(b"HTTP/1.1 200")
        oldest = silent[0][0]
        with contextlib.suppress(ConnectionError):  # the same end
            assert await oldest.read() == b""
        silent[1][1].write(HELLO)
        assert (await silent[1][0].read(12)).startswith(b"HTTP/1.1 200")
        for _, one in (*silent, (reader, writer)):
            one.close()
