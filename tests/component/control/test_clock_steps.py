"""Minimum times hold when clocks are set, and across processes, machines and boots."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.clock import HOUR_MS, ManualClock
from tests.support.http import Caller, reading, served


async def cools(container, temp_tenths, device="lab"):
    answer = await Caller(container.app).post(
        "/api/sensor_data", reading(temp_tenths, device_id=device)
    )
    return answer.json()["cool_active"]


@pytest.mark.parametrize("step_h", [-24, -1, 1, 24])
async def test_minimum_times_hold_over_a_boot_after_the_clock_was_set(config, step_h):
    first = ManualClock()
    async with served(config, first) as container:
        first.step_ms = step_h * HOUR_MS
        assert await cools(container, 300)
        first.advance(10)
        assert not await cools(container, 200)
    second = ManualClock(first.now_ms() + 1000, boot="second boot")
    async with served(config, second) as container:
        assert not await cools(container, 300)
        second.advance(8.999)
        assert not await cools(container, 300)
        second.advance(0.001)
        assert await cools(container, 300)


async def test_a_clock_set_back_between_two_boots_does_not_extend_a_minimum_time(config):
    first = ManualClock()
    async with served(config, first) as container:
        assert await cools(container, 300)
    second = ManualClock(first.now_ms() - HOUR_MS, boot="second boot")
    async with served(config, second) as container:
        assert await cools(container, 200)
        second.advance(10)
        assert not await cools(container, 200)


@pytest.mark.parametrize("step_h", [-1, 1])
async def test_a_step_of_the_clock_neither_shortens_nor_extends_a_minimum_time(
    config, clock, step_h
):
    async with served(config, clock) as container:
        assert await cools(container, 300)
        clock.step_ms = step_h * HOUR_MS
        clock.advance(9.999)
        assert await cools(container, 200)
        clock.advance(0.001)
        assert not await cools(container, 200)


@pytest.mark.parametrize("step_h", [-1, 1])
async def test_a_step_between_two_processes_of_one_machine_changes_no_minimum_time(
    config, clock, step_h
):
    async with served(config, clock) as one, served(config, clock) as other:
        assert await cools(one, 300)
        clock.step_ms = step_h * HOUR_MS
        clock.advance(9.999)
        assert await cools(other, 200)
        clock.step_ms = 0
        clock.advance(0.001)
        assert not await cools(one, 200)
        clock.step_ms = step_h * HOUR_MS
        clock.advance(9.999)
        assert not await cools(other, 300)
        clock.advance(0.001)
        assert await cools(other, 300)


@pytest.mark.parametrize("apart_s", [-2, 2])
async def test_two_machines_keep_a_minimum_time_up_to_the_difference_of_their_clocks(
    config, clock, apart_s
):
    away = ManualClock(clock.now_ms() + apart_s * 1000, boot="another machine")
    async with served(config, clock) as here, served(config, away) as there:
        assert await cools(here, 300)
        for one in (clock, away):
            one.advance(9.999 - abs(apart_s))
        assert await cools(there, 200)
        for one in (clock, away):
            one.advance(0.001 + 2 * abs(apart_s))
        assert not await cools(there, 200)


@pytest.mark.parametrize(("away_s", "still_on"), [(9.999, True), (10, False)])
async def test_a_zone_stored_with_a_process_s_steady_clock_is_dated_by_the_wall_clock(
    config, clock, away_s, still_on
):
    async with served(config, clock) as container:
        assert await cools(container, 300)
        zones, client = container.base.stores.zones, container.base.client
        known = await zones.get("default", "lab")
        old = msgspec.structs.replace(
            known.zone, run="a1b2c3d4e5f6", cool_changed_ms=clock.steady_ms()
        )
        await client.write([zones.zone_write(old, known.version)])
    clock.advance(away_s)
    async with served(config, clock) as container:
        assert await cools(container, 200) is still_on


async def test_status_shows_the_zone_that_posted_last_even_if_the_clock_was_set_back(config, clock):
    async with served(config, clock) as container:
        await cools(container, 300, "before")
        clock.step_ms = -HOUR_MS
        clock.advance(1)
        await cools(container, 200, "after")
        status = (await Caller(container.app).get("/api/status")).json()
        assert status["device_id"] == "after"
