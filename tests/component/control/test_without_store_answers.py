"""Answers to posts while the store is away or hangs: they are in time, and true."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack

import pytest

from server.common.errors import Unavailable
from server.control import batch_service
from server.control.rules.posted_body import Posted
from server.control.rules.setpoint_rules import SetpointChange
from server.control.zone_cache import WAITING_FOR_ONE_ZONE_MAX, ZONES_MAX
from server.routes.sender import ANY_DEVICE, NO_KEY, RepeatKey, Sender
from server.services.firestore import store_watch
from tests.support.stream import eventually
from tests.support.unreliable import COLD, HOT, LAB, TENANT, Site, hurry, of, outcome, refused

OFF = (False, False, False)
RUNS_ON, RESTS_ON = (True, True, False), (False, True, False)
# The longest answer time once the store is known to be away.
AT_ONCE_S, FOR_EVER_S = 5.0, 60.0


@pytest.fixture
async def site(tmp_path, clock, monkeypatch):
    hurry(monkeypatch)
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


@pytest.fixture
async def process(site):
    return await site.start()


@pytest.fixture
async def hanging(process, monkeypatch):
    """The store does not answer until the event is set; a post waits 0.2 s for it."""
    monkeypatch.setattr(store_watch, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", 0.2)
    await process.post(HOT)
    process.store.gate = gate = asyncio.Event()
    yield gate
    gate.set()


def row(temp_tenths=HOT, ok=True, device_id=LAB, **more):
    return Posted(temp_tenths=temp_tenths, sensor_ok=ok, device_id=device_id, **more)


async def batch(process, *rows, key=NO_KEY):
    """The number of stored rows, the commands, and the error codes of the others by row."""
    count, answer = await process.posts.many(ANY_DEVICE, rows, key)
    codes = {index: error.code for index, error in answer.errors.items()}
    commands = {name: outcome(command) for name, command in answer.commands.items()}
    return count - len(codes), commands, codes


async def test_a_post_with_a_key_is_refused_and_the_refusal_contains_the_command(site, process):
    await process.post(HOT)
    await site.lose()
    for repeat, more in ((RepeatKey("k"), {}), (NO_KEY, {"key": "k"})):
        error = await refused(process.post(HOT, repeat=repeat, **more))
        assert isinstance(error, Unavailable)
        assert outcome(error.more) == RUNS_ON
    error = await refused(process.post(None, False, repeat=RepeatKey("k")))
    assert outcome(error.more) == OFF
    assert outcome(await process.post(HOT)) == OFF
    error = await refused(process.post(HOT, device_id="never heard", repeat=RepeatKey("k")))
    assert outcome(error.more) == OFF


async def test_the_answer_to_a_batch_says_that_no_row_and_no_device_is_stored(site, process, clock):
    for name in (LAB, "attic"):
        await process.post(HOT, device_id=name)
    await site.lose()
    clock.advance(10)
    rows = [
        row(),
        row(COLD),
        row(device_id="attic"),
        row(device_id="new"),
        row(None, False, "attic"),
    ]
    assert await batch(process, *rows) == (
        0,
        {LAB: RESTS_ON, "attic": OFF, "new": OFF},
        dict.fromkeys(range(5), "STORE_UNAVAILABLE"),
    )
    await site.come_back()
    assert {one.device_id for one in await process.stored()} == {LAB, "attic"}
    assert len(await process.stored()) == 2


async def test_a_batch_counts_the_rows_that_were_stored_before_the_store_was_lost(
    site, process, monkeypatch
):
    await process.post(HOT)
    monkeypatch.setattr("server.control.batch.SHARE_ROWS_MAX", 2)

    async def lose():
        process.store.before_write = lose_now

    async def lose_now():
        process.lose()

    process.store.before_write = lose
    stored, commands, codes = await batch(process, *[row(HOT + n) for n in range(5)])
    assert (stored, commands) == (2, {LAB: RUNS_ON})
    assert codes == dict.fromkeys((2, 3, 4), "STORE_UNAVAILABLE")
    await site.come_back()
    assert sorted(one.temp_tenths for one in await process.stored()) == [HOT, HOT, HOT + 1]


async def test_no_reading_that_is_not_stored_is_streamed_as_stored(site, process, clock):
    await process.post(HOT)
    await site.events()
    await site.lose()
    for temp in (HOT, HOT, COLD, HOT):
        clock.advance(10)
        await process.post(temp)
        await batch(process, row(temp), row(temp))
    events = await site.events()
    assert of(events, "telemetry") == []
    assert [one["cool_active"] for one in of(events, "zone")] == [False]
    await site.come_back()
    await process.post(HOT + 1)
    assert [one["temp_tenths"] for one in of(await site.events(), "telemetry")] == [HOT + 1]


async def test_devices_are_admitted_or_refused_as_at_their_last_post(site):
    process = await site.start(mode="required")
    keys = {name: await process.new_key("acme", name) for name in ("a", "b", "replaced")}
    for name, key in keys.items():
        await process.post(HOT, device_id=name, device_key=key)
    # A replaced key is refused, and the refusal is remembered.
    await process.new_key("acme", "replaced")
    refusal = await refused(process.post(HOT, device_id="replaced", device_key=keys["replaced"]))
    assert refusal.code == "INVALID_DEVICE_KEY"
    await site.lose(reads=False)
    assert outcome(await process.post(HOT, device_id="a", device_key=keys["a"])) == RUNS_ON
    assert outcome(await process.post(HOT, device_id="a", device_key="bas_made_up")) == OFF
    assert outcome(await process.post(HOT, device_id="b", device_key=keys["a"])) == OFF
    refusal = await refused(process.post(HOT, device_id="replaced", device_key=keys["replaced"]))
    assert refusal.code == "INVALID_DEVICE_KEY"
    assert (await refused(process.post(HOT, device_id="a"))).code == "DEVICE_KEY_REQUIRED"
    assert (await refused(batch(process, row(device_id="a")))).code == "DEVICE_KEY_REQUIRED"


async def test_unknown_devices_and_keys_neither_fill_the_memory_nor_evict_a_zone(site, process):
    await process.post(HOT)
    await site.lose()
    for number in range(500):
        assert outcome(await process.post(HOT, device_id=f"made-up {number}")) == OFF
        assert outcome(await process.post(HOT, device_id=LAB, device_key=f"bas_{number}")) == OFF
        await batch(process, row(device_id=f"made-up {number}"))
    assert [key[1] for key in process.cache._slots] == [LAB]
    assert len(process.keys._last) == 1
    assert outcome(await process.post(HOT)) == RUNS_ON


async def test_a_remembered_error_does_not_grow_with_each_refusal(site, process):
    await process.post(HOT)
    await site.lose()
    for _ in range(100):
        await process.post(HOT, device_id="never heard")
        await refused(process.post(HOT, repeat=RepeatKey("k")))
        with pytest.raises(Unavailable):
            process.stores.watch.raise_if_away()
    frames, traceback = 0, process.stores.watch.error.__traceback__
    while traceback is not None:
        frames, traceback = frames + 1, traceback.tb_next
    assert frames < 10


async def test_a_busy_zone_is_answered_and_its_stored_state_is_shown(process):
    await process.post(HOT)
    slot = process.cache.peek(TENANT, LAB)
    slot.waiting += WAITING_FOR_ONE_ZONE_MAX
    assert outcome(await process.post(HOT)) == RUNS_ON
    assert process.cache.unstored() == []
    assert not process.away
    slot.waiting -= WAITING_FOR_ONE_ZONE_MAX
    assert (await process.post(HOT)).stored


async def test_a_zone_beyond_the_memory_limit_is_switched_off(site, process):
    await process.post(HOT)
    await process.post(HOT, device_id="attic")
    process.cache._slots.pop((TENANT, "attic"))
    await site.lose()
    fillers = {
        ("tenant", str(number)): process.cache.peek(TENANT, LAB) for number in range(ZONES_MAX)
    }
    process.cache._slots |= fillers
    assert outcome(await process.post(HOT, device_id="attic")) == OFF
    assert process.cache.peek(TENANT, "attic") is None
    for key in fillers:
        del process.cache._slots[key]


async def test_all_waiting_posts_are_answered_as_soon_as_one_of_them_finds_the_store_away(
    process, hanging, monkeypatch
):
    names = [LAB] * 20 + [f"other {number}" for number in range(20)]
    posts = [asyncio.create_task(process.post(HOT, device_id=name)) for name in names]
    await asyncio.wait(posts, timeout=2)
    assert process.away
    assert [outcome(post.result()) for post in posts] == [RUNS_ON] * 20 + [OFF] * 20
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", FOR_EVER_S)
    began = time.monotonic()
    assert outcome(await process.post(HOT)) == RUNS_ON
    assert time.monotonic() - began < AT_ONCE_S


async def test_several_slow_answers_of_the_store_in_one_post_are_not_all_waited_for(
    process, monkeypatch
):
    monkeypatch.setattr(store_watch, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", 0.2)
    await process.post(HOT)
    process.cache.doubt_all()
    process.cache.forget_settings(TENANT)
    steps = process.store._pass

    answered = []

    async def slowly(collection=""):
        await asyncio.sleep(0.15)
        await steps(collection)
        answered.append(collection)

    process.store._pass = slowly
    assert not (await process.post(HOT, seq=3)).stored
    # A post waits for one such answer, but not for device, zone and settings one after another.
    assert len(answered) < 3
    assert process.away


async def test_a_post_does_not_wait_for_an_operator_s_change_of_its_zone(
    process, hanging, monkeypatch
):
    monkeypatch.setattr(batch_service, "LOCK_WAIT_S", 0.05)
    change = SetpointChange(setpoint_tenths=250)
    changing = asyncio.create_task(process.control.setpoints.set(TENANT, LAB, change, "op", "here"))
    await eventually(process.cache.peek(TENANT, LAB).lock.locked, "it holds the zone")
    # The change ends later, and a post that waits for a store finds it away.
    assert outcome(await process.post(HOT)) == RUNS_ON
    assert not changing.done()
    assert not process.away
    hanging.set()
    await changing


async def test_a_caller_that_hangs_up_does_not_mark_the_store_as_away(process, hanging):
    post = asyncio.create_task(process.post(HOT))
    await eventually(lambda: process.store.calls, "it waits")
    post.cancel()
    with pytest.raises(asyncio.CancelledError):
        await post


async def test_the_log_has_few_lines_however_many_devices_post(site, process, caplog):
    caplog.set_level(logging.INFO)
    await process.post(HOT)
    await site.lose()
    for number in range(200):
        await process.post(HOT)
        await process.post(HOT, device_id=f"made-up {number}")
        await batch(process, row(), row(device_id=f"made-up {number}"))
        await refused(process.post(HOT, repeat=RepeatKey("k")))
    assert len(caplog.records) < 10
    await site.come_back()
    assert [record.exc_info for record in caplog.records] == [None] * len(caplog.records)


async def test_a_post_with_an_unknown_key_is_answered_like_one_of_a_new_device(site, process):
    await site.lose()
    command = await process.posts.one(Sender("bas_unknown"), row())
    assert outcome(command) == OFF
