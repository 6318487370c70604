"""Sender: brings the events of the outbox into the log, in order, until each is confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from itertools import islice

from server.breaker import Breaker
from server.clock import Clock
from server.metrics import Metrics
from server.services.sse_service.backend import Cursor, LogRefused, LogUnavailable
from server.services.sse_service.event import Event
from server.services.sse_service.shared.outbox import BATCH_MAX, Item, Outbox, Queue
from server.services.sse_service.shared.subscriber import jittered

log = logging.getLogger(__name__)

TENANTS_AT_ONCE = 8
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 2.0
# Whatever holds an event up, a device waits for its answer for 5 s at most.
APPEND_S = 3.0

Send = Callable[[Queue, list[Item]], Awaitable[None]]


class Sender:
    """`send` appends a queue's oldest events in one step or raises LogUnavailable; `on_ahead` is
    told of each event that has to wait, in order, and `on_back` when none waits any more."""

    def __init__(
        self,
        outbox: Outbox,
        send: Send,
        on_ahead: Callable[[str, Item], None],
        on_back: Callable[[], None],
        breaker: Breaker,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._outbox = outbox
        self._send = send
        self._on_ahead = on_ahead
        self._on_back = on_back
        self._breaker = breaker
        self._clock = clock
        self._metrics = metrics
        self._work = asyncio.Event()
        self._alive = asyncio.Event()
        self._idle = asyncio.Event()
        # The last call failed: what comes now does not wait for the next.
        self.away = False

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        """The event's place; None if it waits for the log."""
        item, dropped = self._outbox.add(tenant_id, event)
        if dropped:
            self._report_lost(tenant_id, dropped, "more wait than a history may hold")
        self._count()
        self._idle.clear()
        self._work.set()
        if self.away:
            self._hand_ahead(tenant_id, item)
        if item.done is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(APPEND_S):
                return await item.done
        return None

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        while True:
            queues = list(islice(self._outbox.queues(), TENANTS_AT_ONCE))
            if not queues:
                self._come_back()
                self._idle.set()
                self._work.clear()
                await self._work.wait()
                continue
            # Cleared before the attempt: a sign of life during it is for the pause that may follow.
            self._alive.clear()
            if all(await asyncio.gather(*map(self._sent, queues))):
                failures = 0
                if self._outbox.waiting <= BATCH_MAX:
                    # Not empty, perhaps, under a steady load; but nothing waits for long.
                    self._come_back()
                continue
            self._go_away()
            await self._pause(failures)
            failures += 1

    def try_now(self) -> None:
        """The log shows signs of life: do not wait for the next attempt."""
        self._alive.set()

    async def flush(self, timeout_s: float) -> int:
        """Wait until nothing waits any more; how many events do when the time is over."""
        self.try_now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._outbox.waiting

    async def _sent(self, queue: Queue) -> bool:
        items, epoch = queue.batch(), queue.new_epoch
        try:
            await self._send(queue, items)
        except LogRefused as error:
            # Trying again would not help, and no other tenant is to wait for it.
            self._report_lost(queue.tenant_id, self._outbox.drop(queue), error.message or "")
            return True
        except LogUnavailable as error:
            log.debug("events of tenant %s wait: %s", queue.tenant_id, error.message)
            self._outbox.end_turn(queue)
            return False
        self._outbox.appended(queue, items, epoch, self._clock.monotonic())
        self._count()
        return True

    def _report_lost(self, tenant_id: str, events: int, why: str) -> None:
        self._metrics.events_lost.inc(events)
        self._count()
        log.error(
            "%d events of tenant %s are dropped (%s): its history will begin anew, "
            "and every dashboard be told",
            events,
            tenant_id,
            why,
        )

    async def _pause(self, failures: int) -> None:
        wait_s = max(self._breaker.wait_s(), jittered(failures, PAUSE_MIN_S, PAUSE_MAX_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._alive.wait()

    def _go_away(self) -> None:
        if not self.away:
            self.away = True
            log.warning("the event log is out of reach: streams get this process's own events")
        for queue in self._outbox.queues():
            for item in queue.items:
                if item.done is not None:
                    self._hand_ahead(queue.tenant_id, item)

    def _come_back(self) -> None:
        if self.away:
            self.away = False
            log.warning("the event log is back and holds everything that waited")
            self._on_back()

    def _hand_ahead(self, tenant_id: str, item: Item) -> None:
        self._metrics.events_deferred.inc()
        self._on_ahead(tenant_id, item)
        item.settle(None)

    def _count(self) -> None:
        self._metrics.events_waiting.set(self._outbox.waiting)
