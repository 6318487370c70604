"""Setpoints of one zone and of all zones: which value is in force, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.http import Caller, logged_in, reading, served

PATH = "/api/set_setpoint"


class Site:
    """Two zones and an operator."""

    def __init__(self, device, operator):
        self.device, self.operator = device, operator

    @classmethod
    async def of(cls, container):
        site = cls(Caller(container.app), await logged_in(container, "operator"))
        await site.post_readings("one", "two")
        return site

    async def post_readings(self, *device_ids):
        for device_id in device_ids:
            await self.device.post("/api/sensor_data", reading(device_id=device_id))

    async def set(self, **body):
        answer = await self.operator.post(PATH, body)
        assert answer.status == 200, answer.body
        return answer.json()

    async def setpoints(self, *device_ids):
        configs = [await self.device.get(f"/api/config?device_id={name}") for name in device_ids]
        return [config.json()["setpoint_tenths"] for config in configs]

    async def deadbands(self, *device_ids):
        configs = [await self.device.get(f"/api/config?device_id={name}") for name in device_ids]
        return [config.json()["deadband_tenths"] for config in configs]


@pytest.fixture
async def site(container):
    return await Site.of(container)


async def test_without_device_id_every_zone_is_set(site):
    await site.set(setpoint_tenths=210)
    assert await site.setpoints("one", "two") == [210, 210]


async def test_without_device_id_later_zones_are_set_too(site):
    await site.set(setpoint_tenths=210)
    await site.post_readings("three")
    assert await site.setpoints("three") == [210]


async def test_with_device_id_only_that_zone_is_set(site):
    answer = await site.set(setpoint_tenths=210, device_id="one")
    assert answer["setpoint_tenths"] == 210
    assert await site.setpoints("one", "two") == [210, 230]


async def test_a_zone_that_is_set_after_all_zones_has_its_own_value(site):
    await site.set(setpoint_tenths=210)
    await site.set(setpoint_tenths=220, device_id="one")
    assert await site.setpoints("one", "two") == [220, 210]


async def test_a_zone_that_is_set_before_all_zones_gets_the_common_value(site):
    await site.set(setpoint_tenths=220, device_id="one")
    await site.set(setpoint_tenths=210)
    assert await site.setpoints("one", "two") == [210, 210]
    await site.set(setpoint_tenths=225, device_id="one")
    assert await site.setpoints("one", "two") == [225, 210]


async def test_setpoint_and_deadband_are_decided_separately(site):
    await site.set(setpoint_tenths=220, deadband_tenths=5, device_id="one")
    await site.set(deadband_tenths=20)
    assert await site.setpoints("one", "two") == [220, 230]
    assert await site.deadbands("one", "two") == [20, 20]


async def test_the_order_of_changes_counts_and_not_the_clock(site, clock):
    await site.set(setpoint_tenths=210)
    clock.step_ms -= 3_600_000
    await site.set(setpoint_tenths=220, device_id="one")
    assert await site.setpoints("one") == [220]
    await site.set(setpoint_tenths=215)
    assert await site.setpoints("one") == [215]


async def test_an_empty_change_leaves_a_zone_s_own_value(site):
    await site.set(setpoint_tenths=220, device_id="one")
    await site.set()
    assert await site.setpoints("one") == [220]


async def test_a_zone_is_controlled_by_the_value_in_force(site):
    await site.set(setpoint_tenths=200, device_id="one")
    commands = [
        (await site.device.post("/api/sensor_data", reading(220, device_id=name))).json()
        for name in ("one", "two")
    ]
    assert [command["cool_active"] for command in commands] == [True, False]


async def test_after_many_simultaneous_changes_all_zones_have_the_same_value(site):
    wanted = range(200, 220)
    await asyncio.gather(*(site.set(setpoint_tenths=value) for value in wanted))
    one, two = await site.setpoints("one", "two")
    assert one == two
    assert one in wanted


async def test_simultaneous_changes_and_readings_of_one_zone_all_succeed(site):
    changes = [site.set(deadband_tenths=value, device_id="one") for value in range(20)]
    readings = [site.post_readings("one") for _ in range(20)]
    await asyncio.gather(*changes, *readings)
    assert (await site.deadbands("one"))[0] in range(20)


async def test_common_and_own_values_are_kept_over_a_restart(config, clock):
    async with served(config, clock) as container:
        site = await Site.of(container)
        await site.set(setpoint_tenths=210, deadband_tenths=7)
        await site.set(setpoint_tenths=220, device_id="one")
    async with served(config, clock) as container:
        device = Caller(container.app)
        site = Site(device, await logged_in(container, "operator"))
        assert await site.setpoints("one", "two") == [220, 210]
        assert await site.deadbands("one", "two") == [7, 7]
        command = (await device.post("/api/sensor_data", reading(device_id="new"))).json()
        assert (command["setpoint_tenths"], command["deadband_tenths"]) == (210, 7)


async def test_the_value_in_force_is_the_same_after_a_restart(config, clock):
    async with served(config, clock) as container:
        site = await Site.of(container)
        await site.set(setpoint_tenths=220, device_id="one")
        await site.set(setpoint_tenths=210)
    async with served(config, clock) as container:
        site = Site(Caller(container.app), await logged_in(container, "operator"))
        assert await site.setpoints("one", "two") == [210, 210]
        await site.set(setpoint_tenths=225, device_id="two")
        assert await site.setpoints("one", "two") == [210, 225]
