"""OutboxSender: events on their way to a log that accepts them, or does not for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.common.breaker import Breaker
from server.common.metrics import Metrics
from server.services.ports.event_log import Cursor, Event, LogForbidden, LogUnavailable
from server.services.sse_service.redis import sender
from server.services.sse_service.redis.outbox import Item, Outbox, Queue
from server.services.sse_service.redis.sender import OutboxSender
from tests.support.clock import ManualClock
from tests.support.stream import eventually

BOUND_S = 60.0


class Log:
    """Accepts events while `open` is set; counts how often it is asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.taken: list[str] = []
        self.ahead: list[str] = []
        self.asked = self.backs = self.judged = 0
        self.noted: set[str] = set()
        # Redis refuses the events of this tenant alone.
        self.refused: str | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.breaker = Breaker(clock)
        self.metrics = Metrics()
        self._outbox = Outbox(10, 10**9)
        # Redis goes away again once it has so many events.
        self.room = -1
        self.trickle = False
        self.refusal: LogUnavailable = LogForbidden(message="no right to it")
        self.sender = OutboxSender(
            self._outbox,
            self._send,
            self._works,
            self,
            self._on_ahead,
            self._on_back,
            self.breaker,
            clock,
            self.metrics,
        )

    async def note(self, tenant_id: str) -> None:
        self.noted.add(tenant_id)

    async def clear(self) -> None:
        self.noted.clear()

    async def _send(self, queue: Queue, items: list[Item]) -> None:
        self.asked += 1
        await self.answering.wait()
        if self.trickle:  # the next event arrives during the send
            self._outbox.add("here", Event("telemetry", "more"))
        if not self.open.is_set():
            self.breaker.failed()
            raise LogUnavailable
        self.breaker.succeeded()
        if queue.tenant_id == self.refused:
            raise self.refusal
        if self.room == len(self.taken):
            self.open.clear()
            raise LogUnavailable
        for item in items:
            self.taken.append(item.event.data)
            item.settle(Cursor("abcdefgh", len(self.taken)))

    async def _works(self) -> None:
        self.judged += 1
        if not self.open.is_set():
            raise LogUnavailable

    def _on_ahead(self, tenant_id: str, item: Item) -> None:
        self.ahead.append(item.event.data)

    def _on_back(self) -> None:
        self.backs += 1

    async def append(self, *numbers: int, tenant: str = "here") -> list[Cursor | None]:
        """Appends events at the same time."""
        async with asyncio.timeout(BOUND_S):
            events = [Event("telemetry", str(number)) for number in numbers]
            return await asyncio.gather(*(self.sender.append(tenant, e) for e in events))

    def figure(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


@pytest.fixture
async def log(clock: ManualClock) -> AsyncIterator[Log]:
    log = Log(clock)
    task = asyncio.create_task(log.sender.run())
    yield log
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_appended_events_get_their_cursors_in_the_order_of_their_arrival(log: Log) -> None:
    cursors = await log.append(1, 2, 3)
    assert [cursor and cursor.position for cursor in cursors] == [1, 2, 3]
    assert log.taken == ["1", "2", "3"]
    assert log.asked == 1
    assert not log.sender.away
    assert log.ahead == []
    assert log.noted == set()


async def test_events_that_the_log_refuses_are_sent_ahead_in_order_and_stored_later_once(
    log: Log,
) -> None:
    log.open.clear()
    assert await log.append(1, 2) == [None, None]
    assert log.sender.away
    assert await log.append(3) == [None]
    assert log.ahead == ["1", "2", "3"]
    assert log.noted == {"here"}
    assert (log.figure("bas_events_waiting"), log.figure("bas_events_deferred_total")) == (3, 3)
    log.open.set()
    log.sender.retry_now()
    await eventually(lambda: not log.sender.away, "the log is back")
    assert log.taken == ["1", "2", "3"]
    assert (log.backs, log.figure("bas_events_waiting"), log.noted) == (1, 0, set())
    assert await log.append(4) == [Cursor("abcdefgh", 4)]
    assert log.ahead == ["1", "2", "3"]


async def test_with_an_open_breaker_the_log_is_not_asked_until_try_now_is_called(
    log: Log,
) -> None:
    for _ in range(5):
        log.breaker.failed()
    log.open.clear()
    await log.append(1)
    asked = log.asked
    for number in range(2, 6):
        await log.append(number)
    assert log.asked == asked
    log.open.set()
    log.sender.retry_now()
    await eventually(lambda: len(log.taken) == 5, "all are in", BOUND_S)


async def test_a_try_now_during_a_failing_attempt_is_not_lost(log: Log) -> None:
    for _ in range(5):
        log.breaker.failed()
    log.open.clear()
    log.answering.clear()
    appending = asyncio.create_task(log.append(1))
    await eventually(lambda: log.asked == 1, "the first attempt is under way")
    log.sender.retry_now()
    log.answering.set()
    assert await appending == [None]
    await eventually(lambda: log.asked >= 2, "the second attempt came at once", BOUND_S)


async def test_a_tenant_is_noted_for_as_long_as_one_of_its_events_waits(log: Log) -> None:
    """Not all go in one turn, and Redis goes away again in between."""
    log.open.clear()
    tenants = [f"t{number}" for number in range(sender.TENANTS_AT_ONCE + 1)]
    for tenant in tenants:
        await log.append(1, tenant=tenant)
    log.room = sender.TENANTS_AT_ONCE
    log.open.set()
    log.sender.retry_now()
    await eventually(lambda: not log.open.is_set() and log.sender.away, "it is away again")
    assert len(log.taken) == sender.TENANTS_AT_ONCE
    assert log.noted >= {tenants[-1]}
    log.room = -1
    log.open.set()
    log.sender.retry_now()
    await eventually(lambda: not log.noted, "none waits")
    assert len(log.taken) == len(tenants)


async def test_a_queue_that_becomes_too_long_is_dropped_and_counted_and_gets_a_new_epoch(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    log.open.clear()
    await log.append(*range(10))
    await log.append(10)
    assert log.figure("bas_events_lost_total") == 10
    assert "10 events of tenant here are lost" in caplog.text
    (queue,) = log.sender._outbox.queues()
    assert queue.new_epoch is not None
    log.open.set()
    log.sender.retry_now()
    await eventually(lambda: log.taken == ["10"], "what came later is in")


async def test_a_steady_load_does_not_prolong_an_outage(log: Log) -> None:
    """There is always an event on its way, but none waits for long."""
    log.open.clear()
    await log.append(1)
    log.trickle = True
    log.open.set()
    log.sender.retry_now()
    await eventually(lambda: not log.sender.away, "the log is back")
    assert log.backs == 1
    log.trickle = False


async def test_flush_sends_the_waiting_events_or_returns_how_many_remain(log: Log) -> None:
    assert await log.sender.flush(BOUND_S) == 0
    log.open.clear()
    await log.append(1, 2)
    assert await log.sender.flush(0.05) == 2
    log.open.set()
    assert await log.sender.flush(BOUND_S) == 0
    assert log.taken == ["1", "2"]


async def test_a_tenant_that_alone_is_refused_waits_alone_and_its_streams_get_its_events(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    log.refused = "bad"
    assert await log.append(1, tenant="bad") == [None]
    assert log.ahead == ["1"]
    assert log.sender.is_away("bad")
    for number in range(2, 10):
        assert None not in await log.append(number)
        assert await log.append(100 + number, tenant="bad") == [None]
    assert not log.sender.away
    assert not log.sender.is_away("here")
    assert not log.breaker.is_open
    (line,) = [record.message for record in caplog.records if "tenant bad" in record.message]
    assert "(no right to it)" in line


async def test_the_events_of_a_refused_tenant_are_sent_in_order_once_they_are_allowed(
    log: Log, clock: ManualClock
) -> None:
    log.refused = "bad"
    await log.append(1, tenant="bad")
    await log.append(2, tenant="bad")
    log.refused = None
    clock.advance(60)
    await log.append(3, tenant="bad")
    await eventually(lambda: log.taken == ["1", "2", "3"], "they are sent")
    (cursor,) = await log.append(4, tenant="bad")
    assert cursor is not None
    assert not log.sender.is_away("bad")
    assert log.backs == 1


async def test_a_tenant_whose_calls_time_out_for_ever_holds_up_nobody_for_long(
    log: Log, clock: ManualClock
) -> None:
    log.refused, log.refusal = "bad", LogUnavailable(message="no answer")
    await log.append(1, tenant="bad")
    await eventually(lambda: log.judged == 2, "two attempts are judged")
    await eventually(lambda: not log.sender.away, "Redis takes the events of others")
    for number in range(2, 5):
        clock.advance(60)
        await log.append(number, tenant="bad")
        assert None not in await log.append(number)
        assert not log.sender.away


async def test_a_refusal_of_every_tenant_is_an_outage(log: Log) -> None:
    log.refused, log.refusal = "here", LogForbidden(message="no right to it")

    async def nothing_works() -> None:
        raise LogForbidden

    log.sender._works = nothing_works
    assert await log.append(1) == [None]
    assert log.sender.away
