"""A running hub over a log, clients that read its streams, and what tests ask of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from server.common.metrics import Metrics
from server.routes.stream_writer import STREAM_KEY, StreamWriter
from server.services.ports.event_log import Cursor, EventLog
from server.services.sse_service.hub import Hub
from server.services.sse_service.memory_log import MemoryLog
from server.services.sse_service.service import SSEService
from server.services.sse_service.stream_limits import StreamLimits
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription
from tests.support.clock import ManualClock
from tests.support.stream import LIVE, Frame, FrameSplitter

WAIT_S = 60.0
HEARTBEAT_S = 20
STALL_S = 20.0
PIECES_MAX = 20_000
HERE = "here"


class Reader:
    """Reads a stream to its end, as fast as it arrives."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.pieces: list[bytes] = []
        self.frames: list[Frame] = []
        self._splitter = FrameSplitter()
        self._more = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for piece in self.subscription:
                self.pieces.append(piece)
                self.frames += self._splitter.feed(piece)
                self._more.set()
                # A stream that yields without end would never let the test's time limit end it.
                assert len(self.pieces) < PIECES_MAX, "the stream runs in circles"
        finally:
            self.subscription.close()
            self._more.set()

    async def until(self, enough: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Reads until `enough`; AssertionError if the stream ends before."""
        async with asyncio.timeout(timeout_s):
            while not enough():
                assert not self.task.done(), f"the stream ended after {self.frames[-3:]}"
                self._more.clear()
                await self._more.wait()

    async def named(self, name: str) -> Frame:
        """The first frame of this name."""
        await self.until(lambda: any(frame.event == name for frame in self.frames))
        return next(frame for frame in self.frames if frame.event == name)

    async def numbers(self, count: int) -> list[int]:
        """The numbers of all live events received so far, once there are `count`."""
        await self.until(lambda: len(self.live) >= count)
        return numbers(self.frames)

    @property
    def live(self) -> list[Frame]:
        """The events, without hello, snapshot, heartbeats and the like."""
        return [frame for frame in self.frames if frame.event in LIVE]

    async def ended(self) -> list[Frame]:
        """All frames, once the stream has ended by itself."""
        async with asyncio.timeout(WAIT_S):
            await self.task
        return self.frames


class Rig:
    """A running hub. Events are numbered from 1 in the order of their publication."""

    def __init__(self, log: EventLog, clock: ManualClock, **options: Any) -> None:
        self.log, self.clock, self.metrics = log, clock, Metrics()
        settings = {"queue_max": 100, "heartbeat_s": HEARTBEAT_S, "limits": StreamLimits()}
        self.hub = Hub(log, clock, self.metrics, stall_s=STALL_S, **(settings | options))
        self.sse = SSEService(self.hub, log, clock, self.metrics, HEARTBEAT_S)
        self.published = 0
        self.readers: list[Reader] = []

    async def publish(self, count: int = 1, device_id: str | None = None) -> None:
        """Publishes events in one pass of the event loop (on a log in memory)."""
        for _ in range(count):
            self.published += 1
            await self.sse.publish(HERE, "telemetry", {"n": self.published}, device_id)

    async def trickle(self, count: int, device_id: str | None = None) -> None:
        """Publishes events one by one, each released to the streams before the next."""
        for _ in range(count):
            await self.publish(1, device_id)
            await self.flushed()

    async def flushed(self) -> None:
        """Returns once all published events are released and every waiting client has read on."""
        tip = await self.log.tip(HERE)
        if tip.position:
            before_it = str(Cursor(tip.epoch, tip.position - 1))
            probe = await self.hub.subscribe(StreamRequest(HERE, last_event_id=before_it))
            await next_piece(probe)
            probe.close()
        for _ in range(3):
            await asyncio.sleep(0)

    async def subscribe(
        self, tenant_id: str = HERE, *, devices: Iterable[str] = (), **asked: Any
    ) -> Subscription:
        """Opens a stream that the test itself reads."""
        request = StreamRequest(tenant_id, devices=frozenset(devices), **asked)
        return await self.sse.subscribe(request)

    async def reader(self, last_event_id: str | None = None, **options: Any) -> Reader:
        """Opens a stream and starts to read it."""
        stream = await self.subscribe(last_event_id=last_event_id, **options)
        self.readers.append(Reader(stream))
        return self.readers[-1]

    def figure(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def stop(self) -> None:
        """Ends the clients and the hub."""
        for reader in self.readers:
            reader.task.cancel()
        await asyncio.gather(*(reader.task for reader in self.readers), return_exceptions=True)
        await self.hub.stop()


def numbers(frames: list[Frame]) -> list[int]:
    """The numbers of the live events among the frames."""
    return [frame.json["n"] for frame in frames if frame.event in LIVE]


def frames_of(*pieces: bytes) -> list[Frame]:
    """The frames in some pieces of a stream."""
    splitter = FrameSplitter()
    return [frame for piece in pieces for frame in splitter.feed(piece)]


def handed(open_stream: Any) -> StreamWriter:
    """The writer of a stream, after a view has returned how to open it."""

    async def view(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope[STREAM_KEY] = open_stream
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return StreamWriter(view)


async def next_piece(stream: Subscription) -> bytes:
    """The stream's next piece, within a time limit; from then on it counts as being written."""
    async with asyncio.timeout(WAIT_S):
        return await anext(stream)


@pytest.fixture
async def make_rig(clock: ManualClock) -> AsyncIterator[Callable[..., Any]]:
    """Starts hubs: `await make_rig(log, queue_max=…)`; without a log, on one in memory."""
    async with AsyncExitStack() as resources:

        async def make(log: EventLog | None = None, **options: Any) -> Rig:
            rig = Rig(log or MemoryLog(20_000, 10**9), clock, **options)
            await rig.hub.start()
            resources.push_async_callback(rig.stop)
            return rig

        yield make


@pytest.fixture
async def rig(make_rig: Callable[..., Any]) -> Rig:
    """A hub with the usual settings."""
    return await make_rig()
