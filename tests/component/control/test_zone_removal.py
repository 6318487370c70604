"""A deleted zone: nobody writes it back, and its cooler keeps its minimum times."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from server.common.errors import NotFound
from server.control.zones.settings_service import SettingsChange
from tests.support.unreliable import COLD, HOT, LAB, TENANT, Cooler, Site, of

pytestmark = pytest.mark.sqlite_only("its own store")


@pytest.fixture
async def site(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


async def remove(process, *, history=False, device_id=LAB):
    return await process.control.removal.remove(
        TENANT, device_id, "ada", "192.0.2.1", history=history
    )


async def test_the_answer_has_the_last_command_and_streams_and_audit_log_learn_of_it(site, clock):
    process = await site.start()
    change = SettingsChange(name="Lab")
    await process.post(HOT)
    await process.control.settings.change(TENANT, LAB, change, "ada", "")
    await site.events()
    clock.advance(1)
    done = await remove(process)
    assert (done.zone.cool, done.zone.heat, done.readings) == (True, True, 0)
    assert of(await site.events(), "deleted") == [{"device_id": LAB, "timestamp": clock.now_ms()}]
    (entry, *_) = await process.stores.audit.query_recent(TENANT, 1)
    assert (entry.action, entry.username) == ("ZONE_DELETED", "ada")
    assert entry.details == {"device_id": LAB, "history": False}
    with pytest.raises(NotFound):
        await process.status()
    with pytest.raises(NotFound):
        await remove(process)
    assert len(await process.stored()) == 1
    done = await remove(process, history=True)
    assert (done.zone, done.readings, done.history_left) == (None, 1, False)
    with pytest.raises(NotFound):
        await remove(process, history=True)


async def test_the_next_post_to_any_process_makes_a_new_zone_that_keeps_the_minimum_times(
    site, clock
):
    """Each process has the zone in memory; the one that deletes it has it too."""
    for deleting in (0, 1):
        processes = [await site.start(), await site.start()]
        cooler = Cooler(clock)
        device = f"{LAB}-{deleting}"
        for temp in (HOT, HOT, COLD, HOT, COLD, HOT):
            for number, process in enumerate(processes):
                cooler.obey(await process.post(temp, device_id=device))
                clock.advance(2)
                if number == 1:
                    await remove(processes[deleting], device_id=device)
                    cooler.obey(await process.post(temp, device_id=device))
                    clock.advance(1)
        assert cooler.short == []
        assert cooler.switched_ms is not None
        record = await processes[0].record(device)
        assert record.last_seen_ms <= clock.ms
        assert record.setpoint_tenths is None


async def test_its_setpoint_and_name_are_gone_and_the_zone_watch_leaves_it_deleted(site, clock):
    process = await site.start()
    await process.post(HOT)
    await process.control.settings.change(TENANT, LAB, SettingsChange(name="Lab"), "ada", "")
    await process.control.watch.check()
    clock.advance(60)
    await process.control.watch.check()
    await remove(process)
    clock.advance(60)
    await process.control.watch.check()
    with pytest.raises(NotFound):
        await process.status()
    await process.post(COLD)
    assert (await process.control.settings.get(TENANT, LAB)).name is None
    assert (await process.record()).trust_state == "ok"


async def test_a_repeated_post_is_still_a_repeat_after_its_reading_was_deleted(site):
    process = await site.start()
    await process.post(HOT, key="one")
    await remove(process, history=True)
    await process.post(HOT, key="one")
    assert await process.stored() == []
