"""StoreWatch: when the store counts as away, how often it is tried, and who is called when it is
back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from server.common.metrics import Metrics
from server.services.firestore import store_watch
from server.services.firestore.store_watch import LOG_AGAIN_S, RETRY_S, StoreWatch
from server.services.ports.documents import StoreUnavailable
from tests.support.clock import ManualClock

LOST = StoreUnavailable(message="The disk is full")


class Rig:
    """A watch whose pauses and whose store a test controls."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.metrics = clock, Metrics()
        self.fails: list[Exception] = []
        self.tried: asyncio.Queue[bool] = asyncio.Queue()
        self._pauses: asyncio.Queue[tuple[float, asyncio.Future[None]]] = asyncio.Queue()
        self.watch = StoreWatch(self.write, clock, self.metrics)

    async def write(self) -> None:
        self.tried.put_nowait(not self.fails)
        if self.fails:
            raise self.fails.pop(0)

    async def sleep(self, seconds: float) -> None:
        over = asyncio.get_running_loop().create_future()
        self._pauses.put_nowait((seconds, over))
        await over

    async def try_once(self) -> float:
        """Lets a pause end and the attempt after it run; returns the seconds of the pause."""
        async with asyncio.timeout(60):
            seconds, over = await self._pauses.get()
            assert self.tried.empty()
            self.clock.advance(seconds)
            over.set_result(None)
            await self.tried.get()
        return seconds

    async def ended(self) -> None:
        """Waits until the watch has stopped trying."""
        task = self.watch._retry_task
        assert task is not None
        async with asyncio.timeout(60):
            await task

    def away(self) -> float:
        return self.metrics.registry.get_sample_value("bas_store_away") or 0.0


@pytest.fixture
async def rig(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    made = Rig(clock)
    held = SimpleNamespace(**vars(asyncio) | {"sleep": made.sleep})
    monkeypatch.setattr(store_watch, "asyncio", held)
    yield made
    await made.watch.stop()


async def test_a_lost_store_is_away_until_a_write_is_stored(rig: Rig) -> None:
    assert (rig.watch.away, rig.watch.away_s(), rig.away()) == (False, 0.0, 0.0)
    rig.watch.lose(LOST)
    assert (rig.watch.away, rig.watch.error, rig.away()) == (True, LOST, 1.0)
    rig.fails = [LOST, LOST]
    for _ in range(2):
        await rig.try_once()
        assert rig.watch.away
    assert rig.watch.away_s() == 2 * RETRY_S
    await rig.try_once()
    await rig.ended()
    assert (rig.watch.away, rig.watch.error, rig.away()) == (False, None, 0.0)
    assert rig.watch.away_s() == 0.0


async def test_a_store_that_is_away_is_tried_once_a_second(rig: Rig) -> None:
    rig.watch.lose(LOST)
    rig.fails = [LOST] * 5
    assert [await rig.try_once() for _ in range(6)] == [1.0] * 6


async def test_each_callback_runs_whenever_the_store_is_back_after_readings_are_stored(
    rig: Rig,
) -> None:
    calls: list[tuple[str, bool]] = []

    async def first() -> None:
        calls.append(("first", rig.watch.away))

    async def second() -> None:
        calls.append(("second", rig.watch.away))

    rig.watch.on_back(first)
    rig.watch.on_back(second)
    for _ in range(2):
        rig.watch.lose(LOST)
        await rig.try_once()
        await rig.ended()
    assert calls == [("first", False), ("second", False)] * 2


async def test_a_callback_that_fails_does_not_stop_the_others(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    calls = asyncio.Event()

    async def fails() -> None:
        raise KeyError("zone")

    async def succeeds() -> None:
        calls.set()

    rig.watch.on_back(fails)
    rig.watch.on_back(succeeds)
    rig.watch.lose(LOST)
    await rig.try_once()
    await rig.ended()
    assert calls.is_set()
    assert "KeyError" in caplog.text


async def test_a_second_failure_does_not_change_a_store_that_is_away(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.watch.lose(LOST)
    task = rig.watch._retry_task
    rig.clock.advance(7)
    rig.watch.lose(StoreUnavailable(message="another reason"))
    assert (rig.watch.error, rig.watch._retry_task, rig.watch.away_s()) == (LOST, task, 7.0)
    assert len(caplog.records) == 1


async def test_the_store_is_tried_again_whatever_error_an_attempt_raises(rig: Rig) -> None:
    rig.watch.lose(LOST)
    rig.fails = [RuntimeError("a bug"), OSError("no route")]
    for _ in range(3):
        await rig.try_once()
    await rig.ended()
    assert not rig.watch.away


async def test_the_log_has_the_cause_at_once_and_each_hour_and_when_the_store_is_back(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rig.watch.lose(LOST)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "not stored: The disk is full" in record.getMessage()
    tries = 2 * round(LOG_AGAIN_S / RETRY_S)
    rig.fails = [LOST] * (tries + 1)
    for _ in range(tries + 1):
        await rig.try_once()
    again = [record.getMessage() for record in caplog.records[1:]]
    assert again == ["readings are still not stored: The disk is full"] * 2
    await rig.try_once()
    await rig.ended()
    assert caplog.records[-1].getMessage() == f"readings are stored again, after {tries + 2} s"


@pytest.mark.parametrize("works", [True, False])
async def test_a_check_marks_the_store_as_away_if_its_write_fails(rig: Rig, works: bool) -> None:
    rig.fails = [] if works else [LOST]
    await rig.watch.check()
    assert rig.watch.away is not works


async def test_a_stopped_watch_does_not_try_the_store(rig: Rig) -> None:
    rig.watch.lose(LOST)
    task = rig.watch._retry_task
    assert task is not None
    await rig.watch.stop()
    assert task.cancelled()
    assert rig.tried.empty()
