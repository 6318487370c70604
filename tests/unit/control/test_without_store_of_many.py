"""Several processes without the store: a device may ask any of them, and none switches on what
another one switched off."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from server.control import relay_notices
from server.services.sse_service.backend import LogUnavailable
from server.services.sse_service.shared.notices import RedisNotices
from tests.support.stream import eventually
from tests.support.unreliable import COLD, HOT, LAB, Cooler, Site, hurry, told

OFF = (False, False, False)
RUNS, RESTS = (True, True, True), (False, True, True)
RUNS_ON, RESTS_ON = (True, True, False), (False, True, False)


@pytest.fixture
async def site(tmp_path, clock, monkeypatch):
    hurry(monkeypatch)
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


@pytest.fixture
async def pair(site):
    return await site.start(), await site.start()


async def both_know(pair, clock, seconds, device_id=LAB):
    """The cooler was started so long ago, and both processes heard of the zone."""
    a, b = pair
    assert told(await a.post(HOT, device_id=device_id)) == RUNS
    assert told(await b.post(HOT, device_id=device_id)) == RUNS
    clock.advance(seconds)


async def runs(process, clock):
    """The cooler was started two seconds ago."""
    assert told(await process.post(HOT)) == RUNS
    clock.advance(2)


@pytest.mark.parametrize("device_id", [LAB, "hall 2", "a_b%/c d 110", "ä\u2028ö"])
async def test_what_one_cut_the_other_does_not_switch_on(site, pair, clock, device_id):
    a, b = pair
    await both_know(pair, clock, 10, device_id)
    await site.lose()
    assert told(await a.post(COLD, device_id=device_id)) == RESTS_ON
    assert told(await b.post(HOT, device_id=device_id)) == RESTS_ON
    assert told(await b.post(None, False, device_id=device_id)) == OFF
    assert told(await a.post(HOT, device_id=device_id)) == OFF
    await site.come_back()
    assert told(await a.post(HOT, device_id=device_id)) == RESTS
    assert told(await b.post(HOT, device_id=device_id)) == RESTS


@pytest.mark.parametrize("started_by", [0, 1])
async def test_what_one_switched_on_before_the_other_keeps_on(site, pair, clock, started_by):
    starter, other = pair[started_by], pair[1 - started_by]
    for process in pair:
        assert told(await process.post(COLD)) == RESTS
    assert told(await starter.post(HOT)) == RUNS
    await site.lose()
    for process in (other, starter, other):
        clock.advance(2)
        assert told(await process.post(HOT)) == RUNS_ON


async def test_what_one_switched_off_before_the_other_keeps_off(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    assert told(await a.post(COLD)) == RESTS
    await site.lose()
    assert told(await b.post(HOT)) == RESTS_ON


async def test_a_process_that_is_back_first_has_the_others_look_at_once(
    site, pair, clock, monkeypatch
):
    a, b = pair
    for process in pair:
        await process.post(COLD)
    await site.lose()
    monkeypatch.setattr("server.services.firestore.store_watch.TRY_S", 60)
    await eventually(lambda: b.stores.watch._pause is not None, "it pauses")
    await asyncio.sleep(0.02)  # into the long pause
    b.store.how = "works"
    await a.come_back()
    await eventually(lambda: not b.away, "the other one is back")
    assert told(await a.post(HOT)) == RUNS
    assert told(await b.post(HOT)) == RUNS


async def test_a_start_by_one_that_is_back_is_known_to_one_that_is_not(site, pair, clock):
    a, b = pair
    for process in pair:
        await process.post(COLD)
    await site.lose()
    assert told(await b.post(COLD)) == RESTS_ON
    clock.advance(1)
    await a.come_back()
    assert told(await a.post(HOT)) == RUNS
    assert b.away
    clock.advance(1)
    assert told(await b.post(HOT)) == RUNS_ON
    clock.advance(20)
    assert told(await b.post(COLD)) == RESTS_ON
    await b.come_back()
    assert told(await a.post(HOT)) == RESTS


async def test_a_start_that_is_told_late_does_not_undo_a_cut(site, pair, clock):
    a, b = pair
    for process in pair:
        await process.post(COLD)
    site.wire.up = False
    assert told(await a.post(HOT)) == RUNS
    late = a.notices.told[-1]
    site.wire.up = True
    await site.lose()
    clock.advance(1)
    assert told(await b.post(None, False)) == OFF
    b.notices.listeners[late[0]](late[1])
    assert told(await b.post(HOT)) == OFF


async def test_where_processes_cannot_tell_each_other_all_goes_off_and_stays_off(site, pair, clock):
    await both_know(pair, clock, 1)
    await site.lose()
    site.wire.up = False
    assert told(await pair[0].post(HOT)) == OFF
    await asyncio.sleep(0.05)  # so that the other one tries to tell something too
    site.wire.up = True
    for process in (*pair, *pair):
        clock.advance(20)
        assert told(await process.post(HOT)) == OFF
    await site.come_back()
    assert told(await pair[0].post(HOT)) == RESTS


async def test_a_lost_notice_is_told_again(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    await site.lose()
    site.wire.lose = 1
    assert told(await a.post(COLD)) == RESTS_ON
    assert not site.wire.lose
    await eventually(lambda: not b.cache.peek("default", LAB).told.cool, "the cut was heard")
    assert told(await b.post(HOT)) == RESTS_ON


async def test_a_cut_is_told_for_a_while_and_heard_once(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    # Only one of them has lost the store.
    a.lose()
    assert told(await a.post(None, False)) == OFF
    assert told(await b.post(HOT)) == RESTS
    told_again = len(a.notices.told) + 5
    await eventually(lambda: len(a.notices.told) > told_again, "it was told again")
    assert told(await b.post(HOT)) == RESTS
    clock.advance(relay_notices.TELL_AGAIN_S + 1)
    await asyncio.sleep(0.05)
    del a.notices.told[:]
    await eventually(lambda: len(a.notices.told) > 3, "it goes on")
    assert {name for _, name in a.notices.told} == {""}


@pytest.mark.parametrize("keyed", [False, True])
async def test_what_a_process_tells_a_device_it_does_not_know_the_others_keep_to(
    site, pair, clock, keyed
):
    device = {"device_key": await pair[0].keys.issue("acme", LAB)} if keyed else {}
    for process in pair:
        await process.post(HOT, **device)
    await pair[0].post(HOT, device_id="attic")
    await site.lose()
    restarted = await site.start(how="gone")
    # Of another one, of the same one with a key that was never right, and of this one.
    assert told(await restarted.post(HOT, device_id="cellar")) == OFF
    assert told(await restarted.post(HOT, device_key="bas_made_up")) == OFF
    assert told(await pair[0].post(HOT, **device)) == RUNS_ON
    assert told(await restarted.post(HOT, **device)) == OFF
    assert told(await pair[0].post(HOT, **device)) == OFF
    assert told(await pair[1].post(HOT, **device)) == OFF
    assert told(await pair[0].post(HOT, device_id="attic")) == RUNS_ON
    await site.come_back()
    assert told(await pair[0].post(HOT, **device)) == RESTS
    clock.advance(10)
    assert told(await restarted.post(HOT, **device)) == RUNS


async def test_a_zone_that_could_not_be_read_any_more_is_off_for_the_others_too(
    site, pair, clock, monkeypatch
):
    a, b = pair
    await runs(a, clock)
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", 0.05)
    monkeypatch.setattr("server.services.firestore.store_watch.LOOK_S", 0.01)
    b.store.gate = asyncio.Event()  # it reads the device, and then hangs
    a.lose()
    assert told(await b.post(HOT)) == OFF
    b.store.gate.set()
    await a.stores.watch.check()
    assert told(await a.post(HOT)) == OFF


async def test_of_strangers_few_are_told_to_other_processes(site, pair):
    for process in pair:
        await process.post(HOT)
    await site.lose()
    del pair[0].notices.told[:]
    for number in range(1000):
        await pair[0].post(HOT, device_id=f"made-up {number % 500}")
    assert len(pair[0].notices.told) <= 2 * relay_notices.UNKNOWN_MAX
    assert len(pair[1].cache._slots) == 1


async def test_a_process_with_the_store_hears_of_a_cut_in_a_zone_it_does_not_know(
    site, pair, clock
):
    a, b = pair
    assert told(await a.post(HOT)) == RUNS
    clock.advance(10)
    a.lose()
    assert told(await a.post(COLD)) == RESTS_ON
    clock.advance(1)
    assert told(await b.post(HOT)) == RESTS
    clock.advance(9.999)
    assert told(await b.post(HOT)) == RESTS
    clock.advance(0.001)
    assert told(await b.post(HOT)) == RUNS
    assert (await b.status()).cool_active


async def test_both_settle_one_zone_at_once(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    await site.lose()
    assert told(await a.post(COLD)) == RESTS_ON
    assert told(await b.post(COLD)) == RESTS_ON

    # Between what one reads and what it writes, the other one settles.
    a.store.before_write = b.come_back
    probed = a.stores.watch._write

    async def only_the_zone():
        before, a.store.before_write = a.store.before_write, None
        await probed()
        a.store.before_write = before

    a.stores.watch._write = only_the_zone
    await a.come_back()
    assert a.store.before_write is None
    assert not (await a.record()).cool
    for process in pair:
        assert process.cache.unstored() == []
        assert not (await process.status()).cool_active


async def test_minimum_times_hold_however_posts_are_dealt_through_outages(site, pair, clock):
    chance = random.Random(5)
    cooler = Cooler(clock)
    temp_tenths, ok = HOT, True
    for number in range(1500):
        clock.advance(chance.choice([0.5, 1, 2, 2, 5]))
        if number % 60 == 30:
            await site.lose(chance.choice(["gone", "late", "unanswered"]))
        if number % 60 == 50:
            await site.come_back()
        temp_tenths = chance.choice([temp_tenths] * 6 + [HOT, COLD])
        ok = chance.random() > 0.02
        cooler.obey(await chance.choice(pair).post(temp_tenths, ok), cut=not ok)
    assert not cooler.short
    assert cooler.switched_ms is not None


async def test_a_notice_that_redis_did_not_take_says_that_others_are_not_reached():
    failing = True

    async def publish(text):
        if failing:
            raise LogUnavailable(message="gone")

    notices = RedisNotices(publish, lambda: True, "run")
    sending = asyncio.create_task(notices.send())
    assert notices.reach_others
    notices.tell("topic", "name")
    await eventually(lambda: not notices.reach_others, "it is known")
    sending.cancel()
    await asyncio.wait({sending})
