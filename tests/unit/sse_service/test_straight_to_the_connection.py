"""Events that are written straight to a client's connection, past the HTTP server's own writing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import pytest

from server.services.sse_service.channel import CHUNK_MAX_BYTES, as_chunk
from server.services.sse_service.subscription import Subscription
from tests.support.stream import Frame, FrameSplitter
from tests.unit.sse_service.conftest import HEARTBEAT_S, HERE, STALL_S, numbers

WAIT_S = 10.0
# Small, so that a client that does not read is noticed soon.
BUFFER = 4096
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection:
    """A stream written to a real connection, as an HTTP server does, and its client's end."""

    def __init__(self, near: asyncio.StreamWriter, far: socket.socket) -> None:
        self.near, self._far = near, far
        self.by_task = 0
        self._client = h11.Connection(h11.CLIENT)
        self._client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._client.send(h11.EndOfMessage())
        self._splitter = FrameSplitter()
        self.frames = []
        self.ended = False

    async def serve(self, stream: Subscription) -> None:
        """Write what the stream's own iteration gives."""
        self.near.write(HEAD)
        async for piece in stream:
            self.by_task += 1
            self.near.write(as_chunk(piece))
            await self.near.drain()
        self.near.write(b"0\r\n\r\n")
        stream.close()

    async def read(self, size: int = 65536) -> None:
        """Read once; AssertionError for anything but whole chunks."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT_S):
            data = await loop.sock_recv(self._far, size)
        self._client.receive_data(data)
        while True:
            event = self._client.next_event()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.EndOfMessage):
                self.ended = True
                return
            if isinstance(event, h11.Data):
                self.frames += self._splitter.feed(bytes(event.data))

    async def read_events(self, count: int) -> list[int]:
        """The numbers of all events, once there are `count`."""
        while len(numbers(self.frames)) < count:
            await self.read()
        return numbers(self.frames)


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    """Makes connections; they are cut at the end."""
    made: list[tuple[asyncio.StreamWriter, socket.socket]] = []

    async def make() -> Connection:
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        _, writer = await asyncio.open_connection(sock=near)
        writer.transport.set_write_buffer_limits(high=BUFFER)
        made.append((writer, far))
        return Connection(writer, far)

    yield make
    for writer, far in made:
        writer.transport.abort()
        far.close()


@pytest.fixture
async def connection(connect: Callable[[], Awaitable[Connection]]) -> Connection:
    return await connect()


async def opened(rig, connection, **options):
    stream = await rig.sse.subscribe(HERE, wire=connection.near.transport, **options)
    task = asyncio.create_task(connection.serve(stream))
    while not any(frame.event == "hello" for frame in connection.frames):
        await connection.read()
    return stream, task


async def test_a_client_that_reads_gets_events_without_a_turn_of_its_task(rig, connection):
    _, task = await opened(rig, connection)
    for count in range(1, 51):
        await rig.publish()
        assert await connection.read_events(count) == list(range(1, count + 1))
    assert connection.by_task == 1  # the hello
    task.cancel()


async def test_a_client_that_pauses_gets_everything_in_order_once(rig, connection):
    stream, task = await opened(rig, connection)
    # Fewer than a client may be behind, and more than its buffers take.
    for _ in range(95):
        await rig.publish(1, "a" * 200)
        await asyncio.sleep(0)
    assert await connection.read_events(95) == list(range(1, 96))
    assert connection.by_task > 1
    before = connection.by_task
    await asyncio.sleep(0)
    for count in range(96, 106):
        await rig.publish()
        assert await connection.read_events(count) == list(range(1, count + 1))
    # It has caught up, and is written to directly again.
    assert connection.by_task <= before + 1
    stream.close()
    task.cancel()


async def test_a_client_that_reads_nothing_is_let_go_by_the_same_rule(rig, connection):
    killed = asyncio.Event()
    _, task = await opened(rig, connection, kill=killed.set)
    for _ in range(400):
        await rig.publish(1, "a" * 200)
        await asyncio.sleep(0)
        if killed.is_set():
            break
    assert killed.is_set()
    task.cancel()


async def test_a_filtered_client_gets_only_its_devices_events(rig, connection):
    _, task = await opened(rig, connection, devices=["mine"])
    for count in range(1, 11):
        await rig.publish(1, "other")
        await rig.publish(1, "mine")
        assert await connection.read_events(count) == list(range(2, 2 * count + 1, 2))
    assert connection.by_task == 1
    task.cancel()


async def test_the_ids_go_on_where_the_direct_frames_ended(rig, connection):
    stream, task = await opened(rig, connection)
    await rig.publish(3)
    await connection.read_events(3)
    again = await rig.sse.subscribe(HERE, last_event_id=connection.frames[-1].id)
    assert again.resumed == "recovered"
    assert stream.id == connection.frames[-1].id
    again.close()
    task.cancel()


async def test_a_bye_follows_the_last_event_and_ends_the_answer(rig, connection):
    _, task = await opened(rig, connection)
    await rig.publish(2)
    draining = asyncio.create_task(rig.hub.drain(WAIT_S))
    while not connection.ended:
        await connection.read()
    assert [frame.event for frame in connection.frames[-3:]] == ["telemetry", "telemetry", "bye"]
    await draining
    await task


async def test_a_direct_write_is_a_sign_of_life(rig, connection, clock):
    _, task = await opened(rig, connection)
    clock.advance(15)
    await rig.publish()
    await connection.read_events(1)
    clock.advance(15)
    await rig.publish()
    await connection.read_events(2)
    assert not any(frame.event == "heartbeat" for frame in connection.frames)
    task.cancel()


async def test_a_connection_that_is_gone_is_left_to_its_task(rig, connection):
    _, task = await opened(rig, connection)
    connection.near.transport.abort()
    await rig.publish()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(task, return_exceptions=True)
    assert task.done()


async def test_one_that_does_not_read_holds_up_nobody_and_misses_nothing(rig, connect):
    slow, *others = [await connect() for _ in range(4)]
    for connection in (slow, *others):
        await opened(rig, connection)
    for count in range(1, 81):
        await rig.publish(1, "a" * 200)
        for connection in others:
            assert await connection.read_events(count) == list(range(1, count + 1))
    assert [connection.by_task for connection in others] == [1, 1, 1]
    assert await slow.read_events(80) == list(range(1, 81))
    assert slow.by_task > 1


async def test_clients_with_and_without_names_each_get_their_own_form(rig, connect):
    named, unnamed = await connect(), await connect()
    await opened(rig, named)
    stream = await rig.sse.subscribe(HERE, wire=unnamed.near.transport, names=False)
    task = asyncio.create_task(unnamed.serve(stream))

    def of_unnamed() -> list[Frame]:
        return [frame for frame in unnamed.frames if frame.data is not None]

    while not of_unnamed():
        await unnamed.read()
    for count in range(1, 4):
        await rig.publish()
        assert await named.read_events(count) == list(range(1, count + 1))
        while len(of_unnamed()) < 1 + count:
            await unnamed.read()
    assert {frame.event for frame in of_unnamed()} == {None}
    assert [frame.json["n"] for frame in of_unnamed()[1:]] == [1, 2, 3]
    assert named.by_task == unnamed.by_task == 1
    task.cancel()


async def test_more_than_one_chunk_of_events_arrives_whole(rig, connection):
    _, task = await opened(rig, connection)
    text = "x" * 90_000
    for number in range(1, 9):
        await rig.sse.publish(HERE, "telemetry", {"text": text, "n": number})
    assert 8 * len(text) > 2 * CHUNK_MAX_BYTES
    assert await connection.read_events(8) == list(range(1, 9))
    task.cancel()


async def test_a_stream_that_is_closed_is_written_to_no_more(rig, connection):
    stream, task = await opened(rig, connection)
    await rig.reader()
    await rig.publish()
    await connection.read_events(1)
    stream.close()
    await rig.publish()
    await rig.flushed()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.read()
    assert numbers(connection.frames) == [1]
    task.cancel()


async def test_a_stream_that_ended_gets_no_event_before_its_task_has_a_turn(rig, connection):
    stream, task = await opened(rig, connection)
    await rig.publish()
    assert await connection.read_events(1) == [1]
    stream.end("session")
    await rig.publish()
    rig.hub._channels[HERE].flush()
    async with asyncio.timeout(WAIT_S):
        await task
    while not connection.ended:
        await connection.read()
    assert numbers(connection.frames) == [1]


async def test_a_heartbeat_comes_after_silence_only_and_names_the_newest_place(
    rig, connection, clock
):
    stream, task = await opened(rig, connection)
    for count in range(1, 4):
        clock.advance(HEARTBEAT_S * 0.75)
        await rig.publish()
        await connection.read_events(count)
        stream.tick(clock.monotonic(), HEARTBEAT_S, STALL_S)
    clock.advance(HEARTBEAT_S)
    stream.tick(clock.monotonic(), HEARTBEAT_S, STALL_S)
    while connection.frames[-1].event != "heartbeat":
        await connection.read()
    events = [frame.event for frame in connection.frames if frame.data is not None]
    assert events == ["hello", "telemetry", "telemetry", "telemetry", "heartbeat"]
    assert connection.frames[-1].id == connection.frames[-2].id
    await rig.publish()
    assert await connection.read_events(4) == [1, 2, 3, 4]
    task.cancel()


async def test_a_client_that_comes_before_a_flush_gets_what_it_releases_once(rig, connect):
    """What is known but not released lies between the place of most and that of who has it."""
    connections = [await connect() for _ in range(4)]
    # So many make the next flush wait.
    crowd = [await rig.sse.subscribe(HERE) for _ in range(1000)]
    await rig.trickle(1)
    replayed = rig.figure("bas_events_replayed_total")
    places = [await rig.log.tip(HERE)]
    for _ in range(2):
        await rig.publish()
        places.append(await rig.log.tip(HERE))
    streams, tasks = [], []
    for connection, place in zip(connections, [*places, None], strict=True):
        last_event_id = str(place) if place else None
        wire = connection.near.transport
        stream = await rig.hub.subscribe(HERE, wire=wire, last_event_id=last_event_id)
        streams.append(stream)
        tasks.append(asyncio.create_task(connection.serve(stream)))
    await asyncio.sleep(0)
    for count in range(4, 7):
        await rig.publish()
        for connection, first in zip(connections, (2, 3, 4, 2), strict=True):
            events = list(range(first, count + 1))
            assert await connection.read_events(len(events)) == events
    assert all(stream.is_live for stream in streams)
    # Two to the client that had neither of them, one to that which had the first.
    assert rig.figure("bas_events_replayed_total") == replayed + 3
    for stream in [*streams, *crowd]:
        stream.close()
    for task in tasks:
        task.cancel()


async def test_who_comes_after_events_that_nobody_heard_gets_none_of_them(rig, connection):
    (await rig.sse.subscribe(HERE)).close()
    await rig.publish(3)
    _, task = await opened(rig, connection)
    await rig.publish()
    assert await connection.read_events(1) == [4]
    task.cancel()
