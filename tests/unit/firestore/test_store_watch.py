"""The watch over the store: when it is away, how often it is tried, who hears that it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from server.metrics import Metrics
from server.services.firestore import store_watch
from server.services.firestore.base import StoreUnavailable
from server.services.firestore.store_watch import SAY_AGAIN_S, TRY_S, StoreWatch
from tests.support.clock import ManualClock

LOST = StoreUnavailable(message="The disk is full")


class Rig:
    """A watch whose pauses, and whose store, the test holds in its hand."""

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
        """Let its pause pass, and the try after it; the seconds that it paused."""
        async with asyncio.timeout(5):
            seconds, over = await self._pauses.get()
            assert self.tried.empty()
            self.clock.advance(seconds)
            over.set_result(None)
            await self.tried.get()
        return seconds

    async def ended(self) -> None:
        """Wait for the end of its trying."""
        task = self.watch._trying
        assert task is not None
        async with asyncio.timeout(5):
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
    assert rig.watch.away_s() == 2 * TRY_S
    await rig.try_once()
    await rig.ended()
    assert (rig.watch.away, rig.watch.error, rig.away()) == (False, None, 0.0)
    assert rig.watch.away_s() == 0.0


async def test_it_is_tried_once_a_second(rig: Rig) -> None:
    rig.watch.lose(LOST)
    rig.fails = [LOST] * 5
    assert [await rig.try_once() for _ in range(6)] == [1.0] * 6


async def test_who_listens_hears_each_time_that_it_is_back_once_readings_are_stored(
    rig: Rig,
) -> None:
    heard: list[tuple[str, bool]] = []

    async def first() -> None:
        heard.append(("first", rig.watch.away))

    async def second() -> None:
        heard.append(("second", rig.watch.away))

    rig.watch.on_back(first)
    rig.watch.on_back(second)
    for _ in range(2):
        rig.watch.lose(LOST)
        await rig.try_once()
        await rig.ended()
    assert heard == [("first", False), ("second", False)] * 2


async def test_what_one_listener_fails_with_keeps_no_other_from_hearing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    heard = asyncio.Event()

    async def fails() -> None:
        raise KeyError("zone")

    async def hears() -> None:
        heard.set()

    rig.watch.on_back(fails)
    rig.watch.on_back(hears)
    rig.watch.lose(LOST)
    await rig.try_once()
    await rig.ended()
    assert heard.is_set()
    assert "KeyError" in caplog.text


async def test_a_store_that_is_away_is_lost_no_second_time(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.watch.lose(LOST)
    task = rig.watch._trying
    rig.clock.advance(7)
    rig.watch.lose(StoreUnavailable(message="another reason"))
    assert (rig.watch.error, rig.watch._trying, rig.watch.away_s()) == (LOST, task, 7.0)
    assert len(caplog.records) == 1


async def test_it_is_tried_again_whatever_a_try_fails_with(rig: Rig) -> None:
    rig.watch.lose(LOST)
    rig.fails = [RuntimeError("a bug"), OSError("no route")]
    for _ in range(3):
        await rig.try_once()
    await rig.ended()
    assert not rig.watch.away


async def test_the_log_says_why_at_once_and_then_once_a_minute_and_when_it_is_back(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rig.watch.lose(LOST)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "not stored: The disk is full" in record.getMessage()
    tries = 2 * round(SAY_AGAIN_S / TRY_S)
    rig.fails = [LOST] * (tries + 1)
    for _ in range(tries + 1):
        await rig.try_once()
    again = [record.getMessage() for record in caplog.records[1:]]
    assert again == ["readings are still not stored: The disk is full"] * 2
    await rig.try_once()
    await rig.ended()
    assert caplog.records[-1].getMessage() == f"readings are stored again, after {tries + 2} s"


@pytest.mark.parametrize("works", [True, False])
async def test_a_look_at_the_store_loses_it_if_it_takes_no_write(rig: Rig, works: bool) -> None:
    rig.fails = [] if works else [LOST]
    await rig.watch.check()
    assert rig.watch.away is not works


async def test_once_stopped_it_is_tried_no_more(rig: Rig) -> None:
    rig.watch.lose(LOST)
    task = rig.watch._trying
    assert task is not None
    await rig.watch.stop()
    assert task.cancelled()
    assert rig.tried.empty()
