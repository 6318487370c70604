"""Events on their way into a log that takes them, or does not for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.breaker import Breaker
from server.metrics import Metrics
from server.services.sse_service.backend import Cursor, LogUnavailable
from server.services.sse_service.event import Event
from server.services.sse_service.shared.outbox import Item, Outbox, Queue
from server.services.sse_service.shared.sender import Sender
from tests.support.clock import ManualClock
from tests.support.stream import eventually

BOUND_S = 5


class Log:
    """Takes events while `open`; counts how often it is asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.taken: list[str] = []
        self.ahead: list[str] = []
        self.asked = self.backs = 0
        self.open = asyncio.Event()
        self.open.set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.breaker = Breaker(clock)
        self.metrics = Metrics()
        self._outbox = Outbox(10, 10**9)
        self.trickle = False
        self.sender = Sender(
            self._outbox,
            self._send,
            self._on_ahead,
            self._on_back,
            self.breaker,
            clock,
            self.metrics,
        )

    async def _send(self, queue: Queue, items: list[Item]) -> None:
        self.asked += 1
        await self.answering.wait()
        if self.trickle:  # meanwhile the next one came
            self._outbox.add("here", Event("telemetry", "more"))
        if not self.open.is_set():
            self.breaker.failed()
            raise LogUnavailable
        self.breaker.succeeded()
        for item in items:
            self.taken.append(item.event.data)
            item.settle(Cursor("abcdefgh", len(self.taken)))

    def _on_ahead(self, tenant_id: str, item: Item) -> None:
        self.ahead.append(item.event.data)

    def _on_back(self) -> None:
        self.backs += 1

    async def append(self, *numbers: int) -> list[Cursor | None]:
        """Append events at the same time."""
        async with asyncio.timeout(BOUND_S):
            events = [Event("telemetry", str(number)) for number in numbers]
            return await asyncio.gather(*(self.sender.append("here", e) for e in events))

    def figure(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


@pytest.fixture
async def log(clock: ManualClock) -> AsyncIterator[Log]:
    log = Log(clock)
    task = asyncio.create_task(log.sender.run())
    yield log
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_appended_gets_its_place_in_the_order_it_came(log: Log) -> None:
    cursors = await log.append(1, 2, 3)
    assert [cursor and cursor.position for cursor in cursors] == [1, 2, 3]
    assert log.taken == ["1", "2", "3"]
    assert log.asked == 1
    assert not log.sender.away
    assert log.ahead == []


async def test_what_the_log_does_not_take_goes_ahead_in_order_and_in_later_once(log: Log) -> None:
    log.open.clear()
    assert await log.append(1, 2) == [None, None]
    assert log.sender.away
    assert await log.append(3) == [None]
    assert log.ahead == ["1", "2", "3"]
    assert (log.figure("bas_events_waiting"), log.figure("bas_events_deferred_total")) == (3, 3)
    log.open.set()
    log.sender.try_now()
    await eventually(lambda: not log.sender.away, "the log is back")
    assert log.taken == ["1", "2", "3"]
    assert (log.backs, log.figure("bas_events_waiting")) == (1, 0)
    assert await log.append(4) == [Cursor("abcdefgh", 4)]
    assert log.ahead == ["1", "2", "3"]


async def test_while_the_breaker_is_open_the_log_is_not_asked_until_there_is_a_sign_of_life(
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
    log.sender.try_now()
    await eventually(lambda: len(log.taken) == 5, "all are in", BOUND_S)


async def test_a_sign_of_life_during_an_attempt_that_fails_is_not_forgotten(log: Log) -> None:
    for _ in range(5):
        log.breaker.failed()
    log.open.clear()
    log.answering.clear()
    appending = asyncio.create_task(log.append(1))
    await eventually(lambda: log.asked == 1, "the first attempt is under way")
    log.sender.try_now()
    log.answering.set()
    assert await appending == [None]
    await eventually(lambda: log.asked >= 2, "the second attempt came at once", BOUND_S)


async def test_what_waits_too_long_is_dropped_counted_and_its_history_begins_anew(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    log.open.clear()
    await log.append(*range(10))
    await log.append(10)
    assert log.figure("bas_events_lost_total") == 10
    assert "10 events of tenant here are dropped" in caplog.text
    (queue,) = log.sender._outbox.queues()
    assert queue.new_epoch is not None
    log.open.set()
    log.sender.try_now()
    await eventually(lambda: log.taken == ["10"], "what came later is in")


async def test_a_steady_load_does_not_keep_an_outage_going(log: Log) -> None:
    """There is always something on its way, and yet nothing waits for long."""
    log.open.clear()
    await log.append(1)
    log.trickle = True
    log.open.set()
    log.sender.try_now()
    await eventually(lambda: not log.sender.away, "the log is back")
    assert log.backs == 1
    log.trickle = False


async def test_at_the_end_what_waits_is_brought_in_or_told(log: Log) -> None:
    assert await log.sender.flush(BOUND_S) == 0
    log.open.clear()
    await log.append(1, 2)
    assert await log.sender.flush(0.05) == 2
    log.open.set()
    assert await log.sender.flush(BOUND_S) == 0
    assert log.taken == ["1", "2"]
