"""Setting one zone or all of them: which value is in force, and for how long."""

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
        await site.hear("one", "two")
        return site

    async def hear(self, *device_ids):
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


async def test_without_device_id_new_zones_are_set_too(site):
    await site.set(setpoint_tenths=210)
    await site.hear("three")
    assert await site.setpoints("three") == [210]


async def test_with_device_id_that_zone_alone_is_set(site):
    answer = await site.set(setpoint_tenths=210, device_id="one")
    assert answer["setpoint_tenths"] == 210
    assert await site.setpoints("one", "two") == [210, 230]


async def test_a_zone_that_is_set_after_all_were_has_its_own_value(site):
    await site.set(setpoint_tenths=210)
    await site.set(setpoint_tenths=220, device_id="one")
    assert await site.setpoints("one", "two") == [220, 210]


async def test_all_zones_that_are_set_after_one_was_have_the_common_value(site):
    await site.set(setpoint_tenths=220, device_id="one")
    await site.set(setpoint_tenths=210)
    assert await site.setpoints("one", "two") == [210, 210]
    await site.set(setpoint_tenths=225, device_id="one")
    assert await site.setpoints("one", "two") == [225, 210]


async def test_setpoint_and_deadband_win_each_for_itself(site):
    await site.set(setpoint_tenths=220, deadband_tenths=5, device_id="one")
    await site.set(deadband_tenths=20)
    assert await site.setpoints("one", "two") == [220, 230]
    assert await site.deadbands("one", "two") == [20, 20]


async def test_the_order_counts_and_not_the_clock(site, clock):
    await site.set(setpoint_tenths=210)
    clock.advance(-3600)
    await site.set(setpoint_tenths=220, device_id="one")
    assert await site.setpoints("one") == [220]
    await site.set(setpoint_tenths=215)
    assert await site.setpoints("one") == [215]


async def test_an_empty_change_does_not_take_a_zones_own_value(site):
    await site.set(setpoint_tenths=220, device_id="one")
    await site.set()
    assert await site.setpoints("one") == [220]


async def test_the_values_are_what_the_zone_is_controlled_by(site):
    await site.set(setpoint_tenths=200, device_id="one")
    commands = [
        (await site.device.post("/api/sensor_data", reading(220, device_id=name))).json()
        for name in ("one", "two")
    ]
    assert [command["cool_active"] for command in commands] == [True, False]


async def test_many_changes_at_once_leave_one_of_them_in_force_everywhere(site):
    wanted = range(200, 220)
    await asyncio.gather(*(site.set(setpoint_tenths=value) for value in wanted))
    one, two = await site.setpoints("one", "two")
    assert one == two
    assert one in wanted


async def test_changes_and_readings_of_one_zone_at_once_all_succeed(site):
    changes = [site.set(deadband_tenths=value, device_id="one") for value in range(20)]
    readings = [site.hear("one") for _ in range(20)]
    await asyncio.gather(*changes, *readings)
    assert (await site.deadbands("one"))[0] in range(20)


async def test_both_kinds_of_setting_outlive_a_restart(config, clock):
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


async def test_what_wins_does_not_change_over_a_restart(config, clock):
    async with served(config, clock) as container:
        site = await Site.of(container)
        await site.set(setpoint_tenths=220, device_id="one")
        await site.set(setpoint_tenths=210)
    async with served(config, clock) as container:
        site = Site(Caller(container.app), await logged_in(container, "operator"))
        assert await site.setpoints("one", "two") == [210, 210]
        await site.set(setpoint_tenths=225, device_id="two")
        assert await site.setpoints("one", "two") == [210, 225]
