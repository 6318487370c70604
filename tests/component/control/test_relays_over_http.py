"""The control rule as seen by a device: minimum times, faults, and the state after a restart."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, reading, served

HOT, COLD = 300, 200


class Device:
    """Posts readings, and returns whether the command is to cool."""

    def __init__(self, container, device_id="lab"):
        self.caller = Caller(container.app)
        self.device_id = device_id

    async def post(self, temp, *, ok=True):
        body = reading(temp, ok, device_id=self.device_id)
        answer = await self.caller.post("/api/sensor_data", body)
        assert answer.status == 200
        return answer.json()

    async def cools(self, temp):
        return (await self.post(temp))["cool_active"]

    async def state(self):
        return (await self.caller.get(f"/api/status?device_id={self.device_id}")).json()["state"]


@pytest.fixture
def device(container):
    return Device(container)


async def test_cooling_starts_above_setpoint_plus_deadband(device):
    assert not await device.cools(240)
    assert await device.cools(241)


async def test_a_new_zone_may_cool_at_once(device):
    assert await device.cools(HOT)


async def test_a_running_cooler_stops_only_after_its_minimum_on_time(device, clock):
    await device.post(HOT)
    clock.advance(9.999)
    assert await device.cools(COLD)
    clock.advance(0.001)
    assert not await device.cools(COLD)


async def test_a_stopped_cooler_starts_only_after_its_minimum_off_time(device, clock):
    await device.post(HOT)
    clock.advance(10)
    await device.post(COLD)
    clock.advance(9.999)
    assert not await device.cools(HOT)
    clock.advance(0.001)
    assert await device.cools(HOT)


async def test_a_reading_within_the_minimum_time_does_not_restart_that_time(device, clock):
    await device.post(HOT)
    for _ in range(4):
        clock.advance(2)
        assert await device.cools(COLD)
    clock.advance(2)
    assert not await device.cools(COLD)


async def test_a_failed_sensor_cuts_cooling_and_heating_at_once(device, clock):
    await device.post(HOT)
    clock.advance(1)
    command = await device.post(HOT, ok=False)
    assert (command["cool_active"], command["heat_active"]) == (False, False)
    assert await device.state() == "FAULT"


async def test_a_fault_does_not_shorten_the_minimum_off_time(device, clock):
    await device.post(HOT)
    clock.advance(1)
    await device.post(HOT, ok=False)
    clock.advance(9.999)
    assert not await device.cools(HOT)
    clock.advance(0.001)
    assert await device.cools(HOT)


async def test_a_flapping_sensor_cannot_cycle_the_compressor_quickly(device, clock):
    starts, cooling = 0, False
    for step in range(60):
        command = await device.post(HOT, ok=step % 2 == 0)
        starts += command["cool_active"] and not cooling
        cooling = command["cool_active"]
        clock.advance(1)
    assert starts == 5  # one every 12 s: a cut after 1 s, then 10 s off, then the next good reading


async def test_a_fault_of_an_idle_zone_does_not_delay_its_cooling(device, clock):
    await device.post(COLD, ok=False)
    clock.advance(1)
    assert await device.cools(HOT)


async def test_the_heat_relay_is_on_whenever_the_sensor_is_good(device):
    assert (await device.post(COLD))["heat_active"]
    assert await device.state() == "IDLE_WITH_LEDS"
    assert (await device.post(HOT))["heat_active"]
    assert await device.state() == "COOLING_WITH_LEDS"


async def test_each_zone_has_separate_relays_and_minimum_times(container):
    one, two = Device(container, "one"), Device(container, "two")
    assert await one.cools(HOT)
    assert not await two.cools(COLD)
    assert await two.cools(HOT)
    assert await one.cools(COLD)


@pytest.mark.parametrize(("away_s", "still_on"), [(5, True), (10, False)])
async def test_the_minimum_on_time_is_kept_over_a_restart(config, clock, away_s, still_on):
    async with served(config, clock) as container:
        assert await Device(container).cools(HOT)
    clock.advance(away_s)
    async with served(config, clock) as container:
        assert await Device(container).cools(COLD) is still_on


@pytest.mark.parametrize(("away_s", "starts"), [(5, False), (10, True)])
async def test_the_minimum_off_time_after_a_fault_is_kept_over_a_restart(
    config, clock, away_s, starts
):
    async with served(config, clock) as container:
        device = Device(container)
        await device.post(HOT)
        await device.post(HOT, ok=False)
    clock.advance(away_s)
    async with served(config, clock) as container:
        assert await Device(container).cools(HOT) is starts


async def test_the_last_status_is_kept_over_a_restart(config, clock):
    async with served(config, clock) as container:
        device = Device(container)
        await device.post(HOT)
        before = (await device.caller.get("/api/status")).json()
    async with served(config, clock) as container:
        assert (await Caller(container.app).get("/api/status")).json() == before
        assert before["state"] == "COOLING_WITH_LEDS"


async def test_a_clock_that_was_set_back_does_not_extend_the_cooler_s_minimum_time(device, clock):
    await device.post(HOT)
    clock.advance(-86_400)
    assert await device.cools(COLD)
    clock.advance(10)
    assert not await device.cools(COLD)
