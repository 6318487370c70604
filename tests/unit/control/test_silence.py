"""Zones whose devices post no more, or whose posts are refused: what is shown, told and counted, by
one process and by three."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import pytest

from server.control.silence import silent_after_ms
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
    """A device posts so often, to one process after another."""
    for number in range(count):
        if number:
            clock.advance(seconds)
        await processes[number % len(processes)].post(COLD)


async def trust(process):
    shown = await process.status()
    return (shown.trust.state, shown.trust.reason)


def counts(process):
    """How many zones there are of each trust, as far as any."""
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
    await process.control.watch.look()
    assert await trust(process) == ("ok", None)
    clock.advance(0.1)
    # Known to those who ask even before somebody tells it.
    assert await trust(process) == NO_READING
    assert await site.events() == []
    await process.control.watch.look()

    (event,) = of(await site.events(), "zone")
    assert (event["device_id"], event["trust"]["state"]) == (LAB, "silent")
    assert event["trust"]["since"] == clock.now_ms()
    assert counts(process) == {"silent": 1}
    assert (await process.record()).trust_state == "silent"


async def test_a_device_of_fewer_than_three_posts_may_take_a_minute_a_post(site, process, clock):
    await posts_every([process], clock, 2, count=2)
    clock.advance(179.9)
    assert await trust(process) == ("ok", None)
    clock.advance(0.1)
    assert await trust(process) == NO_READING


def test_one_long_gap_makes_no_usual_period():
    zone = ZoneRecord(tenant_id=TENANT, device_id=LAB, gaps=[20, 20, 36_000, 20, 20])
    assert silent_after_ms(zone) == 10_000


async def test_relays_of_a_silent_zone_are_not_known_after_a_minute(site, process, clock):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    clock.advance(59.9)
    await process.control.watch.look()
    shown = await process.status()
    assert (shown.trust.state, shown.relays_known, shown.cool_active) == ("silent", True, True)
    await site.events()

    clock.advance(0.1)
    await process.control.watch.look()
    (event,) = of(await site.events(), "zone")
    assert (event["relays_known"], event["cool_active"]) == (False, True)
    await process.control.watch.look()
    assert await site.events() == []  # it is told once

    assert (await process.post(HOT)).cool_active
    (event,) = of(await site.events(), "zone")
    assert (event["trust"]["state"], event["relays_known"]) == ("ok", True)


async def test_a_cooler_that_may_have_been_off_runs_its_minimum_time_from_the_next_answer(
    site, process, clock
):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    clock.advance(60)
    await process.control.watch.look()
    assert (await process.post(COLD)).cool_active
    clock.advance(9.9)
    assert (await process.post(COLD)).cool_active
    clock.advance(0.1)
    assert not (await process.post(COLD)).cool_active


async def test_one_of_three_processes_tells_that_a_zone_is_silent(site, clock):
    processes = [await site.start() for _ in range(3)]
    for process in processes:
        await process.control.watch.look()
    await posts_every(processes, clock, 2)
    clock.advance(10)
    await site.events()
    for _ in range(3):
        for process in processes:
            await process.control.watch.look()
    assert len(of(await site.events(), "zone")) == 1
    clock.advance(30)  # as often they are counted
    for process in processes:
        await process.control.watch.look()
    assert [counts(process) for process in processes] == [{"silent": 1}] * 3


async def test_after_a_start_silence_counts_from_the_start(site, process, clock):
    await posts_every([process], clock, 2)
    clock.advance(600)
    await site.events()
    started = await site.start()
    assert await trust(started) == ("ok", None)
    await started.control.watch.look()
    assert await site.events() == []

    clock.advance(10)
    await started.control.watch.look()
    (event,) = of(await site.events(), "zone")
    assert event["trust"]["reason"] == "no_reading"


async def test_a_zone_that_posts_through_another_process_is_not_called_silent(site, clock):
    one, other = await site.start(), await site.start()
    await posts_every([one], clock, 2)
    third = await site.start()
    for _ in range(60):
        clock.advance(2)
        await one.post(COLD)
        for process in (one, other, third):
            await process.control.watch.look()
    assert of(await site.events(), "zone") == []


async def test_a_zone_without_a_reading_is_not_silent(site, process, clock):
    await process.stores.devices.register_device(TENANT, LAB)
    clock.advance(86_400)
    await process.control.watch.look()
    assert await trust(process) == ("never", None)
    assert await site.events() == []


async def test_while_the_store_is_away_nothing_is_told_and_then_it_is(site, process, clock):
    await posts_every([process], clock, 2)
    await site.lose()
    clock.advance(30)
    await site.events()
    await process.control.watch.look()
    assert await site.events() == []
    await site.come_back()
    await process.control.watch.look()
    assert [one["trust"]["state"] for one in of(await site.events(), "zone")] == ["silent"]


async def test_posts_that_are_refused_are_shown_once_the_zone_has_been_silent(site, process, clock):
    await posts_every([process], clock, 2)
    await site.events()
    for _ in range(5):
        clock.advance(2)
        process.control.watch.refused(TENANT, LAB, "DEVICE_KEY_REQUIRED")
        await process.control.watch.look()
    (event,) = of(await site.events(), "zone")
    assert (event["trust"]["state"], event["trust"]["reason"]) == ("refused", "DEVICE_KEY_REQUIRED")
    await process.post(COLD)
    assert await trust(process) == ("ok", None)


async def test_a_stranger_who_is_refused_marks_no_healthy_zone(site, process, clock):
    await posts_every([process], clock, 2)
    await site.events()
    for _ in range(10):
        process.control.watch.refused(TENANT, LAB, "DEVICE_KEY_REQUIRED")
        clock.advance(2)
        await process.post(COLD)
        await process.control.watch.look()
    assert of(await site.events(), "zone") == []


async def test_refusals_of_made_up_devices_make_no_zone(site, process):
    for number in range(6000):
        process.control.watch.refused(TENANT, f"made up {number}", "DEVICE_LIMIT")
    await process.control.watch.look()
    assert counts(process) == {}
    assert len(process.control.watch._refused) <= 5000


async def test_a_line_for_each_zone_that_changes_and_one_for_many(site, process, clock, caplog):
    caplog.set_level(logging.INFO, "server.control.trust_log")
    for number in range(40):
        for _ in range(4):
            await process.post(COLD, device_id=f"room {number}")
    await process.post(HOT + 200)
    await posts_every([process], clock, 0.1, count=4)
    caplog.clear()

    clock.advance(10)
    await process.control.watch.look()
    (line,) = caplog.messages
    assert line.startswith("41 zones changed: 41 silent; among them 'lab', ")
    caplog.clear()
    await process.post(COLD)
    await process.control.watch.look()
    (line,) = caplog.messages
    assert line == "zone 'lab' of tenant 'default' is ok: its readings decide again"


async def test_a_zone_that_changes_to_and_fro_fills_no_log(site, process, clock, caplog):
    caplog.set_level(logging.INFO, "server.control.trust_log")
    await process.post(COLD)
    for _ in range(100):
        for temp in (COLD + 300, COLD):
            clock.advance(0.25)
            await process.post(temp)
            await process.control.watch.look()
    assert len(caplog.messages) <= 4


# Answers that their devices did not take.


async def test_a_switch_that_was_not_heard_begins_its_minimum_time_with_the_next_answer(
    site, process, clock
):
    await posts_every([process], clock, 2)
    assert (await process.post(HOT)).cool_active
    await site.events()
    await process.control.batches.not_heard(TENANT, LAB)
    (event,) = of(await site.events(), "zone")
    assert (event["relays_known"], event["cool_active"]) == (False, True)

    clock.advance(9)
    other = await site.start()  # whichever process answers next
    assert (await other.post(COLD)).cool_active
    clock.advance(9)
    assert (await other.post(COLD)).cool_active
    clock.advance(1)
    assert not (await other.post(COLD)).cool_active


async def test_an_answer_that_switched_nothing_is_no_loss(site, process, clock):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    clock.advance(2)
    await process.post(HOT)
    await site.events()
    await process.control.batches.not_heard(TENANT, LAB)
    assert await site.events() == []
    assert (await process.status()).relays_known


async def test_an_answer_is_not_lost_for_a_zone_that_has_posted_again(site, process, clock):
    await posts_every([process], clock, 2)
    await process.post(HOT)
    other = await site.start()
    clock.advance(1)
    await other.post(HOT)
    await process.control.batches.not_heard(TENANT, LAB)
    assert (await other.status()).relays_known


async def test_a_look_that_the_store_does_not_answer_ends_nothing_and_comes_again(
    site, process, clock, caplog
):
    await posts_every([process], clock, 2)
    clock.advance(10)
    process.store.reads = False
    await process.control.watch.look()
    process.store.reads, process.store.how = True, "gone"
    await process.control.watch.look()
    assert not process.away
    process.store.how = "works"
    await site.events()
    await process.control.watch.look()
    assert [one["trust"]["state"] for one in of(await site.events(), "zone")] == ["silent"]
    assert "Traceback" not in caplog.text
