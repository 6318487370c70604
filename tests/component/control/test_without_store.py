"""Zones controlled from memory while the store is away: which relays go off and stay off, and the
record after the store is back."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from server.services.firestore.base import document_id
from server.services.firestore.models import fields_of
from server.services.firestore.zones_store import ZONES
from server.services.ports.documents import Delete, Put
from tests.support.unreliable import (
    COLD,
    GRACE_S,
    HOT,
    LAB,
    MIN_MS,
    TENANT,
    Cooler,
    Site,
    hurry,
    of,
    outcome,
)

OFF = (False, False, False)
RUNS, RESTS = (True, True, True), (False, True, True)
RUNS_ON, RESTS_ON = (True, True, False), (False, True, False)


@pytest.fixture
async def site(tmp_path, clock, monkeypatch):
    hurry(monkeypatch)
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


@pytest.fixture
async def process(site):
    return await site.start()


async def runs_for(process, clock, seconds):
    """Starts the cooler, and lets it run for `seconds`."""
    assert outcome(await process.post(HOT)) == RUNS
    clock.advance(seconds)


async def rests_since(process, clock):
    """Stops the cooler just now; the zone is warm again."""
    await runs_for(process, clock, 10)
    assert outcome(await process.post(COLD)) == RESTS


async def test_a_running_cooler_keeps_running_without_the_store_until_the_grace_time_is_over(
    site, process, clock
):
    await runs_for(process, clock, 2)
    await site.lose()
    lost_s = clock.monotonic()
    for _ in range(300):
        command = await process.post(HOT)
        in_grace = clock.monotonic() - lost_s < GRACE_S
        assert outcome(command) == (RUNS_ON if in_grace else OFF)
        clock.advance(2)
    await site.come_back()
    record = await process.record()
    assert (record.cool, record.heat) == (False, False)
    # As far as the store knows, it was on until now.
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(10)
    assert outcome(await process.post(HOT)) == RUNS


async def test_a_cooler_stops_after_its_minimum_time_and_does_not_start_without_the_store(
    site, process, clock
):
    await runs_for(process, clock, 4)
    await site.lose()
    assert outcome(await process.post(COLD)) == RUNS_ON
    clock.advance(5.999)
    assert outcome(await process.post(COLD)) == RUNS_ON
    clock.advance(0.001)
    assert outcome(await process.post(COLD)) == RESTS_ON
    for _ in range(20):
        clock.advance(2)
        assert outcome(await process.post(HOT)) == RESTS_ON


async def test_minimum_times_hold_when_the_store_is_lost_and_comes_back(site, process, clock):
    cooler = Cooler(clock)
    for number in range(600):
        if number % 50 == 20:
            await site.lose()
        if number % 50 == 35:
            await site.come_back()
        cooler.obey(await process.post(COLD if number % 14 < 7 else HOT))
        clock.advance(1)
    assert not cooler.short
    assert cooler.on in {True, False}


async def test_a_rest_that_began_without_the_store_lasts_its_minimum_time_after_it_is_back(
    site, process, clock
):
    await runs_for(process, clock, 10)
    await site.lose()
    assert outcome(await process.post(COLD)) == RESTS_ON
    clock.advance(2)
    await site.come_back()
    # The record says off since now: until now it said on.
    assert (await process.record()).cool_changed_ms == clock.uptime_ms()
    clock.advance(9.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


@pytest.mark.parametrize("reason", ["", "no_value"])
async def test_a_fault_cuts_at_once_and_is_recorded_without_another_post(
    site, process, clock, reason
):
    await runs_for(process, clock, 1)
    await site.lose()
    assert outcome(await process.post(None, not reason or True)) == OFF
    clock.advance(1)
    await site.come_back()
    record = await process.record()
    assert (record.cool, record.heat, record.fault) == (False, False, True)
    assert (record.sensor_ok, record.trust_state) == (False, "fault")
    assert (await process.status()).state == "FAULT"
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(10)
    assert outcome(await process.post(HOT)) == RUNS


async def test_a_zone_that_is_not_in_memory_is_switched_off(site, process):
    await process.post(HOT)
    process.cache._slots.clear()
    await site.lose()
    assert outcome(await process.post(HOT)) == OFF
    assert outcome(await process.post(HOT, device_id="never heard")) == OFF


@pytest.mark.parametrize("how", ["unanswered", "late"])
async def test_a_start_whose_write_was_not_confirmed_counts_as_switched_when_the_store_is_back(
    site, process, clock, how
):
    await rests_since(process, clock)
    clock.advance(10)
    process.lose(how)
    assert outcome(await process.post(HOT)) == RESTS_ON
    clock.advance(3)
    await site.come_back()
    assert not (await process.record()).cool
    # Every answer to the device said off; but no process can know that.
    clock.advance(9.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


@pytest.mark.parametrize("how", ["unanswered", "late"])
async def test_a_stop_whose_write_was_not_confirmed_counts_from_its_answer(
    site, process, clock, how
):
    await runs_for(process, clock, 10)
    process.lose(how)
    # The answer from memory stops it too, up to a second after the time in the write.
    assert outcome(await process.post(COLD)) == RESTS_ON
    clock.advance(6)
    await site.come_back()
    clock.advance(3.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


async def test_an_older_record_that_also_says_off_keeps_the_time_of_the_last_stop(
    site, process, clock
):
    assert outcome(await process.post(COLD)) == RESTS
    before = await process.record()
    await rests_since(process, clock)
    rests_ms = clock.uptime_ms()
    clock.advance(1)
    await site.lose()
    await put_back(process, before)
    await site.come_back()
    assert (await process.record()).cool_changed_ms == rests_ms
    clock.advance(8.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


async def test_after_an_older_record_that_says_on_the_cooler_is_off_and_rests_from_now(
    site, process, clock
):
    await runs_for(process, clock, 10)
    before = await process.record()
    assert outcome(await process.post(COLD)) == RESTS
    clock.advance(100)
    await site.lose()
    await put_back(process, before)
    await site.come_back()
    assert not (await process.record()).cool
    clock.advance(9.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


async def test_after_an_older_record_that_says_off_a_running_cooler_stops_and_rests_from_now(
    site, process, clock
):
    assert outcome(await process.post(COLD)) == RESTS
    before = await process.record()
    await runs_for(process, clock, 5)
    await site.lose()
    await put_back(process, before)
    await site.come_back()
    assert not (await process.record()).cool
    clock.advance(9.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


async def test_a_zone_that_the_store_has_lost_rests_for_its_minimum_time(site, process, clock):
    await rests_since(process, clock)
    clock.advance(1)
    await site.lose()
    assert outcome(await process.post(HOT)) == RESTS_ON
    await process.store._client.write([Delete(ZONES, document_id(TENANT, LAB))])
    await site.come_back()
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(8.999)
    assert outcome(await process.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await process.post(HOT)) == RUNS


async def test_a_cooler_that_a_restarted_process_switched_off_stays_off_for_its_minimum_time(
    site, process, clock
):
    await runs_for(process, clock, 5)
    process.lose()
    restarted = await site.start(how="gone")
    assert outcome(await restarted.post(HOT)) == OFF
    clock.advance(2)
    await restarted.come_back()
    assert outcome(await restarted.post(HOT)) == RESTS
    clock.advance(9.999)
    assert outcome(await restarted.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await restarted.post(HOT)) == RUNS


async def test_a_zone_that_another_process_has_answered_since_is_used_as_recorded(
    site, process, clock
):
    other = await site.start()
    await site.lose()
    await site.come_back()
    clock.advance(1)
    assert outcome(await process.post(HOT)) == RUNS
    clock.advance(1)
    assert outcome(await other.post(HOT)) == RUNS


async def test_the_record_is_right_after_a_restart_of_the_process(site, process, clock):
    await runs_for(process, clock, 10)
    await site.lose()
    assert outcome(await process.post(COLD)) == RESTS_ON
    await site.come_back()
    restarted = await site.start()
    status = await restarted.status()
    assert (status.cool_active, status.heat_active) == (False, True)
    assert outcome(await restarted.post(HOT)) == RESTS
    clock.advance(MIN_MS / 1000)
    assert outcome(await restarted.post(HOT)) == RUNS


async def test_status_comes_from_memory_and_changes_of_relays_are_announced(site, process, clock):
    await runs_for(process, clock, 10)
    await site.events()
    await site.lose(reads=False)
    await process.post(HOT - 1)
    assert await site.events() == []  # only the temperature has changed
    await process.post(COLD)
    (event,) = await site.events()
    assert (event[0], event[1]["device_id"], event[1]["cool_active"]) == ("zone", LAB, False)
    (shown,) = await process.control.zones.snapshot(TENANT)
    assert (shown.temp_tenths, shown.cool_active, shown.state) == (COLD, False, "IDLE_WITH_LEDS")
    assert await process.status() == shown
    assert (await process.control.zones.status(TENANT, None)) == shown
    await site.come_back()
    assert of(await site.events(), "telemetry") == []
    assert [one.temp_tenths for one in await process.stored()] == [HOT]
    (stored,) = await process.control.zones.snapshot(TENANT)
    assert (stored.cool_active, stored.heat_active) == (False, True)


async def put_back(process, record):
    """Replaces the record by an older one, as an older copy of the store's file does."""
    doc_id = document_id(record.tenant_id, record.device_id)
    await process.store._client.write([Put(ZONES, doc_id, fields_of(record))])
