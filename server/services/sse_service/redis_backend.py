"""RedisLog: the event log in Redis that all processes of a site share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.supervised_tasks import SupervisedTasks
from server.services.ports.event_log import Cursor, Entry, Event, Follower, LogUnavailable
from server.services.site.redis_keys import channel_name
from server.services.site.redis_site import ChannelReader, RedisSite
from server.services.sse_service.redis.follower import Followed
from server.services.sse_service.redis.history import Histories
from server.services.sse_service.redis.outbox import Item, Outbox, Queue
from server.services.sse_service.redis.probe import CHANNEL as PROBE_CHANNEL
from server.services.sse_service.redis.probe import LogProbe, check_log
from server.services.sse_service.redis.records import parse_records
from server.services.sse_service.redis.sender import OutboxSender
from server.services.sse_service.redis.stream_counts import StreamCounts
from server.services.sse_service.redis.waiting_notes import WaitingNotes

log = logging.getLogger(__name__)

# A stream waits this many seconds for its tenant's history and then starts without it.
FOLLOW_S = 3.0
# At shutdown: seconds to write the stream count (zero) to Redis, and as many for waiting events.
LEAVE_S = 0.5
FILL_PAGE = 200
COMPARE_S = 2.0
COMPARED_AT_ONCE = 200


class RedisLog:
    """`EventLog` on Redis.

    While Redis cannot be reached, the events of this process wait in order, and its own streams
    get them ahead of the history.
    """

    def __init__(
        self,
        site: RedisSite,
        clock: Clock,
        metrics: Metrics,
        folder: Path,
        *,
        max_events: int,
        max_bytes: int,
    ) -> None:
        """`folder` is where processes of this machine note that their events wait."""
        self._site = site
        self._metrics = metrics
        self._breaker, self._calls = site.breaker, site.calls
        self._histories = Histories(
            self._calls.run,
            self._calls.run_shared,
            site.run,
            clock,
            max_events=max_events,
            max_bytes=max_bytes,
        )
        self.leases = StreamCounts(self._calls.run, self._calls.run_shared, site.run)
        self._probe = LogProbe(self._calls.run, site.listener.subscribe, site.run)
        self._followed: dict[str, Followed] = {}
        self._unfollowed: set[str] = set()
        self._notes = WaitingNotes(folder, site.run, clock)
        self._sender = OutboxSender(
            Outbox(max_events, max_bytes),
            self._append,
            self._probe.append,
            self._notes,
            self._deliver_ahead,
            lambda: self._tasks.begin(self._join_again()),
            self._breaker,
            clock,
            metrics,
        )
        self._tasks = SupervisedTasks("the event log")
        self._closed = False

    def start(self) -> None:
        """Start the background tasks; the site must be open."""
        self._site.join(
            ChannelReader(
                channels=lambda: (PROBE_CHANNEL, *self._followed),
                on_subscribed=self._on_subscribed,
                on_message=self._on_message,
                on_alive=self._on_alive,
                on_back=self._sender.retry_now,
            )
        )
        for work in (self._sender.run, self._keep, self.leases.keep):
            self._tasks.keep(work)

    async def check(self) -> None:
        """Prove at the start that events come back. Raises LogUnavailable with the remedy."""
        await check_log(self._probe.prove)

    async def close(self) -> None:
        """Append the waiting events if Redis answers now, and stop."""
        self._closed = True
        with contextlib.suppress(LogUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self.leases.leave()
        left = await self._sender.flush(LEAVE_S)
        if left:
            self._metrics.events_lost.inc(left)
            log.error(
                "%d events were not appended to the event log before the end; their readings "
                "are stored, but no dashboard of another process shows them",
                left,
            )
        self._site.leave()
        await self._tasks.close()

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        if self._closed:
            raise LogUnavailable(message="the log is closed")
        return await self._sender.append(tenant_id, event)

    async def append_many(self, tenant_id: str, events: Sequence[Event]) -> None:
        # Concurrently, so that events share calls; an event's order is that of its task's start.
        await asyncio.gather(*(self.append(tenant_id, event) for event in events))

    async def tip(self, tenant_id: str) -> Cursor:
        return (await self._histories.head(tenant_id))[0]

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        return await self._histories.entries(tenant_id, cursor, limit)

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        channel = channel_name(tenant_id)
        followed = self._followed[channel] = Followed(tenant_id, follower, self._site.run)
        self._unfollowed.discard(channel)
        if self._sender.is_away(tenant_id):
            followed.begin_alone()
            return
        try:
            async with asyncio.timeout(FOLLOW_S):
                await self._site.listener.subscribe(channel)
                await followed.subscribed.wait()
                cursor, own = await self._histories.head(tenant_id)
        except (LogUnavailable, TimeoutError) as error:
            log.warning(
                "tenant %s: streams start with the events of this process only, because Redis"
                " does not answer: %s",
                tenant_id,
                error,
            )
            followed.begin_alone()
            return
        except BaseException:
            self._forget(followed)
            raise
        if self._sender.is_away(tenant_id):
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
        if not self._site.listener.up:
            raise LogUnavailable(message="events of other processes are not received")
        await self._probe.prove()

    async def _append(self, queue: Queue, items: list[Item]) -> None:
        held = await self._histories.append(queue, items)
        followed = self._followed.get(channel_name(queue.tenant_id))
        if followed is not None:
            followed.appended(held)

    def _deliver_ahead(self, tenant_id: str, item: Item) -> None:
        followed = self._followed.get(channel_name(tenant_id))
        if followed is not None:
            followed.take_ahead(item)

    async def _join_again(self) -> None:
        """End the histories of this process alone that Redis has: their clients reconnect."""
        alone = [
            followed
            for followed in self._followed.values()
            if followed.alone and not self._sender.is_away(followed.tenant_id)
        ][:COMPARED_AT_ONCE]
        if not alone or not self._site.listener.up:
            return
        try:
            heads = await self._calls.heads([followed.tenant_id for followed in alone])
        except LogUnavailable as error:
            log.debug("streams go on without the shared histories: %s", error)
            return
        for followed, head in zip(alone, heads, strict=True):
            if head is not None and followed.ready:
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

    def _on_alive(self) -> None:
        if self._breaker.is_open or self._sender.away:
            self._sender.retry_now()

    def _on_subscribed(self, channel: str) -> None:
        if channel == PROBE_CHANNEL:
            self._probe.subscribed()
            return
        followed = self._followed.get(channel)
        if followed is not None:
            followed.subscribed.set()
            self._fill(followed)

    def _on_message(self, channel: str, message: bytes) -> None:
        followed = self._followed.get(channel)
        if followed is None:
            if channel == PROBE_CHANNEL:
                self._probe.receive(message)
            return
        try:
            epoch, _, rest = message.partition(b"\n")
            result = followed.receive(epoch.decode(), parse_records(rest))
        except ValueError as error:
            log.error(
                "a message on the Redis channel %s is not an event of this server: %s",
                channel,
                error,
            )
            result = "gap"
        if result != "all":
            self._fill(followed)

    def _fill(self, followed: Followed) -> None:
        """Read missed records from the log, with those that are published during the read."""
        followed.missed = True
        if followed.ready and not followed.alone and not followed.filling:
            followed.filling = True
            self._tasks.begin(self._read_on(followed))

    async def _read_on(self, followed: Followed) -> None:
        try:
            while followed.missed and followed.ready:
                followed.missed = False
                cursor = followed.log_cursor
                records = await self._histories.records(followed.tenant_id, cursor, FILL_PAGE)
                if records is None:
                    self._lose(followed)
                elif records and followed.ready:
                    self._metrics.events_filled.inc(len(records))
                    for record in records:
                        followed.take(record)
                    followed.missed = True
        except LogUnavailable as error:
            log.warning(
                "tenant %s: missed events could not be read from Redis, the next comparison "
                "retries: %s",
                followed.tenant_id,
                error,
            )
        finally:
            followed.filling = False

    async def _keep(self) -> None:
        """Every COMPARE_S, compare tips and unsubscribe from tenants that have no follower."""
        while True:
            await asyncio.sleep(COMPARE_S)
            try:
                if self._unfollowed:
                    await self._site.listener.unsubscribe(self._unfollowed)
                    self._unfollowed.clear()
                await self._compare()
                await self._renew_broken()
            except LogUnavailable as error:
                log.debug("the event histories could not be compared: %s", error)
            except OSError as error:
                log.debug("the notes of waiting events could not be read: %s", error)
            else:
                await self._join_again()

    async def _renew_broken(self) -> None:
        """Reset the streams of tenants whose events a process of this machine took with it."""
        async with self._notes.left() as tenants:
            for tenant_id in tenants:
                await self._histories.begin_epoch(tenant_id)
                self._metrics.histories_lost.inc()
                log.error(
                    "tenant %s: a process ended while events waited for Redis: their readings are "
                    "stored, and all clients reload",
                    tenant_id,
                )

    async def _compare(self) -> None:
        """Find histories that miss records of the log, or that the log has replaced."""
        followed = [item for item in self._followed.values() if item.ready and not item.alone]
        if not followed:
            await self._calls.ping()
        for start in range(0, len(followed), COMPARED_AT_ONCE):
            some = followed[start : start + COMPARED_AT_ONCE]
            cursors = [item.log_cursor for item in some]
            heads = await self._calls.heads([item.tenant_id for item in some])
            for item, cursor, head in zip(some, cursors, heads, strict=True):
                if head is None:
                    continue
                epoch, tip, mark = head
                if item.missed or not item.agrees(cursor, epoch, int(tip or 0), mark):
                    self._fill(item)
