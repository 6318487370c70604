"""Two processes set the same zones at the same time: the values announced last are in force."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest

from bas_server import open_base
from server.control.factory import control
from server.control.rules.decision import Rules
from server.control.rules.reading import NewReading
from server.control.rules.setpoint_rules import SetpointChange, Setpoints
from server.services.site.ports import NoNotices

TENANT = "default"
ZONES = ("lab", "attic")
BOUND_S = 60.0


class Stream:
    """Accepts events like `SSEService`, into a log that two processes share; while `gate` is not
    set, setpoints wait in front of it."""

    def __init__(self, log):
        self._log = log
        self.gate = asyncio.Event()
        self.gate.set()
        self.waits = asyncio.Event()

    async def publish(self, tenant_id, name, data, device_id=None, key=""):
        if name == "setpoint":
            self.waits.set()
            await self.gate.wait()
        self._log.append((name, device_id, data))
        return 0

    async def publish_many(self, tenant_id, name, many):
        for data, device_id, key in many:
            await self.publish(tenant_id, name, data, device_id, key)


class Site:
    """Two processes over one store and one log; `slow` can be made to announce late."""

    def __init__(self, slow, quick, stream, log):
        self.slow, self.quick, self.stream, self.log = slow, quick, stream, log

    async def post_readings(self, process):
        for device_id in ZONES:
            await process.batches.accept_one(
                TENANT, device_id, NewReading(temp_tenths=2, sensor_ok=True)
            )

    def announced_last(self, device_id):
        event = [data for name, zone, data in self.log if (name, zone) == ("setpoint", device_id)]
        return (event[-1].setpoint_tenths, event[-1].deadband_tenths, event[-1].updated_by)

    async def in_force(self, device_id):
        status = await self.quick.zones.status(TENANT, device_id)
        return status.setpoint_tenths, status.deadband_tenths


async def change(process, device_id, by, setpoint=None, deadband=None):
    values = SetpointChange(setpoint_tenths=setpoint, deadband_tenths=deadband)
    return await process.setpoints.set(TENANT, device_id, values, by, "192.0.2.1")


@pytest.fixture
async def site(config, clock):
    log = []
    async with AsyncExitStack() as stack:
        processes = []
        for stream in (slow := Stream(log), Stream(log)):
            base = await stack.enter_async_context(open_base(config, clock))
            process = control(
                base.stores, stream, NoNotices(), clock, base.metrics, Rules(60_000, 300)
            )
            processes.append(await stack.enter_async_context(process))
        yield Site(*processes, slow, log)


@pytest.mark.parametrize("reading_between", [False, True])
@pytest.mark.parametrize(("first", "second"), [*itertools.product([None, "lab"], repeat=2)])
async def test_a_process_that_announces_late_announces_the_values_in_force(
    site, first, second, reading_between
):
    await site.post_readings(site.slow)
    site.stream.gate.clear()
    async with asyncio.timeout(BOUND_S):
        late = asyncio.create_task(change(site.slow, first, "alice", setpoint=250))
        await site.stream.waits.wait()
        await change(site.quick, second, "bob", setpoint=260)
        if reading_between:
            await site.post_readings(site.quick)
        site.stream.gate.set()
        await late
    for device_id in ZONES:
        if second in {None, device_id}:
            assert await site.in_force(device_id) == (260, 10)
            assert site.announced_last(device_id) == (260, 10, "bob")
        elif first is None:
            assert await site.in_force(device_id) == (250, 10)
            assert site.announced_last(device_id) == (250, 10, "alice")


async def test_two_changes_of_different_values_are_announced_together(site):
    await site.post_readings(site.slow)
    site.stream.gate.clear()
    async with asyncio.timeout(BOUND_S):
        late = asyncio.create_task(change(site.slow, "lab", "alice", setpoint=250))
        await site.stream.waits.wait()
        await change(site.quick, "lab", "bob", deadband=5)
        site.stream.gate.set()
        await late
    assert await site.in_force("lab") == (250, 5)
    assert site.announced_last("lab") == (250, 5, "bob")


async def test_a_change_without_a_conflict_is_announced_once(site):
    await site.post_readings(site.slow)
    await change(site.slow, "lab", "alice", setpoint=250)
    await change(site.quick, None, "bob", deadband=5)
    announced = [(zone, data.updated_by) for name, zone, data in site.log if name == "setpoint"]
    assert announced == [("lab", "alice"), ("attic", "bob"), ("lab", "bob")]


async def test_a_zone_set_right_after_another_process_set_all_zones_keeps_its_value(site):
    # The other process may have settings that are two seconds old: they must not date this change.
    await site.post_readings(site.quick)
    await change(site.slow, None, "alice", setpoint=250)
    answer = await change(site.quick, "lab", "bob", setpoint=260)
    assert answer == Setpoints(260, 10)
    await site.post_readings(site.quick)
    assert await site.in_force("lab") == (260, 10)


async def test_status_and_snapshot_are_never_older_than_the_store(site):
    await site.post_readings(site.quick)
    await change(site.slow, None, "alice", setpoint=250)
    assert await site.in_force("lab") == (250, 10)
    snapshot = await site.quick.zones.snapshot(TENANT)
    assert {zone.setpoint_tenths for zone in snapshot} == {250}


@pytest.mark.parametrize("changes", [30])
async def test_after_many_simultaneous_changes_the_values_announced_last_are_in_force(
    site, changes
):
    await site.post_readings(site.slow)
    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(
            *(
                change(process, device_id, f"user{number}", setpoint=200 + number)
                for number in range(changes)
                for process, device_id in ((site.slow, "lab"), (site.quick, None))
            )
        )
    for device_id in ZONES:
        setpoint, deadband, by = site.announced_last(device_id)
        assert (setpoint, deadband) == await site.in_force(device_id)
        assert by == f"user{setpoint - 200}"
