"""Zones whose devices stop posting, or whose posts are refused: status, events, metrics and log,
with one process and with three."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import pytest

from server.control.rules.silence import silent_after_ms
from server.services.firestore.models import ZoneRecord
from tests.support.unreliable import COLD, HOT, LAB, TENANT, Site, of

pytestmark = pytest.mark.sqlite_only("its own store")

NO_READING = ("silent", "no_reading")


@pytest.fixture
async def site(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


@pytest.fixture
async def process(site):
    return await site.start()


async def posts_every(processes, clock, seconds, count=9):
    """Lets a device post every `seconds`, to one process after another."""
    for number in range(count):
        if number:
            clock.advance(seconds)
        await processes[number % len(processes)].post(COLD)


async def trust(process):
    shown = await process.status()
    return (shown.trust.state, shown.trust.reason)


def counts(process):
    """The number of zones of each trust, without zeros."""
    found = process.metrics.zones.collect()
    return {one.labels["trust"]: one.value for one in next(iter(found)).samples if one.value}


@pytest.mark.parametrize(
    ("every_s", "silent_s"), [(2, 10), (0.2, 10), (5, 15), (60, 180), (600, 1800)]
)
async def test_a_zone_is_silent_after_three_of_its_usual_periods(
    site, process, clock, every_s, silent_s
):
    await posts_every([process], clock, every_s)
    await site.events()

    clock.advance(silent_s - 0.1)
    await process.control.watch.check()
    assert await trust(process) == ("ok", None)
    clock.advance(0.1)
    # Status shows it even before an event announces it.
    assert await trust(process) == NO_READING
    assert await site.events() == []
    await process.control.watch.check()

    (event,) = of(await site.events(), "zone")
    assert (event["device_id"], event["trust"]["state"]) == (LAB, "silent")
    assert event["trust"]["since"] == clock.now_ms()
    assert counts(process) == {"silent": 1}
    assert (await process.record()).trust_state == "silent"


async def test_a_device_with_fewer_than_three_posts_is_silent_after_three_minutes(
    site, process, clock
):
    await posts_every([process], clock, 2, count=2)
    clock.advance(179.9)
    assert await trust(process) == ("ok", None)
    clock.advance(0.1)
    assert await trust(process) == NO_READING


def test_one_long_gap_does_not_change_the_usual_period():
    zone = ZoneRecord(tenant_id=TENANT, device_id=LAB, gaps=[20, 20, 36_000, 20, 20])
    assert silent_after_ms(zone) == 10_000


async def test_relays_of_a_silent_zone_are_unknown_after_a_minute(site, process, clock):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    clock.advance(59.9)
    await process.control.watch.check()
    shown = await process.status()
    assert (shown.trust.state, shown.relays_known, shown.cool_active) == ("silent", True, True)
    await site.events()

    clock.advance(0.1)
    await process.control.watch.check()
    (event,) = of(await site.events(), "zone")
    assert (event["relays_known"], event["cool_active"]) == (False, True)
    await process.control.watch.check()
    assert await site.events() == []  # announced only once

    assert (await process.post(HOT)).cool_active
    (event,) = of(await site.events(), "zone")
    assert (event["trust"]["state"], event["relays_known"]) == ("ok", True)


async def test_a_cooler_that_may_have_been_off_runs_its_minimum_time_from_the_next_answer(
    site, process, clock
):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    clock.advance(60)
    await process.control.watch.check()
    assert (await process.post(COLD)).cool_active
    clock.advance(9.9)
    assert (await process.post(COLD)).cool_active
    clock.advance(0.1)
    assert not (await process.post(COLD)).cool_active


async def test_one_of_three_processes_announces_a_silent_zone(site, clock):
    processes = [await site.start() for _ in range(3)]
    for process in processes:
        await process.control.watch.check()
    await posts_every(processes, clock, 2)
    clock.advance(10)
    await site.events()
    for _ in range(3):
        for process in processes:
            await process.control.watch.check()
    assert len(of(await site.events(), "zone")) == 1
    clock.advance(30)  # the interval at which zones are counted
    for process in processes:
        await process.control.watch.check()
    assert [counts(process) for process in processes] == [{"silent": 1}] * 3


async def test_after_a_start_of_the_server_silence_counts_from_that_start(site, process, clock):
    await posts_every([process], clock, 2)
    clock.advance(600)
    await site.events()
    started = await site.start()
    assert await trust(started) == ("ok", None)
    await started.control.watch.check()
    assert await site.events() == []

    clock.advance(10)
    await started.control.watch.check()
    (event,) = of(await site.events(), "zone")
    assert event["trust"]["reason"] == "no_reading"


async def test_a_zone_that_posts_to_another_process_is_not_reported_as_silent(site, clock):
    one, other = await site.start(), await site.start()
    await posts_every([one], clock, 2)
    third = await site.start()
    for _ in range(60):
        clock.advance(2)
        await one.post(COLD)
        for process in (one, other, third):
            await process.control.watch.check()
    assert of(await site.events(), "zone") == []


async def test_a_zone_without_a_reading_is_not_silent(site, process, clock):
    await process.stores.devices.register_device(TENANT, LAB)
    clock.advance(86_400)
    await process.control.watch.check()
    assert await trust(process) == ("never", None)
    assert await site.events() == []


async def test_silence_is_not_announced_until_the_store_is_back(site, process, clock):
    await posts_every([process], clock, 2)
    await site.lose()
    clock.advance(30)
    await site.events()
    await process.control.watch.check()
    assert await site.events() == []
    await site.come_back()
    await process.control.watch.check()
    assert [one["trust"]["state"] for one in of(await site.events(), "zone")] == ["silent"]


async def test_refused_posts_are_shown_after_the_zone_has_been_silent(site, process, clock):
    await posts_every([process], clock, 2)
    await site.events()
    for _ in range(5):
        clock.advance(2)
        process.control.watch.refused(TENANT, LAB, "DEVICE_KEY_REQUIRED")
        await process.control.watch.check()
    (event,) = of(await site.events(), "zone")
    assert (event["trust"]["state"], event["trust"]["reason"]) == ("refused", "DEVICE_KEY_REQUIRED")
    await process.post(COLD)
    assert await trust(process) == ("ok", None)


async def test_refused_posts_of_a_stranger_do_not_mark_a_healthy_zone(site, process, clock):
    await posts_every([process], clock, 2)
    await site.events()
    for _ in range(10):
        process.control.watch.refused(TENANT, LAB, "DEVICE_KEY_REQUIRED")
        clock.advance(2)
        await process.post(COLD)
        await process.control.watch.check()
    assert of(await site.events(), "zone") == []


async def test_refused_posts_of_made_up_devices_create_no_zone(site, process):
    for number in range(6000):
        process.control.watch.refused(TENANT, f"made up {number}", "DEVICE_LIMIT")
    await process.control.watch.check()
    assert counts(process) == {}
    assert len(process.control.watch._refused) <= 5000


async def test_the_log_has_one_line_for_a_changed_zone_and_one_for_many_changed_zones(
    site, process, clock, caplog
):
    caplog.set_level(logging.INFO, "server.control.trust_log")
    for number in range(40):
        for _ in range(4):
            await process.post(COLD, device_id=f"room {number}")
    await process.post(HOT + 200)
    await posts_every([process], clock, 0.1, count=4)
    caplog.clear()

    clock.advance(10)
    await process.control.watch.check()
    (line,) = caplog.messages
    assert line.startswith("41 zones changed: 41 silent; among them 'lab', ")
    caplog.clear()
    await process.post(COLD)
    await process.control.watch.check()
    (line,) = caplog.messages
    assert line == "zone 'lab' of tenant 'default' is ok: its readings decide again"


async def test_a_zone_that_changes_back_and_forth_does_not_fill_the_log(
    site, process, clock, caplog
):
    caplog.set_level(logging.INFO, "server.control.trust_log")
    await process.post(COLD)
    for _ in range(100):
        for temp in (COLD + 300, COLD):
            clock.advance(0.25)
            await process.post(temp)
            await process.control.watch.check()
    assert len(caplog.messages) <= 4


# Answers that their devices did not receive.


async def test_a_switch_whose_answer_was_lost_starts_its_minimum_time_with_the_next_answer(
    site, process, clock
):
    await posts_every([process], clock, 2)
    assert (await process.post(HOT)).cool_active
    await site.events()
    await process.control.batches.answer_lost(TENANT, LAB)
    (event,) = of(await site.events(), "zone")
    assert (event["relays_known"], event["cool_active"]) == (False, True)

    clock.advance(9)
    other = await site.start()  # another process may answer next
    assert (await other.post(COLD)).cool_active
    clock.advance(9)
    assert (await other.post(COLD)).cool_active
    clock.advance(1)
    assert not (await other.post(COLD)).cool_active


async def test_a_lost_answer_that_switched_nothing_changes_nothing(site, process, clock):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    clock.advance(2)
    await process.post(HOT)
    await site.events()
    await process.control.batches.answer_lost(TENANT, LAB)
    assert await site.events() == []
    assert (await process.status()).relays_known


async def test_a_lost_answer_is_ignored_for_a_zone_that_has_posted_again(site, process, clock):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    other = await site.start()
    clock.advance(1)
    await other.post(HOT)
    await process.control.batches.answer_lost(TENANT, LAB)
    assert (await other.status()).relays_known


async def test_a_check_that_the_store_does_not_answer_is_repeated_later(
    site, process, clock, caplog
):
    await posts_every([process], clock, 2)
    clock.advance(10)
    process.store.reads = False
    await process.control.watch.check()
    process.store.reads, process.store.how = True, "gone"
    await process.control.watch.check()
    assert not process.away
    process.store.how = "works"
    await site.events()
    await process.control.watch.check()
    assert [one["trust"]["state"] for one in of(await site.events(), "zone")] == ["silent"]
    assert "Traceback" not in caplog.text
