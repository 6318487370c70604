"""Several processes without the store: a device may ask any of them, and none switches a relay on
that another one switched off."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from server.control.outage import relay_notices
from server.services.ports.event_log import LogUnavailable
from server.services.site.redis_notices import RedisNotices
from tests.support.stream import eventually
from tests.support.unreliable import COLD, HOT, LAB, Cooler, Site, hurry, outcome

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
    """Starts the cooler, lets it run for `seconds`, and lets both processes know the zone."""
    a, b = pair
    assert outcome(await a.post(HOT, device_id=device_id)) == RUNS
    assert outcome(await b.post(HOT, device_id=device_id)) == RUNS
    clock.advance(seconds)


async def runs(process, clock):
    """Starts the cooler, and lets it run for two seconds."""
    assert outcome(await process.post(HOT)) == RUNS
    clock.advance(2)


@pytest.mark.parametrize("device_id", [LAB, "hall 2", "a_b%/c d 110", "ä\u2028ö"])
async def test_a_relay_that_one_process_switched_off_is_not_switched_on_by_the_other(
    site, pair, clock, device_id
):
    a, b = pair
    await both_know(pair, clock, 10, device_id)
    await site.lose()
    assert outcome(await a.post(COLD, device_id=device_id)) == RESTS_ON
    assert outcome(await b.post(HOT, device_id=device_id)) == RESTS_ON
    assert outcome(await b.post(None, False, device_id=device_id)) == OFF
    assert outcome(await a.post(HOT, device_id=device_id)) == OFF
    await site.come_back()
    assert outcome(await a.post(HOT, device_id=device_id)) == RESTS
    assert outcome(await b.post(HOT, device_id=device_id)) == RESTS


@pytest.mark.parametrize("started_by", [0, 1])
async def test_a_cooler_started_before_the_outage_is_kept_on_by_the_other_process(
    site, pair, clock, started_by
):
    starter, other = pair[started_by], pair[1 - started_by]
    for process in pair:
        assert outcome(await process.post(COLD)) == RESTS
    assert outcome(await starter.post(HOT)) == RUNS
    await site.lose()
    for process in (other, starter, other):
        clock.advance(2)
        assert outcome(await process.post(HOT)) == RUNS_ON


async def test_a_cooler_stopped_before_the_outage_is_kept_off_by_the_other_process(
    site, pair, clock
):
    a, b = pair
    await both_know(pair, clock, 10)
    assert outcome(await a.post(COLD)) == RESTS
    await site.lose()
    assert outcome(await b.post(HOT)) == RESTS_ON


async def test_the_first_process_with_the_store_back_makes_the_others_check_at_once(
    site, pair, clock, monkeypatch
):
    a, b = pair
    for process in pair:
        await process.post(COLD)
    await site.lose()
    short = b.stores.watch._pause
    monkeypatch.setattr("server.services.firestore.store_watch.RETRY_S", 60)
    await eventually(lambda: b.stores.watch._pause not in (None, short), "the long pause begins")
    b.store.how = "works"
    await a.come_back()
    await eventually(lambda: not b.away, "the other one is back")
    assert outcome(await a.post(HOT)) == RUNS
    assert outcome(await b.post(HOT)) == RUNS


async def test_a_start_by_a_process_with_the_store_is_known_to_a_process_without_it(
    site, pair, clock
):
    a, b = pair
    for process in pair:
        await process.post(COLD)
    await site.lose()
    assert outcome(await b.post(COLD)) == RESTS_ON
    clock.advance(1)
    await a.come_back()
    assert outcome(await a.post(HOT)) == RUNS
    assert b.away
    clock.advance(1)
    assert outcome(await b.post(HOT)) == RUNS_ON
    clock.advance(20)
    assert outcome(await b.post(COLD)) == RESTS_ON
    await b.come_back()
    assert outcome(await a.post(HOT)) == RESTS


async def test_a_late_notice_of_a_start_does_not_undo_a_cut(site, pair, clock):
    a, b = pair
    for process in pair:
        await process.post(COLD)
    site.wire.up = False
    assert outcome(await a.post(HOT)) == RUNS
    late = a.notices.sent[-1]
    site.wire.up = True
    await site.lose()
    clock.advance(1)
    assert outcome(await b.post(None, False)) == OFF
    b.notices.listeners[late[0]](late[1])
    assert outcome(await b.post(HOT)) == OFF


async def test_without_store_and_notices_all_relays_go_off_and_stay_off(site, pair, clock):
    await both_know(pair, clock, 1)
    await site.lose()
    site.wire.up = False
    assert outcome(await pair[0].post(HOT)) == OFF
    sent = pair[1].notices.sent
    tried = len(sent) + 1
    await eventually(lambda: len(sent) > tried, "the other process tries to send notices too")
    site.wire.up = True
    for process in (*pair, *pair):
        clock.advance(20)
        assert outcome(await process.post(HOT)) == OFF
    await site.come_back()
    assert outcome(await pair[0].post(HOT)) == RESTS


async def test_a_lost_notice_is_sent_again(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    await site.lose()
    site.wire.lose = 1
    assert outcome(await a.post(COLD)) == RESTS_ON
    assert not site.wire.lose
    await eventually(lambda: not b.cache.peek("default", LAB).commanded.cool, "the cut was heard")
    assert outcome(await b.post(HOT)) == RESTS_ON


async def test_a_notice_of_a_cut_is_repeated_for_a_while_and_applied_once(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    # Only one process has lost the store.
    a.lose()
    assert outcome(await a.post(None, False)) == OFF
    assert outcome(await b.post(HOT)) == RESTS
    repeated = len(a.notices.sent) + 5
    await eventually(lambda: len(a.notices.sent) > repeated, "the notice was sent again")
    assert outcome(await b.post(HOT)) == RESTS
    clock.advance(relay_notices.RESEND_FOR_S + 1)
    await eventually(lambda: a.notices.sent[-1] == (relay_notices.CUT, ""), "the cut is old")
    del a.notices.sent[:]
    await eventually(lambda: len(a.notices.sent) > 3, "it goes on")
    assert {name for _, name in a.notices.sent} == {""}


async def test_a_notice_of_a_cut_that_comes_after_the_next_command_does_not_stop_the_cooler(
    site, pair, clock
):
    a, b = pair
    for process in pair:
        assert outcome(await process.post(COLD)) == RESTS
    third = await site.start()
    a.lose()
    site.wire.up = False  # each notice arrives when the test delivers it
    assert outcome(await a.post(None, False)) == OFF
    cut = next(one for one in a.notices.sent if one[0] == relay_notices.CUT and LAB in one[1])
    clock.advance(10)
    assert outcome(await third.post(HOT)) == RUNS
    start = third.notices.sent[-1]
    clock.advance(1)
    for topic, text in (start, cut):
        b.notices.listeners[topic](text)
    assert outcome(await b.post(HOT)) == RUNS


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not asked"])
async def test_a_cooler_that_a_restarted_process_commanded_off_rests_for_its_minimum_time(
    site, pair, clock, asked
):
    assert outcome(await pair[0].post(HOT)) == RUNS
    restarted = await site.start()
    restarted.lose()
    clock.advance(1)
    site.wire.lose = 1  # no other process hears of it
    device_id = LAB if asked else "cellar"
    assert outcome(await restarted.post(HOT, device_id=device_id)) == OFF
    await restarted.come_back()
    assert outcome(await restarted.post(HOT)) == (RESTS if asked else RUNS)


async def test_a_start_after_a_restarted_process_refused_the_device_is_kept(site, pair, clock):
    a, _ = pair
    assert outcome(await a.post(COLD)) == RESTS
    restarted = await site.start(how="gone")
    clock.advance(1)
    assert outcome(await restarted.post(HOT)) == OFF
    clock.advance(1)
    assert outcome(await a.post(HOT)) == RUNS
    clock.advance(1)
    assert outcome(await restarted.post(HOT, device_id="cellar")) == OFF
    await restarted.come_back()
    assert outcome(await restarted.post(HOT)) == RUNS


async def test_a_late_notice_about_an_unknown_device_does_not_stop_the_cooler(site, pair, clock):
    a, b = pair
    for process in pair:
        assert outcome(await process.post(COLD)) == RESTS
    restarted = await site.start(how="gone")
    site.wire.up = False
    assert outcome(await restarted.post(HOT)) == OFF
    late = next(notice for notice in restarted.notices.sent if LAB in notice[1])
    site.wire.up = True
    clock.advance(10)
    assert outcome(await a.post(HOT)) == RUNS
    clock.advance(1)
    b.notices.listeners[late[0]](late[1])
    assert outcome(await b.post(HOT)) == RUNS


async def test_a_cut_during_a_long_outage_of_the_notices_arrives_after_it(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    # Only one process has lost the store: the other one gets no posts, and notices nothing.
    a.lose()
    site.wire.up = False
    assert outcome(await a.post(HOT)) == OFF
    for _ in range(3):
        clock.advance(relay_notices.RESEND_FOR_S)
        del a.notices.sent[:]
        await eventually(lambda: len(a.notices.sent) > 1, "it sends what it has")
    site.wire.up = True
    await eventually(lambda: not b.cache.peek("default", LAB).commanded.cool, "the cut arrived")
    b.lose()
    assert outcome(await b.post(HOT)) == OFF


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_device_that_one_process_does_not_know_is_switched_off_by_the_others_too(
    site, pair, clock, keyed
):
    device = {"device_key": await pair[0].new_key("acme", LAB)} if keyed else {}
    for process in pair:
        await process.post(HOT, **device)
    await pair[0].post(HOT, device_id="attic")
    await site.lose()
    restarted = await site.start(how="gone")
    # Another device, this device with a key that was never right, and this device itself.
    assert outcome(await restarted.post(HOT, device_id="cellar")) == OFF
    assert outcome(await restarted.post(HOT, device_key="bas_made_up")) == OFF
    assert outcome(await pair[0].post(HOT, **device)) == RUNS_ON
    assert outcome(await restarted.post(HOT, **device)) == OFF
    assert outcome(await pair[0].post(HOT, **device)) == OFF
    assert outcome(await pair[1].post(HOT, **device)) == OFF
    assert outcome(await pair[0].post(HOT, device_id="attic")) == RUNS_ON
    await site.come_back()
    assert outcome(await pair[0].post(HOT, **device)) == RESTS
    clock.advance(10)
    assert outcome(await restarted.post(HOT, **device)) == RUNS


async def test_a_zone_whose_read_failed_is_switched_off_by_the_other_processes_too(
    site, pair, clock, monkeypatch
):
    a, b = pair
    await runs(a, clock)
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", 0.05)
    monkeypatch.setattr("server.services.firestore.store_watch.CHECK_INTERVAL_S", 0.01)
    b.store.gate = asyncio.Event()  # the device is read, and then the store hangs
    a.lose()
    assert outcome(await b.post(HOT)) == OFF
    b.store.gate.set()
    await a.stores.watch.check()
    assert outcome(await a.post(HOT)) == OFF


async def test_few_notices_are_sent_about_unknown_devices(site, pair):
    for process in pair:
        await process.post(HOT)
    await site.lose()
    del pair[0].notices.sent[:]
    for number in range(1000):
        await pair[0].post(HOT, device_id=f"made-up {number % 500}")
    assert len(pair[0].notices.sent) <= 2 * relay_notices.UNKNOWN_MAX
    assert len(pair[1].cache._slots) == 1


async def test_a_process_with_the_store_applies_a_notice_of_a_cut_in_a_zone_it_does_not_know(
    site, pair, clock
):
    a, b = pair
    assert outcome(await a.post(HOT)) == RUNS
    clock.advance(10)
    a.lose()
    assert outcome(await a.post(COLD)) == RESTS_ON
    clock.advance(1)
    assert outcome(await b.post(HOT)) == RESTS
    clock.advance(9.999)
    assert outcome(await b.post(HOT)) == RESTS
    clock.advance(0.001)
    assert outcome(await b.post(HOT)) == RUNS
    assert (await b.status()).cool_active


async def test_both_processes_may_write_one_zone_s_state_at_the_same_time(site, pair, clock):
    a, b = pair
    await both_know(pair, clock, 10)
    await site.lose()
    assert outcome(await a.post(COLD)) == RESTS_ON
    assert outcome(await b.post(COLD)) == RESTS_ON

    # The other process writes the zone between this one's read and its write.
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


async def test_minimum_times_hold_through_outages_whichever_process_gets_each_post(
    site, pair, clock
):
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


async def test_a_notice_that_redis_refuses_marks_the_other_processes_as_unreachable():
    failing = True

    async def publish(text):
        if failing:
            raise LogUnavailable(message="gone")

    notices = RedisNotices(publish, lambda: True, "run")
    sending = asyncio.create_task(notices.send())
    assert notices.reach_others
    notices.publish("topic", "name")
    await eventually(lambda: not notices.reach_others, "it is known")
    sending.cancel()
    await asyncio.wait({sending})
