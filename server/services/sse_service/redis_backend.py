"""RedisLog: the event log that every process of a site shares."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis

from server.breaker import Breaker
from server.clock import Clock
from server.metrics import Metrics
from server.neighbours import Neighbours
from server.services.sse_service.backend import Cursor, Entry, Follower, LogUnavailable
from server.services.sse_service.event import Event
from server.services.sse_service.redis_calls import RedisCalls, RedisWire
from server.services.sse_service.shared.cache import RedisCache
from server.services.sse_service.shared.followed import Followed
from server.services.sse_service.shared.histories import Histories
from server.services.sse_service.shared.leases import Leases
from server.services.sse_service.shared.notices import RedisNotices
from server.services.sse_service.shared.outbox import Item, Outbox, Queue
from server.services.sse_service.shared.records import RUN_LENGTH, parse_records
from server.services.sse_service.shared.scripts import SITE_CHANNEL, channel_name
from server.services.sse_service.shared.sender import Sender
from server.services.sse_service.shared.subscriber import PROBE_S, Subscriber

log = logging.getLogger(__name__)

# How long a stream waits for its tenant's history before it begins without it.
FOLLOW_S = 3.0
# At the end: for telling how many streams are left (none), for what waits, and for the tasks.
LEAVE_S = 0.5
CLOSE_S = 0.5
# redis-py may swallow one.
CANCELS = 2
FILL_PAGE = 200
COMPARED_AT_ONCE = 200


class RedisLog:
    """`EventLog` on Redis. While Redis is away, this process's events wait in order and reach its
    own streams ahead of the history."""

    def __init__(
        self, client: Redis, clock: Clock, metrics: Metrics, *, max_events: int, max_bytes: int
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._run = secrets.token_hex(RUN_LENGTH // 2)
        self._breaker = Breaker(clock)
        self._calls = RedisCalls(client, self._breaker, metrics, self._on_back)
        self._histories = Histories(
            self._calls.run,
            self._calls.asked,
            self._run,
            clock,
            max_events=max_events,
            max_bytes=max_bytes,
        )
        self.leases = Leases(self._calls.run, self._calls.asked, self._run)
        notices = RedisNotices(
            partial(self._calls.publish, SITE_CHANNEL), self._reaches_others, self._run
        )
        cache = RedisCache(self._calls.execute, clock.monotonic)
        self._notices, self._cache = notices, cache
        self.neighbours = Neighbours(notices, cache, cache.place)
        self._followed: dict[str, Followed] = {}
        self._unfollowed: set[str] = set()
        self._sender = Sender(
            Outbox(max_events, max_bytes),
            self._append,
            self._hand_ahead,
            self._join_again,
            self._breaker,
            clock,
            metrics,
        )
        self._subscriber = Subscriber(
            partial(RedisWire.connect, client),
            self._channels,
            self._on_subscribed,
            self._on_message,
            self._on_alive,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Begin to work. Raises LogUnavailable if Redis does not answer, or lets nobody listen."""
        await self._calls.ping()
        for work in (
            self._subscriber.run,
            self._sender.run,
            self._keep,
            self.leases.keep,
            self._notices.send,
            self._cache.work,
        ):
            self._start(_supervised(work))
        try:
            await self._subscriber.wait_until_up(FOLLOW_S)
        except LogUnavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Append what waits, if that is possible now, and stop."""
        self._closed = True
        with contextlib.suppress(LogUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self.leases.leave()
        left = await self._sender.flush(LEAVE_S)
        if left:
            self._metrics.events_lost.inc(left)
            log.error("%d events were never appended to the log; they are stored, not shown", left)
        self._subscriber.close()
        for _ in range(CANCELS):
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(set(self._tasks), timeout=CLOSE_S)
        await self._calls.close()
        await self._client.aclose()

    def _reaches_others(self) -> bool:
        return self._subscriber.up and not self._breaker.is_open

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        if self._closed:
            raise LogUnavailable(message="the log is closed")
        return await self._sender.append(tenant_id, event)

    async def append_many(self, tenant_id: str, events: Sequence[Event]) -> None:
        # All at once, so that they share calls; each takes its place when its task begins.
        await asyncio.gather(*(self.append(tenant_id, event) for event in events))

    async def tip(self, tenant_id: str) -> Cursor:
        return (await self._histories.head(tenant_id))[0]

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        return await self._histories.entries(tenant_id, cursor, limit)

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        channel = channel_name(tenant_id)
        followed = self._followed[channel] = Followed(tenant_id, follower, self._run)
        self._unfollowed.discard(channel)
        if self._sender.away:
            followed.begin_alone()
            return
        try:
            async with asyncio.timeout(FOLLOW_S):
                await self._subscriber.subscribe(channel)
                await followed.subscribed.wait()
                cursor, own = await self._histories.head(tenant_id)
        except (LogUnavailable, TimeoutError) as error:
            log.warning("streams of tenant %s begin without the log: %s", tenant_id, error)
            followed.begin_alone()
            return
        except BaseException:
            self._forget(followed)
            raise
        if self._sender.away:
            followed.begin_alone()
            return
        followed.begin(cursor, own)
        if followed.missed:
            self._fill(followed)

    def unfollow(self, tenant_id: str) -> None:
        followed = self._followed.get(channel_name(tenant_id))
        if followed is not None:
            followed.ready = False
            self._forget(followed)

    async def ping(self) -> None:
        if self._sender.away:
            raise LogUnavailable(message="events wait for Redis")
        if not self._subscriber.up:
            raise LogUnavailable(message="what other processes publish is not heard")
        await self._calls.ping()

    async def _append(self, queue: Queue, items: list[Item]) -> None:
        held = await self._histories.append(queue, items)
        followed = self._followed.get(channel_name(queue.tenant_id))
        if followed is not None:
            followed.appended(held)

    def _hand_ahead(self, tenant_id: str, item: Item) -> None:
        followed = self._followed.get(channel_name(tenant_id))
        if followed is not None:
            followed.take_ahead(item)

    def _join_again(self) -> None:
        """Those that had to begin alone begin anew, once the history can be joined."""
        if self._sender.away or not self._subscriber.up:
            return
        for followed in list(self._followed.values()):
            if followed.alone:
                self._lose(followed)

    def _lose(self, followed: Followed) -> None:
        self._metrics.histories_lost.inc()
        self._forget(followed)
        followed.lose()

    def _forget(self, followed: Followed) -> None:
        channel = channel_name(followed.tenant_id)
        if self._followed.get(channel) is followed:
            del self._followed[channel]
            self._unfollowed.add(channel)

    def _channels(self) -> list[str]:
        return [SITE_CHANNEL, *self._followed]

    def _on_alive(self) -> None:
        if self._breaker.is_open or self._sender.away:
            self._breaker.try_now()
            self._sender.try_now()

    def _on_back(self) -> None:
        self._sender.try_now()

    def _on_subscribed(self, channel: str) -> None:
        followed = self._followed.get(channel)
        if followed is not None:
            followed.subscribed.set()
            self._fill(followed)

    def _on_message(self, channel: str, message: bytes) -> None:
        if channel == SITE_CHANNEL:
            self._notices.hear(message)
            return
        followed = self._followed.get(channel)
        if followed is None:
            return
        try:
            epoch, _, rest = message.partition(b"\n")
            heard = followed.hear(epoch.decode(), parse_records(rest))
        except ValueError as error:
            log.error("not an event of this server on %s: %s", channel, error)
            heard = "gap"
        if heard != "all":
            self._fill(followed)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fill(self, followed: Followed) -> None:
        """Read from the log what was not heard; what is heard meanwhile is read with it."""
        followed.missed = True
        if followed.ready and not followed.alone and not followed.filling:
            followed.filling = True
            self._start(self._read_on(followed))

    async def _read_on(self, followed: Followed) -> None:
        try:
            while followed.missed and followed.ready:
                followed.missed = False
                place = followed.place
                records = await self._histories.records(followed.tenant_id, place, FILL_PAGE)
                if records is None:
                    self._lose(followed)
                elif records and followed.ready:
                    self._metrics.events_filled.inc(len(records))
                    for record in records:
                        followed.take(record)
                    followed.missed = True
        except LogUnavailable as error:
            log.warning("a gap of tenant %s is not filled yet: %s", followed.tenant_id, error)
        finally:
            followed.filling = False

    async def _keep(self) -> None:
        """Probe the subscription and compare tips, over and over."""
        while True:
            await asyncio.sleep(PROBE_S)
            try:
                await self._subscriber.probe()
                if self._unfollowed:
                    await self._subscriber.unsubscribe(self._unfollowed)
                    self._unfollowed.clear()
                await self._compare()
            except LogUnavailable as error:
                log.debug("the histories could not be compared: %s", error)
            else:
                self._join_again()

    async def _compare(self) -> None:
        """Find histories that are behind the log's, or are not the log's any more."""
        followed = [item for item in self._followed.values() if item.ready and not item.alone]
        if not followed:
            await self._calls.ping()
        for start in range(0, len(followed), COMPARED_AT_ONCE):
            some = followed[start : start + COMPARED_AT_ONCE]
            places = [item.place for item in some]
            heads = await self._calls.heads([item.tenant_id for item in some])
            for item, place, (epoch, tip, mark) in zip(some, places, heads, strict=True):
                if item.missed or not item.agrees(place, epoch, int(tip or 0), mark):
                    self._fill(item)


async def _supervised(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, and again should it fail: the log must outlive one bad message."""
    while True:
        try:
            await work()
            return
        except Exception:
            log.exception("a task of the event log failed and is started again")
            await asyncio.sleep(1)
