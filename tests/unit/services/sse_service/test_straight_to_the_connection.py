"""Events that are written directly to a client's connection, without the stream's own task."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import pytest

from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription
from server.services.sse_service.tail import CHUNK_MAX_BYTES, as_chunk
from tests.support.stream import Frame, FrameSplitter
from tests.unit.services.sse_service.conftest import HEARTBEAT_S, HERE, STALL_S, numbers

WAIT_S = 60.0
# Small, so that a client that does not read is soon noticed.
BUFFER = 4096
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection:
    """A stream that is written to a real connection, as by an HTTP server, and its client's end."""

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
        """Writes the pieces that the stream's iterator yields."""
        self.near.write(HEAD)
        async for piece in stream:
            self.by_task += 1
            self.near.write(as_chunk(piece))
            await self.near.drain()
        self.near.write(b"0\r\n\r\n")
        stream.close()

    async def read(self, size: int = 65536) -> None:
        """Reads once; AssertionError for anything but whole chunks."""
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
    """Makes connections, and cuts them at the end."""
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
    stream = await rig.subscribe(HERE, wire=connection.near.transport, **options)
    task = asyncio.create_task(connection.serve(stream))
    while not any(frame.event == "hello" for frame in connection.frames):
        await connection.read()
    return stream, task


async def test_a_client_that_reads_gets_events_without_its_task_running(rig, connection):
    _, task = await opened(rig, connection)
    for count in range(1, 51):
        await rig.publish()
        assert await connection.read_events(count) == list(range(1, count + 1))
    assert connection.by_task == 1  # the hello event
    task.cancel()


async def test_a_client_that_pauses_gets_every_event_once_and_in_order(rig, connection):
    stream, task = await opened(rig, connection)
    # Fewer than the limit of waiting events, and more than the buffers hold.
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
    # The client has all events, and is written to directly again.
    assert connection.by_task <= before + 1
    stream.close()
    task.cancel()


async def test_a_client_that_reads_nothing_is_cut_off_at_the_same_limit(rig, connection):
    killed = asyncio.Event()
    _, task = await opened(rig, connection, kill=killed.set)
    for _ in range(400):
        await rig.publish(1, "a" * 200)
        await asyncio.sleep(0)
        if killed.is_set():
            break
    assert killed.is_set()
    task.cancel()


async def test_a_filtered_client_gets_only_events_of_its_devices(rig, connection):
    _, task = await opened(rig, connection, devices=["mine"])
    for count in range(1, 11):
        await rig.publish(1, "other")
        await rig.publish(1, "mine")
        assert await connection.read_events(count) == list(range(2, 2 * count + 1, 2))
    assert connection.by_task == 1
    task.cancel()


async def test_a_stream_resumes_after_the_last_directly_written_frame(rig, connection):
    stream, task = await opened(rig, connection)
    await rig.publish(3)
    await connection.read_events(3)
    again = await rig.subscribe(HERE, last_event_id=connection.frames[-1].id)
    assert again.resumed == "recovered"
    assert stream.id == connection.frames[-1].id
    again.close()
    task.cancel()


async def test_a_bye_follows_the_last_event_and_ends_the_response(rig, connection):
    _, task = await opened(rig, connection)
    await rig.publish(2)
    draining = asyncio.create_task(rig.hub.drain(WAIT_S))
    while not connection.ended:
        await connection.read()
    assert [frame.event for frame in connection.frames[-3:]] == ["telemetry", "telemetry", "bye"]
    await draining
    await task


async def test_a_direct_write_postpones_the_heartbeat(rig, connection, clock):
    _, task = await opened(rig, connection)
    clock.advance(15)
    await rig.publish()
    await connection.read_events(1)
    clock.advance(15)
    await rig.publish()
    await connection.read_events(2)
    assert not any(frame.event == "heartbeat" for frame in connection.frames)
    task.cancel()


async def test_the_task_of_a_lost_connection_ends(rig, connection):
    _, task = await opened(rig, connection)
    connection.near.transport.abort()
    await rig.publish()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(task, return_exceptions=True)
    assert task.done()


async def test_a_client_that_does_not_read_delays_no_other_and_misses_nothing(rig, connect):
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


async def test_clients_with_and_without_event_names_each_get_their_form(rig, connect):
    named, unnamed = await connect(), await connect()
    await opened(rig, named)
    stream = await rig.subscribe(HERE, wire=unnamed.near.transport, names=False)
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


async def test_events_larger_than_one_chunk_arrive_complete(rig, connection):
    _, task = await opened(rig, connection)
    text = "x" * 90_000
    for number in range(1, 9):
        await rig.sse.publish(HERE, "telemetry", {"text": text, "n": number})
    assert 8 * len(text) > 2 * CHUNK_MAX_BYTES
    assert await connection.read_events(8) == list(range(1, 9))
    task.cancel()


async def test_a_closed_stream_is_not_written_to(rig, connection):
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


async def test_a_stream_that_ended_gets_no_event_before_its_task_runs(rig, connection):
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


async def test_a_heartbeat_is_sent_only_after_silence_and_has_the_newest_id(rig, connection, clock):
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


async def test_a_client_that_joins_before_a_flush_gets_each_released_event_once(rig, connect):
    """Events that wait for the flush are new to most streams, but not to a client that has them."""
    connections = [await connect() for _ in range(4)]
    # So many streams delay the next flush.
    crowd = [await rig.subscribe(HERE) for _ in range(1000)]
    await rig.trickle(1)
    replayed = rig.figure("bas_events_replayed_total")
    cursors = [await rig.log.tip(HERE)]
    for _ in range(2):
        await rig.publish()
        cursors.append(await rig.log.tip(HERE))
    streams, tasks = [], []
    for connection, cursor in zip(connections, [*cursors, None], strict=True):
        last_event_id = str(cursor) if cursor else None
        wire = connection.near.transport
        stream = await rig.hub.subscribe(
            StreamRequest(HERE, wire=wire, last_event_id=last_event_id)
        )
        streams.append(stream)
        tasks.append(asyncio.create_task(connection.serve(stream)))
    await asyncio.sleep(0)
    for count in range(4, 7):
        await rig.publish()
        for connection, first in zip(connections, (2, 3, 4, 2), strict=True):
            events = list(range(first, count + 1))
            assert await connection.read_events(len(events)) == events
    assert all(stream.is_live for stream in streams)
    # Two events for the client that had neither, one for the client that had the first.
    assert rig.figure("bas_events_replayed_total") == replayed + 3
    for stream in [*streams, *crowd]:
        stream.close()
    for task in tasks:
        task.cancel()


async def test_a_client_that_joins_after_events_without_subscribers_gets_none_of_them(
    rig, connection
):
    (await rig.subscribe(HERE)).close()
    await rig.publish(3)
    _, task = await opened(rig, connection)
    await rig.publish()
    assert await connection.read_events(1) == [4]
    task.cancel()
