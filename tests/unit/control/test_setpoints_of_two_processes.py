"""Two processes set the same zones at once: what dashboards were told last is what holds."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest

from bas_server import open_base
from server.control.decision import Rules
from server.control.factory import control
from server.control.reading import NewReading
from server.control.settings import SetpointChange, Setpoints
from server.notices import NoNotices

TENANT = "default"
ZONES = ("lab", "attic")
BOUND_S = 10


class Stream:
    """Takes events like `SSEService`, into a log that two processes share; while `gate` is shut,
    setpoints wait in front of it."""

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
    """Two processes over one store and one log; `slow` tells late what it set."""

    def __init__(self, slow, quick, stream, log):
        self.slow, self.quick, self.stream, self.log = slow, quick, stream, log

    async def hear(self, process):
        for device_id in ZONES:
            await process.batches.accept_one(
                TENANT, device_id, NewReading(temp_tenths=2, sensor_ok=True)
            )

    def told_last(self, device_id):
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
                base.stores, stream, NoNotices(), clock, base.metrics, Rules(90, 60_000, 300)
            )
            processes.append(await stack.enter_async_context(process))
        yield Site(*processes, slow, log)


@pytest.mark.parametrize("reading_between", [False, True])
@pytest.mark.parametrize(("first", "second"), [*itertools.product([None, "lab"], repeat=2)])
async def test_who_tells_late_tells_what_holds_by_then(site, first, second, reading_between):
    await site.hear(site.slow)
    site.stream.gate.clear()
    async with asyncio.timeout(BOUND_S):
        late = asyncio.create_task(change(site.slow, first, "alice", setpoint=250))
        await site.stream.waits.wait()
        await change(site.quick, second, "bob", setpoint=260)
        if reading_between:
            await site.hear(site.quick)
        site.stream.gate.set()
        await late
    for device_id in ZONES:
        if second in {None, device_id}:
            assert await site.in_force(device_id) == (260, 10)
            assert site.told_last(device_id) == (260, 10, "bob")
        elif first is None:
            assert await site.in_force(device_id) == (250, 10)
            assert site.told_last(device_id) == (250, 10, "alice")


async def test_two_changes_of_different_values_are_told_as_they_hold_together(site):
    await site.hear(site.slow)
    site.stream.gate.clear()
    async with asyncio.timeout(BOUND_S):
        late = asyncio.create_task(change(site.slow, "lab", "alice", setpoint=250))
        await site.stream.waits.wait()
        await change(site.quick, "lab", "bob", deadband=5)
        site.stream.gate.set()
        await late
    assert await site.in_force("lab") == (250, 5)
    assert site.told_last("lab") == (250, 5, "bob")


async def test_a_change_that_nobody_crosses_is_told_once(site):
    await site.hear(site.slow)
    await change(site.slow, "lab", "alice", setpoint=250)
    await change(site.quick, None, "bob", deadband=5)
    told = [(zone, data.updated_by) for name, zone, data in site.log if name == "setpoint"]
    assert told == [("lab", "alice"), ("attic", "bob"), ("lab", "bob")]


async def test_a_zone_set_right_after_all_were_set_elsewhere_keeps_its_value(site):
    # The other process may hold settings that are two seconds old: they must not date this change.
    await site.hear(site.quick)
    await change(site.slow, None, "alice", setpoint=250)
    answer = await change(site.quick, "lab", "bob", setpoint=260)
    assert answer == Setpoints(260, 10)
    await site.hear(site.quick)
    assert await site.in_force("lab") == (260, 10)


async def test_what_is_asked_for_is_never_older_than_the_store(site):
    await site.hear(site.quick)
    await change(site.slow, None, "alice", setpoint=250)
    assert await site.in_force("lab") == (250, 10)
    snapshot = await site.quick.zones.snapshot(TENANT)
    assert {zone.setpoint_tenths for zone in snapshot} == {250}


@pytest.mark.parametrize("changes", [30])
async def test_many_changes_on_both_at_once_end_in_what_was_told_last(site, changes):
    await site.hear(site.slow)
    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(
            *(
                change(process, device_id, f"user{number}", setpoint=200 + number)
                for number in range(changes)
                for process, device_id in ((site.slow, "lab"), (site.quick, None))
            )
        )
    for device_id in ZONES:
        setpoint, deadband, by = site.told_last(device_id)
        assert (setpoint, deadband) == await site.in_force(device_id)
        assert by == f"user{setpoint - 200}"
