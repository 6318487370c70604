"""Several hubs on one shared log in the test's process, and browsers that move between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.event_log import LogUnavailable
from server.services.site.factory import redis_client, redis_site
from server.services.site.redis_site import RedisSite
from server.services.sse_service.factory import redis_log, sse_service
from server.services.sse_service.redis_backend import RedisLog
from server.services.sse_service.service import SSEService
from server.services.sse_service.stream_limits import StreamLimits
from server.services.sse_service.stream_request import StreamRequest
from tests.support.stream import FrameSplitter, eventually

HERE = "here"
SETTLE_S = 90.0


@dataclass
class Member:
    """The part of one server process; the events that it publishes have its name and a number."""

    name: str
    redis: RedisSite
    log: RedisLog
    sse: SSEService
    metrics: Metrics
    stored: list[str]
    published: int = 0

    async def publish(self, count: int = 1, tenant_id: str = HERE) -> None:
        """Store events and publish each after it is stored, as the zone service does."""
        for _ in range(count):
            self.published += 1
            number = f"{self.name}{self.published}"
            self.stored.append(number)
            await self.sse.publish(tenant_id, "telemetry", {"n": number})

    def figure(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@dataclass
class Browser:
    """An EventSource that reconnects with its last id, to any member, until it is closed.

    Its page shows the snapshot of the last reset and every event since, in the order of arrival. A
    snapshot may already contain the first events.
    """

    site: Site
    home: Member | None = None
    last_id: str | None = None
    snapshot: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    resumes: list[str] = field(default_factory=list)
    begun: bool = False
    task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to read the stream."""
        self.begun = False
        self.task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop reading."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            member = self.home or random.choice(self.site.members)
            with suppress(LogUnavailable):
                await self._read(member)
            await asyncio.sleep(random.uniform(0, 0.05))

    async def _read(self, member: Member) -> None:
        async def snapshot() -> dict[str, object]:
            return {"zones": list(self.site.stored)}

        stream = await member.sse.subscribe(
            StreamRequest(HERE, last_event_id=self.last_id, snapshot=snapshot)
        )
        splitter = FrameSplitter()
        resumed = ""
        try:
            async for piece in stream:
                for frame in splitter.feed(piece):
                    if frame.event == "hello":
                        resumed = frame.json["resume"]
                        self.resumes.append(resumed)
                    elif frame.event == "snapshot" and resumed != "recovered":
                        self.snapshot, self.events = frame.json["zones"], []
                    elif frame.event == "telemetry":
                        self.events.append(frame.json["n"])
                    self.last_id = frame.id or self.last_id
                self.begun = True
        finally:
            stream.close()

    def complete(self) -> bool:
        """Whether it has every event; AssertionError for a duplicate or for a wrong order."""
        assert len(self.events) == len(set(self.events)), duplicates(self.events)
        for member in self.site.members:
            own = [int(n[1:]) for n in self.events if n[0] == member.name]
            assert own == sorted(own), own
        return not self.missing()

    def missing(self) -> set[str]:
        """The stored events that its page does not show."""
        return set(self.site.stored) - set(self.snapshot) - set(self.events)


def duplicates(numbers: list[str]) -> list[str]:
    """The numbers that occur more than once."""
    return sorted({number for number in numbers if numbers.count(number) > 1})


@dataclass
class Site:
    """Several members on one Redis, and their browsers."""

    url: str
    folder: Path
    resources: AsyncExitStack
    stored: list[str] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    browsers: list[Browser] = field(default_factory=list)

    async def join(self, **bounds: int) -> Member:
        """Add a member; `bounds` replace the default limits of the history."""
        clock, metrics = SystemClock(), Metrics()
        settings = {"max_events": 20_000, "max_bytes": 8_000_000} | bounds
        part = await self.resources.enter_async_context(
            redis_site(redis_client(self.url), self.url, clock, metrics)
        )
        log = await self.resources.enter_async_context(
            redis_log(part, clock, metrics, self.folder, **settings)
        )
        sse = await self.resources.enter_async_context(
            sse_service(
                log,
                clock,
                metrics,
                queue_max=1000,
                heartbeat_s=20,
                limits=StreamLimits(1000),
                census=log.leases,
            )
        )
        self.members.append(
            Member("abcdef"[len(self.members)], part, log, sse, metrics, self.stored)
        )
        return self.members[-1]

    async def open_browsers(self, count: int, home: Member | None = None) -> list[Browser]:
        """Open browsers and wait for their streams; without a home they move between members."""
        opened = [Browser(self, home) for _ in range(count)]
        for browser in opened:
            browser.open()
            self.resources.push_async_callback(browser.close)
        self.browsers += opened
        await eventually(lambda: all(browser.begun for browser in opened), "all streams are open")
        return opened

    async def all_complete_but(self, away: Browser) -> None:
        """Like `all_complete`, for all browsers but this one."""
        others = [browser for browser in self.browsers if browser is not away]
        await eventually(lambda: all(browser.complete() for browser in others), "the others are")

    async def all_complete(self, timeout_s: float = SETTLE_S) -> None:
        """Wait until every browser has every event once, in the order of the publishing member."""
        try:
            await eventually(
                lambda: all(browser.complete() for browser in self.browsers),
                "every browser is complete",
                timeout_s,
            )
        except AssertionError as error:
            missing = [sorted(browser.missing())[:9] for browser in self.browsers]
            raise AssertionError(f"{error}; missing {missing[:5]}") from error

    async def all_reset(self, timeout_s: float = SETTLE_S) -> None:
        """Wait until every browser was reset and is complete again."""
        await eventually(
            lambda: all(browser.resumes[-1] == "reset" for browser in self.browsers),
            "every browser was reset",
            timeout_s,
        )
        await self.all_complete(timeout_s)

    async def publish_everywhere(self, events: int, pause_s: float = 0.002) -> None:
        """Every member publishes this many events, all at the same time."""

        async def one(member: Member) -> None:
            for _ in range(events):
                await member.publish()
                await asyncio.sleep(pause_s)

        await asyncio.gather(*map(one, self.members))


@asynccontextmanager
async def open_site(url: str, members: int, **bounds: int) -> AsyncIterator[Site]:
    """A site with this many members on the Redis at `url`."""
    async with AsyncExitStack() as resources:
        folder = resources.enter_context(TemporaryDirectory())
        site = Site(url, Path(folder), resources)
        for _ in range(members):
            await site.join(**bounds)
        yield site


async def during(work: Awaitable[Any], *steps: Callable[[], Awaitable[Any]]) -> None:
    """Run the steps one after the other while `work` runs, then wait for its end."""
    task = asyncio.ensure_future(work)
    try:
        for step in steps:
            await step()
    finally:
        await task
