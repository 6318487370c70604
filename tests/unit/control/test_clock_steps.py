"""A machine's clock is set while the server runs, or between two runs: minimum times hold."""

from __future__ import annotations

import pytest

from tests.support.clock import ManualClock
from tests.support.http import Caller, reading, served

HOUR_S = 3600


class StepClock(ManualClock):
    """The wall clock may step; the steady one goes on from where it started."""

    step_ms = 0

    def now_ms(self) -> int:
        return self.ms + self.step_ms


async def cools(container, temp_tenths, device="lab"):
    answer = await Caller(container.app).post(
        "/api/sensor_data", reading(temp_tenths, device_id=device)
    )
    return answer.json()["cool_active"]


@pytest.mark.parametrize("step_h", [-24, -1, 1, 24])
async def test_minimum_times_hold_over_a_restart_after_the_clock_was_set(config, step_h):
    first = StepClock()
    async with served(config, first) as container:
        first.step_ms = step_h * HOUR_S * 1000
        assert await cools(container, 300)
        first.advance(10)
        assert not await cools(container, 200)
    second = ManualClock(first.now_ms() + 1000)
    async with served(config, second) as container:
        assert not await cools(container, 300)
        second.advance(8.999)
        assert not await cools(container, 300)
        second.advance(0.001)
        assert await cools(container, 300)


async def test_a_clock_set_back_between_two_runs_makes_no_wait_longer_than_the_minimum(config):
    first = ManualClock()
    async with served(config, first) as container:
        assert await cools(container, 300)
    second = ManualClock(first.now_ms() - HOUR_S * 1000)
    async with served(config, second) as container:
        assert await cools(container, 200)
        second.advance(10)
        assert not await cools(container, 200)


@pytest.mark.parametrize("step_h", [-1, 1])
async def test_a_step_while_it_runs_neither_shortens_nor_lengthens_a_minimum_time(config, step_h):
    clock = StepClock()
    async with served(config, clock) as container:
        assert await cools(container, 300)
        clock.step_ms = step_h * HOUR_S * 1000
        clock.advance(9.999)
        assert await cools(container, 200)
        clock.advance(0.001)
        assert not await cools(container, 200)


async def test_the_zone_heard_last_is_so_though_the_clock_was_set_back(config):
    clock = StepClock()
    async with served(config, clock) as container:
        await cools(container, 300, "before")
        clock.step_ms = -HOUR_S * 1000
        clock.advance(1)
        await cools(container, 200, "after")
        status = (await Caller(container.app).get("/api/status")).json()
        assert status["device_id"] == "after"
