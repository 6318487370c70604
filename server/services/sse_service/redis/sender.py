"""Sender: appends the events of the outbox to the log, in order, until each is confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Protocol

from server.common.breaker import Breaker
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.event_log import (
    Cursor,
    Event,
    LogForbidden,
    LogRefused,
    LogUnavailable,
)
from server.services.site.redis_listener import jittered
from server.services.sse_service.redis.outbox import BATCH_MAX, Item, Outbox, Queue

log = logging.getLogger(__name__)

TENANTS_AT_ONCE = 8
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 2.0
# The longest pause for a tenant whose events alone are refused.
HOLD_MAX_S = 30.0
# A publisher waits at most these seconds for the log, because a device waits at most 5 s for its
# answer.
APPEND_S = 3.0

SendEvents = Callable[[Queue, list[Item]], Awaitable[None]]


class Notes(Protocol):
    """What outlives this process: the tenants whose events wait."""

    async def note(self, tenant_id: str) -> None: ...

    async def clear(self) -> None: ...


class OutboxSender:
    """Sends the outbox, pauses when Redis fails, and retries.

    `send` appends a queue's oldest events in one step or raises LogUnavailable; `works` raises it
    if Redis takes no events at all. A tenant whose events alone are refused waits by itself, and
    all others go on. No publisher goes on before `notes` has that its event waits. `on_ahead` gets
    each event that has to wait, in order; `on_back` is called when no event waits any more.
    """

    def __init__(
        self,
        outbox: Outbox,
        send: SendEvents,
        works: Callable[[], Awaitable[None]],
        notes: Notes,
        on_ahead: Callable[[str, Item], None],
        on_back: Callable[[], None],
        breaker: Breaker,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._outbox = outbox
        self._send = send
        self._works = works
        self._notes = notes
        self._on_ahead = on_ahead
        self._on_back = on_back
        self._breaker = breaker
        self._clock = clock
        self._metrics = metrics
        self._work = asyncio.Event()
        self._alive = asyncio.Event()
        self._idle = asyncio.Event()
        # The last call failed: publishers do not wait for the next one.
        self.away = False

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        """Queue an event; return its cursor, or None if it waits for the log."""
        item, dropped = self._outbox.add(tenant_id, event)
        if dropped:
            self._report_lost(tenant_id, dropped, "more wait than a history may hold")
        self._count()
        self._idle.clear()
        self._work.set()
        if self.is_away(tenant_id):
            self._deliver_ahead(tenant_id, item)
        cursor = None
        if item.done is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(APPEND_S):
                    cursor = await item.done
        item.ahead = item.ahead or item.done is not None
        if item.ahead:
            await self._notes.note(tenant_id)
        return cursor

    def is_away(self, tenant_id: str) -> bool:
        """Whether this tenant's events wait for Redis."""
        return self.away or self._outbox.is_held(tenant_id)

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        while True:
            due, next_s = self._due()
            if not due:
                if next_s is None:
                    self._set_reachable()
                    await self._notes.clear()
                    self._idle.set()
                self._work.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(next_s):
                        await self._work.wait()
                continue
            # Cleared before the attempt: a sign of life during it shortens the pause after it.
            self._alive.clear()
            errors = await asyncio.gather(*map(self._send_batch, due))
            refused = [pair for pair in zip(due, errors, strict=True) if pair[1] is not None]
            # The first call without an answer says that Redis is away: publishers wait for no
            # second one. If it lasts, a small call shows whether only these tenants are refused.
            new = failures == 0 and any(
                not queue.failures and not isinstance(error, LogForbidden)
                for queue, error in refused
            )
            if refused and (new or not await self._is_well()):
                self._set_away()
                await self._pause(failures)
                failures += 1
                continue
            if not all([self._is_alone(queue, error) for queue, error in refused]):
                continue
            failures = 0
            for queue, error in refused:
                self._hold(queue, error)
            if self._outbox.waiting - self._held_events() <= BATCH_MAX:
                # Under a steady load the outbox is never empty, but no event waits for long.
                self._set_reachable()
                if not any(queue.items[0].ahead for queue in self._outbox.queues()):
                    await self._notes.clear()

    def _due(self) -> tuple[list[Queue], float | None]:
        """The queues to send now, and the seconds until the next one if there are none."""
        now = self._clock.monotonic()
        waiting = list(self._outbox.queues())
        due = list(islice((queue for queue in waiting if queue.retry_at <= now), TENANTS_AT_ONCE))
        return due, min((queue.retry_at - now for queue in waiting), default=None)

    def _held_events(self) -> int:
        return sum(len(queue.items) for queue in self._outbox.queues() if queue.failures)

    async def _is_well(self) -> bool:
        """Whether Redis takes events, though not those of the tenants that were just refused."""
        try:
            await self._works()
        except LogUnavailable:
            return False
        return True

    def _is_alone(self, queue: Queue, error: LogUnavailable | None) -> bool:
        """Whether this tenant alone is refused: an answer says so, or a second failure in a row.

        After one failure Redis may have come back between this call and the small one.
        """
        alone = isinstance(error, LogForbidden) or queue.doubted
        queue.doubted = True
        return alone

    def _hold(self, queue: Queue, error: LogUnavailable | None) -> None:
        """Leave a tenant alone for a while, because its events alone are refused."""
        if not queue.failures:
            log.error(
                "Redis does not take the events of tenant %s, though it takes those of others (%s):"
                " they wait, and its streams get the events of this process only. Look at the keys "
                "that begin with bas:{%s} and at the rights of the server's user",
                queue.tenant_id,
                error.message if error is not None else "",
                queue.tenant_id,
            )
        queue.retry_at = self._clock.monotonic() + jittered(queue.failures, PAUSE_MIN_S, HOLD_MAX_S)
        queue.failures += 1
        self._pass_ahead(queue)

    def retry_now(self) -> None:
        """End the pause, because Redis shows signs of life."""
        self._alive.set()

    async def flush(self, timeout_s: float) -> int:
        """Wait until no event waits, for at most `timeout_s`; return how many still wait."""
        self.retry_now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._outbox.waiting

    async def _send_batch(self, queue: Queue) -> LogUnavailable | None:
        """Send a queue's oldest events; the error if they have to wait."""
        items, epoch = queue.batch(), queue.new_epoch
        try:
            await self._send(queue, items)
        except LogRefused as error:
            # A retry would not help, and it would hold up the other tenants.
            self._report_lost(queue.tenant_id, self._outbox.drop(queue), error.message or "")
            return None
        except LogUnavailable as error:
            log.debug("events of tenant %s wait for Redis: %s", queue.tenant_id, error.message)
            self._outbox.end_turn(queue)
            return error
        queue.doubted = False
        if queue.failures:
            log.warning("Redis takes the events of tenant %s again", queue.tenant_id)
            queue.failures, queue.retry_at = 0, 0.0
            self._on_back()
        self._outbox.appended(queue, items, epoch, self._clock.monotonic())
        self._count()
        return None

    def _report_lost(self, tenant_id: str, events: int, why: str) -> None:
        self._metrics.events_lost.inc(events)
        self._count()
        log.error(
            "%d events of tenant %s are lost because Redis refused them (%s);"
            " a new epoch starts, all clients reload",
            events,
            tenant_id,
            why,
        )

    async def _pause(self, failures: int) -> None:
        wait_s = max(self._breaker.wait_s(), jittered(failures, PAUSE_MIN_S, PAUSE_MAX_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._alive.wait()

    def _set_away(self) -> None:
        if not self.away:
            self.away = True
            log.warning("Redis cannot be reached: streams get the events of this process only")
        for queue in self._outbox.queues():
            self._pass_ahead(queue)

    def _set_reachable(self) -> None:
        if self.away:
            self.away = False
            log.warning("Redis is back and has all events that waited")
            self._on_back()

    def _pass_ahead(self, queue: Queue) -> None:
        """Give a tenant's waiting events to the streams of this process."""
        for item in queue.items:
            if item.done is not None:
                self._deliver_ahead(queue.tenant_id, item)

    def _deliver_ahead(self, tenant_id: str, item: Item) -> None:
        self._metrics.events_deferred.inc()
        self._on_ahead(tenant_id, item)
        item.ahead = True
        item.settle(None)

    def _count(self) -> None:
        self._metrics.events_waiting.set(self._outbox.waiting)
