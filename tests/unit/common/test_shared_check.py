"""SharedCheck: one run of a check for all who ask."""

from __future__ import annotations

import asyncio

import pytest

from server.common.errors import Unavailable
from server.common.shared_check import BAD_S, GOOD_S, SharedCheck
from tests.support.clock import ManualClock

SLOW_S = 0.05


class Part:
    """A part of the server that is well, fails, or does not answer; it counts the questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Unavailable | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def check(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


async def test_a_hundred_callers_at_once_and_those_of_the_next_seconds_share_one_run(
    clock: ManualClock,
) -> None:
    part = Part()
    shared = SharedCheck(part.check, clock, SLOW_S)
    await asyncio.gather(*(shared() for _ in range(100)))
    clock.advance(GOOD_S - 0.1)
    await shared()
    assert part.asked == 1
    clock.advance(0.2)
    await asyncio.gather(*(shared() for _ in range(100)))
    assert part.asked == 2


async def test_a_failure_is_told_to_all_with_its_reason_and_looked_at_again_sooner(
    clock: ManualClock,
) -> None:
    part = Part()
    part.error = Unavailable(code="BROKEN", message="because of that")
    shared = SharedCheck(part.check, clock, SLOW_S)
    told = await asyncio.gather(*(shared() for _ in range(9)), return_exceptions=True)
    assert {str(error) for error in told} == {"BROKEN: Service unavailable (because of that)"}
    assert part.asked == 1
    part.error = None
    clock.advance(BAD_S)
    await shared()
    assert part.asked == 2


async def test_a_check_that_does_not_answer_fails_after_its_time(clock: ManualClock) -> None:
    part = Part()
    part.answers.clear()
    shared = SharedCheck(part.check, clock, SLOW_S)
    async with asyncio.timeout(10):
        told = await asyncio.gather(shared(), shared(), return_exceptions=True)
    assert [type(error) for error in told] == [Unavailable, Unavailable]
    assert "NO_ANSWER" in str(told[0])
    assert part.asked == 1


async def test_a_caller_that_hangs_up_does_not_take_the_answer_from_those_that_wait(
    clock: ManualClock,
) -> None:
    part = Part()
    part.answers.clear()
    shared = SharedCheck(part.check, clock, 10)
    first = asyncio.create_task(shared())
    second = asyncio.create_task(shared())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    part.answers.set()
    async with asyncio.timeout(10):
        await second
    assert part.asked == 2
