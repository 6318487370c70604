"""An address with more than 30 wrong device keys a minute must wait; a right key is accepted."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from server.auth import wrong_keys
from server.auth.wrong_keys import LOOK_UPS_MAX, WRONG_KEYS_MAX, WrongKeys
from server.common.errors import BasError
from server.control.rules.posted_body import Posted
from server.routes.sender import RepeatKey
from server.routes.sender import Sender as From
from server.services.ports.documents import StoreBusy
from tests.support.clock import ManualClock
from tests.support.http import ADDRESS, Caller, reading, served
from tests.support.paths import BATCH, PATHS, SINGLE, Sender
from tests.support.unreliable import Site, refused

LAB = '{"temp_tenths": 300, "sensor_ok": true, "device_id": "lab"}'
OTHER = "198.51.100.7"


async def try_wrong_keys(container, count=WRONG_KEYS_MAX, address=ADDRESS, path=SINGLE):
    """The statuses of `count` posts, each with another wrong key."""
    caller, body = Caller(container.app, address), reading(device_id="lab")
    statuses = []
    for number in range(count):
        headers = {"X-Device-Key": f"wrong {number}"}
        sent = body if path == SINGLE else [body]
        statuses.append((await caller.post(path, sent, headers=headers)).status)
    return statuses


@pytest.mark.parametrize("path", PATHS)
async def test_the_31st_wrong_key_in_a_minute_is_refused_with_a_retry_after(
    container, port, clock, path
):
    sender = Sender(container, port, path, "wrong")
    for _ in range(30):
        answer = await sender.post(LAB)
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_DEVICE_KEY")
    clock.advance(12.5)
    answer = await sender.post(LAB)
    assert (answer.status, answer.json()["code"]) == (429, "RATE_LIMITED")
    assert answer.headers["Retry-After"] == "48"
    clock.advance(47.5)
    assert (await sender.post(LAB)).status == 401


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("seen", [False, True])
async def test_a_right_key_from_an_address_with_many_wrong_keys_gets_its_command(
    container, port, clock, path, seen
):
    key = await container.base.admin.register_device("default", "lab")
    right, wrong = (Sender(container, port, path, one) for one in (key, "wrong"))
    if seen:
        await right.commanded(LAB)
    for _ in range(40):
        await wrong.post(LAB)
    assert (await wrong.post(LAB)).status == 429
    for body in (LAB, '{"temp_tenths": 300, "sensor_ok": true}'):
        clock.advance(1)
        assert (await right.commanded(body))["cool_active"] is True
    assert (await wrong.post(LAB)).status == 429


@pytest.mark.parametrize("path", PATHS)
async def test_an_unreadable_post_with_a_right_key_is_a_fault_at_such_an_address_too(
    container, port, path
):
    key = await container.base.admin.register_device("default", "lab")
    for _ in range(40):
        await Sender(container, port, path, "wrong").post(LAB)
    command = await Sender(container, port, path, key).commanded('{"temp_tenths": [,}')
    assert (command["cool_active"], command["heat_active"]) == (False, False)


async def test_a_right_key_at_such_an_address_still_gets_the_other_errors_of_its_post(container):
    key = await container.base.admin.register_device("default", "roof")
    await try_wrong_keys(container, 40)
    caller = Caller(container.app, headers={"X-Device-Key": key})
    answer = await caller.post(SINGLE, reading(device_id="lab"))
    assert (answer.status, answer.json()["code"]) == (403, "DEVICE_MISMATCH")


async def test_a_device_without_a_key_is_not_delayed(container):
    await try_wrong_keys(container, 40)
    assert (await Caller(container.app).post(SINGLE, reading(device_id="attic"))).status == 200


async def test_a_replaced_key_counts_as_a_wrong_key(container):
    old = await container.base.admin.register_device("default", "lab")
    caller = Caller(container.app, headers={"X-Device-Key": old})
    assert (await caller.post(SINGLE, reading())).status == 200
    await container.base.admin.register_device("default", "lab")
    answers = [(await caller.post(SINGLE, reading())).status for _ in range(32)]
    assert answers == [401] * 30 + [429] * 2


async def test_single_posts_and_batches_count_together(container):
    assert await try_wrong_keys(container, 15) == [401] * 15
    assert await try_wrong_keys(container, 16, path=BATCH) == [401] * 15 + [429]
    assert await try_wrong_keys(container, 1) == [429]


async def test_another_address_is_not_delayed(container):
    assert (await try_wrong_keys(container, 31))[-1] == 429
    assert await try_wrong_keys(container, 30, OTHER) == [401] * 30


async def test_the_addresses_of_one_internet_subscriber_are_counted_together(container):
    await try_wrong_keys(container, 30, "2001:db8::1")
    assert await try_wrong_keys(container, 1, "2001:db8::ffff:2") == [429]
    assert await try_wrong_keys(container, 1, "2001:db8:0:1::1") == [401]


async def test_right_keys_do_not_count(container):
    key = await container.base.admin.register_device("default", "lab")
    caller = Caller(container.app, headers={"X-Device-Key": key})
    for _ in range(40):
        assert (await caller.post(SINGLE, reading())).status == 200
    assert await try_wrong_keys(container, 1) == [401]


async def test_with_device_auth_off_no_key_counts_as_wrong(config, clock):
    async with served(config, clock, device_auth="off") as container:
        assert await try_wrong_keys(container, 40) == [200] * 40


async def test_keys_that_are_refused_unchecked_are_counted_under_rate_limited(container):
    await try_wrong_keys(container, 50)
    sample = container.base.metrics.registry.get_sample_value
    refusals = {
        code: sample("bas_readings_refused_total", {"route": SINGLE, "code": code})
        for code in ("INVALID_DEVICE_KEY", "RATE_LIMITED")
    }
    assert refusals == {"INVALID_DEVICE_KEY": 30, "RATE_LIMITED": 20}


@pytest.fixture
async def process(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield await Site(tmp_path / "bas.db", clock, resources).start()


def row(device_id=None):
    return Posted(temp_tenths=300, sensor_ok=True, device_id=device_id)


async def test_an_unknown_key_waits_for_the_look_ups_of_its_address_and_a_known_key_does_not(
    process, monkeypatch
):
    monkeypatch.setattr(wrong_keys, "LOOK_UP_WAIT_S", 0.01)
    known, new = [
        From(await process.new_key("default", name), None, None, ADDRESS)
        for name in ("known", "new")
    ]
    wrong = From("wrong", None, None, ADDRESS)
    assert (await process.posts.one(known, row())).stored
    for _ in range(WRONG_KEYS_MAX):
        await refused(process.posts.one(wrong, row()))
    async with AsyncExitStack() as taken:
        for _ in range(LOOK_UPS_MAX):
            await taken.enter_async_context(process.keys._wrong_keys.turn(ADDRESS))
        calls = process.store.calls
        # It is unknown whether these keys are right: the relays are off, as without a store.
        for sender in (wrong, new):
            command = await process.posts.one(sender, row())
            assert (command.cool_active, command.stored) == (False, False)
        assert process.store.calls == calls
        process.clock.advance(20)
        command = await process.posts.one(known, row())
        assert (command.cool_active, command.stored) == (True, True)
        count, answer = await process.posts.many(known, [row("known"), row()], RepeatKey())
        assert (count, answer.errors) == (2, {})
        elsewhere = From("wrong", None, None, OTHER)
        assert (await refused(process.posts.one(elsewhere, row()))).code == "INVALID_DEVICE_KEY"
    assert (await process.posts.one(new, row())).stored
    assert (await refused(process.posts.one(wrong, row()))).code == "RATE_LIMITED"
    assert not process.away


async def test_a_store_that_is_lost_while_a_key_waits_is_not_asked(process):
    wrong = From("wrong", None, None, ADDRESS)
    for _ in range(WRONG_KEYS_MAX):
        await refused(process.posts.one(wrong, row()))
    async with AsyncExitStack() as taken:
        for _ in range(LOOK_UPS_MAX):
            await taken.enter_async_context(process.keys._wrong_keys.turn(ADDRESS))
        waiting = asyncio.create_task(process.posts.one(wrong, row()))
        await asyncio.wait({waiting}, timeout=0.05)
        process.lose(reads=False)
        await process.stores.watch.check()
        calls = process.store.calls
    command = await waiting
    assert (command.cool_active, command.stored) == (False, False)
    assert process.store.calls == calls


async def test_the_simultaneous_look_ups_of_one_address_are_bounded():
    keys, go, inside, most = WrongKeys(ManualClock()), asyncio.Event(), set(), []

    async def look_up(number):
        async with keys.turn(f"2001:db8::{number:x}"):
            inside.add(number)
            most.append(len(inside))
            await go.wait()
            inside.remove(number)

    tasks = [asyncio.create_task(look_up(number)) for number in range(50)]
    async with keys.turn(OTHER):
        await asyncio.wait(tasks, timeout=0.05)
        assert len(inside) == LOOK_UPS_MAX
    go.set()
    await asyncio.gather(*tasks)
    assert max(most) == LOOK_UPS_MAX
    assert len(keys._look_ups) == 0


async def test_a_caller_that_stops_waiting_leaves_no_entry_behind(monkeypatch):
    monkeypatch.setattr(wrong_keys, "LOOK_UP_WAIT_S", 0.01)
    keys = WrongKeys(ManualClock())
    async with AsyncExitStack() as taken:
        for _ in range(LOOK_UPS_MAX):
            await taken.enter_async_context(keys.turn(ADDRESS))
        with pytest.raises(StoreBusy):
            await taken.enter_async_context(keys.turn(ADDRESS))
    assert len(keys._look_ups) == 0
    with pytest.raises(BasError):
        async with keys.turn(ADDRESS):
            raise BasError
    assert len(keys._look_ups) == 0


def test_the_number_of_remembered_addresses_is_bounded_and_old_ones_are_dropped():
    clock = ManualClock()
    keys = WrongKeys(clock)
    for number in range(3 * wrong_keys.ADDRESSES_MAX):
        keys.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(keys._counts) == wrong_keys.ADDRESSES_MAX
    clock.advance(wrong_keys.WRONG_KEYS_S)
    keys.count(ADDRESS)
    assert list(keys._counts) == [ADDRESS]
