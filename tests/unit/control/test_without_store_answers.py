"""What a post is answered while the store is away or hangs: in time, with what is true of it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack

import pytest

from server.control import batch_service
from server.control.posted import Posted
from server.control.settings import SetpointChange
from server.control.zone_cache import WAITING_FOR_ONE_ZONE_MAX, ZONES_MAX
from server.errors import Unavailable
from server.routes.device_posts import ANY_DEVICE, NO_KEY, RepeatKey, Sender
from server.services.firestore import store_watch
from tests.support.stream import eventually
from tests.support.unreliable import COLD, HOT, LAB, TENANT, Site, hurry, of, refused, told

OFF = (False, False, False)
RUNS_ON, RESTS_ON = (True, True, False), (False, True, False)
# What a device waits for once the store is known to be lost.
AT_ONCE_S = 0.1


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
    """The store answers nothing until the event is set; a post waits for it a fifth of a second."""
    monkeypatch.setattr(store_watch, "LOOK_S", 0.01)
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", 0.2)
    await process.post(HOT)
    process.store.gate = gate = asyncio.Event()
    yield gate
    gate.set()


def row(temp_tenths=HOT, ok=True, device_id=LAB, **more):
    return Posted(temp_tenths=temp_tenths, sensor_ok=ok, device_id=device_id, **more)


async def batch(process, *rows, key=NO_KEY):
    """How many rows were stored, the commands, and the codes of the others by their place."""
    count, answer = await process.posts.many(ANY_DEVICE, rows, key)
    codes = {place: error.code for place, error in answer.errors.items()}
    commands = {name: told(command) for name, command in answer.commands.items()}
    return count - len(codes), commands, codes


async def test_a_key_keeps_its_refusal_which_holds_the_command(site, process):
    await process.post(HOT)
    await site.lose()
    for repeat, more in ((RepeatKey("k"), {}), (NO_KEY, {"key": "k"})):
        error = await refused(process.post(HOT, repeat=repeat, **more))
        assert isinstance(error, Unavailable)
        assert told(error.more) == RUNS_ON
    error = await refused(process.post(None, False, repeat=RepeatKey("k")))
    assert told(error.more) == OFF
    assert told(await process.post(HOT)) == OFF
    error = await refused(process.post(HOT, device_id="never heard", repeat=RepeatKey("k")))
    assert told(error.more) == OFF


async def test_a_batch_says_of_each_row_and_each_device_that_it_is_not_stored(site, process, clock):
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


async def test_a_batch_counts_what_was_stored_before_the_store_was_lost(site, process, monkeypatch):
    await process.post(HOT)
    monkeypatch.setattr("server.control.batch_parts.SHARE_ROWS_MAX", 2)

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


async def test_nothing_is_streamed_as_stored_that_is_not(site, process, clock):
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


async def test_devices_are_admitted_as_they_were_last(site):
    process = await site.start(mode="required")
    keys = {name: await process.keys.issue("acme", name) for name in ("a", "b", "replaced")}
    for name, key in keys.items():
        await process.post(HOT, device_id=name, device_key=key)
    # A key that was replaced is refused, and remembered so.
    await process.keys.issue("acme", "replaced")
    refusal = await refused(process.post(HOT, device_id="replaced", device_key=keys["replaced"]))
    assert refusal.code == "INVALID_DEVICE_KEY"
    await site.lose(reads=False)
    assert told(await process.post(HOT, device_id="a", device_key=keys["a"])) == RUNS_ON
    assert told(await process.post(HOT, device_id="a", device_key="bas_made_up")) == OFF
    assert told(await process.post(HOT, device_id="b", device_key=keys["a"])) == OFF
    refusal = await refused(process.post(HOT, device_id="replaced", device_key=keys["replaced"]))
    assert refusal.code == "INVALID_DEVICE_KEY"
    assert (await refused(process.post(HOT, device_id="a"))).code == "DEVICE_KEY_REQUIRED"
    assert (await refused(batch(process, row(device_id="a")))).code == "DEVICE_KEY_REQUIRED"


async def test_strangers_push_nothing_out_of_memory_and_fill_none(site, process):
    await process.post(HOT)
    await site.lose()
    for number in range(500):
        assert told(await process.post(HOT, device_id=f"made-up {number}")) == OFF
        assert told(await process.post(HOT, device_id=LAB, device_key=f"bas_{number}")) == OFF
        await batch(process, row(device_id=f"made-up {number}"))
    assert [key[1] for key in process.cache._slots] == [LAB]
    assert len(process.keys._last) == 1
    assert told(await process.post(HOT)) == RUNS_ON


async def test_errors_that_are_kept_keep_nothing_else(site, process):
    await process.post(HOT)
    await site.lose()
    for _ in range(100):
        await process.post(HOT, device_id="never heard")
        await refused(process.post(HOT, repeat=RepeatKey("k")))
        with pytest.raises(Unavailable):
            process.stores.watch.check_there()
    frames, traceback = 0, process.stores.watch.error.__traceback__
    while traceback is not None:
        frames, traceback = frames + 1, traceback.tb_next
    assert frames < 10


async def test_a_zone_that_is_merely_busy_is_answered_and_shown_as_it_is_stored(process):
    await process.post(HOT)
    slot = process.cache.peek(TENANT, LAB)
    slot.waiting += WAITING_FOR_ONE_ZONE_MAX
    assert told(await process.post(HOT)) == RUNS_ON
    assert process.cache.unstored() == []
    assert not process.away
    slot.waiting -= WAITING_FOR_ONE_ZONE_MAX
    assert (await process.post(HOT)).stored


async def test_where_memory_is_full_a_zone_more_is_off(site, process):
    await process.post(HOT)
    await process.post(HOT, device_id="attic")
    process.cache._slots.pop((TENANT, "attic"))
    await site.lose()
    fillers = {
        ("tenant", str(number)): process.cache.peek(TENANT, LAB) for number in range(ZONES_MAX)
    }
    process.cache._slots |= fillers
    assert told(await process.post(HOT, device_id="attic")) == OFF
    assert process.cache.peek(TENANT, "attic") is None
    for key in fillers:
        del process.cache._slots[key]


async def test_all_who_wait_are_answered_as_soon_as_one_of_them_loses_the_store(process, hanging):
    names = [LAB] * 20 + [f"other {number}" for number in range(20)]
    posts = [asyncio.create_task(process.post(HOT, device_id=name)) for name in names]
    await asyncio.wait(posts, timeout=2)
    assert process.away
    assert [told(post.result()) for post in posts] == [RUNS_ON] * 20 + [OFF] * 20
    began = time.monotonic()
    assert told(await process.post(HOT)) == RUNS_ON
    assert time.monotonic() - began < AT_ONCE_S


async def test_several_slow_answers_together_are_not_waited_for(process, monkeypatch):
    monkeypatch.setattr(store_watch, "LOOK_S", 0.01)
    monkeypatch.setattr("server.routes.device_posts.WAIT_S", 0.2)
    await process.post(HOT)
    process.cache.doubt_all()
    process.cache.forget_settings(TENANT)
    steps = process.store._pass

    async def slowly(collection=""):
        await asyncio.sleep(0.15)
        await steps(collection)

    process.store._pass = slowly
    began = time.monotonic()
    assert not (await process.post(HOT, seq=3)).stored
    # Each of them is waited for, but not all of them together: device, zone, settings.
    assert time.monotonic() - began < 0.15 + 0.2 + AT_ONCE_S
    assert process.away


async def test_a_zone_that_an_operators_change_holds_is_not_waited_for(
    process, hanging, monkeypatch
):
    monkeypatch.setattr(batch_service, "LOCK_WAIT_S", 0.05)
    change = SetpointChange(setpoint_tenths=250)
    changing = asyncio.create_task(process.control.setpoints.set(TENANT, LAB, change, "op", "here"))
    await eventually(process.cache.peek(TENANT, LAB).lock.locked, "it holds the zone")
    began = time.monotonic()
    assert told(await process.post(HOT)) == RUNS_ON
    assert time.monotonic() - began < 0.05 + AT_ONCE_S
    assert not process.away
    hanging.set()
    await changing


async def test_a_caller_who_goes_away_is_not_taken_for_a_lost_store(process, hanging):
    post = asyncio.create_task(process.post(HOT))
    await eventually(lambda: process.store.calls, "it waits")
    post.cancel()
    with pytest.raises(asyncio.CancelledError):
        await post


async def test_the_log_has_few_lines_however_many_post(site, process, caplog):
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


async def test_a_key_that_names_nobody_is_answered_like_anyone_new(site, process):
    await site.lose()
    command = await process.posts.one(Sender("bas_unknown"), row())
    assert told(command) == OFF
