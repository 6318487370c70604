"""A repeated post is stored once, recognised by its `seq` or Idempotency-Key."""

from __future__ import annotations

import asyncio

import pytest

from server.services.sse_service.stream_request import StreamRequest
from tests.support.http import Caller, reading, served, stored

KEY = "Idempotency-Key"


@pytest.fixture
def device(container):
    return Caller(container.app)


async def post(device, body, key=None):
    headers = {} if key is None else {KEY: key}
    return await device.post("/api/sensor_data", body, headers=headers)


@pytest.mark.parametrize(("body", "key"), [(reading(250, seq=7), None), (reading(250), "k-1")])
async def test_a_repeated_post_is_stored_once_and_gets_the_same_answer(
    device, container, body, key
):
    first = await post(device, body, key)
    second = await post(device, body, key)
    assert (first.status, second.status) == (200, 200)
    assert second.json() == first.json()
    assert len(await stored(container)) == 1


async def test_posts_without_seq_or_key_are_all_stored(device, container):
    for _ in range(2):
        await post(device, reading(250))
    assert len(await stored(container)) == 2


async def test_many_simultaneous_repeats_are_stored_once(device, container):
    answers = await asyncio.gather(*(post(device, reading(250), "k-1") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len(await stored(container)) == 1


@pytest.mark.parametrize("key", [None, "k-1"])
async def test_a_repeat_is_recognised_after_a_restart(config, clock, key):
    body = reading(250, seq=7)
    async with served(config, clock) as container:
        first = await post(Caller(container.app), body, key)
    async with served(config, clock) as container:
        second = await post(Caller(container.app), body, key)
        assert second.json() == first.json()
        assert len(await stored(container)) == 1


async def test_a_key_that_was_used_for_another_reading_is_refused(device, container):
    await post(device, reading(250), "k-1")
    answer = await post(device, reading(251), "k-1")
    assert (answer.status, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert [kept.temp_tenths for kept in await stored(container)] == [250]


async def test_a_refused_key_changes_no_relay(device):
    await post(device, reading(200), "k-1")
    await post(device, reading(300), "k-1")
    assert (await device.get("/api/status")).json()["cool_active"] is False


async def test_the_same_key_of_another_device_is_another_post(device, container):
    for name in ("one", "two"):
        assert (await post(device, reading(250, device_id=name), "k-1")).status == 200
    assert len(await stored(container)) == 2


async def test_the_same_key_of_another_tenant_is_another_post(device, container):
    other_key = await container.base.admin.register_device("elsewhere", "lab")
    await post(device, reading(250, device_id="lab"), "k-1")
    device.headers["X-Device-Key"] = other_key
    assert (await post(device, reading(260, device_id="lab"), "k-1")).status == 200
    assert [kept.temp_tenths for kept in await stored(container, "elsewhere")] == [260]


async def test_the_same_seq_with_another_temperature_is_another_reading(device, container):
    for temp in (250, 251):
        assert (await post(device, reading(temp, seq=7))).status == 200
    assert len(await stored(container)) == 2


async def test_a_seq_counts_as_repeated_for_ten_minutes(device, container, clock):
    await post(device, reading(250, seq=7))
    clock.advance(599.999)
    await post(device, reading(250, seq=7))
    assert len(await stored(container)) == 1


async def test_a_reused_seq_of_a_rebooted_device_is_stored_after_ten_minutes(
    device, container, clock
):
    await post(device, reading(250, seq=7))
    clock.advance(600)
    await post(device, reading(250, seq=7))
    assert len(await stored(container)) == 2


async def test_repeats_of_a_rebooted_device_are_stored_once_more(device, container, clock):
    await post(device, reading(250, seq=7))
    clock.advance(600)
    for _ in range(3):
        await post(device, reading(250, seq=7))
    assert len(await stored(container)) == 2


async def test_a_repeat_gets_the_current_command_of_its_zone(device, clock):
    await post(device, reading(250))
    await post(device, reading(200, seq=1))
    clock.advance(10)
    command = (await post(device, reading(200, seq=1))).json()
    assert command["cool_active"] is False


async def test_a_late_repeat_of_an_old_reading_switches_nothing(device, clock):
    await post(device, reading(300), "old")
    clock.advance(20)
    assert (await post(device, reading(200))).json()["cool_active"] is False
    clock.advance(20)
    await post(device, reading(300), "old")
    status = (await device.get("/api/status")).json()
    assert (status["temp_tenths"], status["cool_active"]) == (200, False)


async def test_a_fault_under_a_used_key_cuts_and_is_stored_once(device, container, clock):
    """Section 6, a fault under a used key: a device that repeats it may mean it."""
    await post(device, reading(300, sensor_ok=False), "fault")
    clock.advance(20)
    assert (await post(device, reading(200))).json()["heat_active"] is True
    answer = await post(device, reading(300, sensor_ok=False), "fault")
    assert (answer.status, answer.json()["heat_active"]) == (200, False)
    status = (await device.get("/api/status")).json()
    assert (status["state"], status["sensor_ok"]) == ("FAULT", False)
    assert len(await stored(container)) == 2


async def test_a_fault_under_the_key_of_another_reading_cuts_and_is_not_refused(
    device, container, clock
):
    await post(device, reading(300), "k-1")
    clock.advance(20)
    answer = await post(device, reading(None, sensor_ok=False), "k-1")
    assert answer.status == 200
    assert (answer.json()["cool_active"], answer.json()["heat_active"]) == (False, False)
    assert (await device.get("/api/status")).json()["state"] == "FAULT"
    assert [kept.temp_tenths for kept in await stored(container)] == [300]


async def test_a_fault_under_a_used_seq_cuts(device, container, clock):
    # A restarted device counts from the start: its fault must not pass for an old one.
    await post(device, reading(300, sensor_ok=False, seq=1))
    clock.advance(20)
    await post(device, reading(300, seq=2))
    command = (await post(device, reading(300, sensor_ok=False, seq=1))).json()
    assert (command["cool_active"], command["heat_active"]) == (False, False)
    status = (await device.get("/api/status")).json()
    assert (status["state"], status["sensor_ok"]) == ("FAULT", False)
    assert len(await stored(container)) == 2


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_empty_and_a_too_long_key_are_ignored_and_the_answer_says_so(
    device, container, key
):
    """Section 6, an `Idempotency-Key` of the wrong length: the reading is used and stored."""
    for count in (1, 2):
        answer = await post(device, reading(300), key)
        assert (answer.status, answer.json()["cool_active"]) == (200, True)
        assert answer.json()["key"] == "ignored"
        assert len(await stored(container)) == count


async def test_a_key_of_255_characters_is_accepted(device, container):
    assert (await post(device, reading(), "k" * 255)).status == 200
    assert len(await stored(container)) == 1


@pytest.mark.parametrize("key", [None, "k-1"])
async def test_a_reading_whose_server_ended_before_its_announcement_is_announced_at_its_repeat(
    config, clock, key
):
    """One server stores the reading and ends before it announces it; the next gets the repeat."""
    async with served(config, clock) as container:
        await post(Caller(container.app), reading(250, seq=7), key)
    async with served(config, clock) as container:
        stream = await container.sse.subscribe(StreamRequest("default"))
        for _ in range(3):
            await post(Caller(container.app), reading(250, seq=7), key)
        await post(Caller(container.app), reading(222))
        text = b""
        async with asyncio.timeout(60):
            while b'"temp_tenths":222' not in text:
                text += await anext(stream)
        stream.close()
        assert text.count(b'"temp_tenths":250') == 1


async def test_a_late_repeat_is_not_announced(config, clock):
    async with served(config, clock) as container:
        await post(Caller(container.app), reading(250), "k-1")
    clock.advance(3600)
    async with served(config, clock) as container:
        stream = await container.sse.subscribe(StreamRequest("default"))
        await post(Caller(container.app), reading(250), "k-1")
        await post(Caller(container.app), reading(222))
        text = b""
        async with asyncio.timeout(60):
            while b'"temp_tenths":222' not in text:
                text += await anext(stream)
        stream.close()
        assert b'"temp_tenths":250' not in text


async def test_a_repeat_with_a_key_gets_the_state_that_another_server_has_switched_since(
    config, clock
):
    async with served(config, clock) as one, served(config, clock) as other:
        first = await post(Caller(one.app), reading(300), "k-1")
        assert first.json()["cool_active"] is True
        clock.advance(11)
        assert (await post(Caller(other.app), reading(200))).json()["cool_active"] is False
        assert (await post(Caller(one.app), reading(300), "k-1")).json()["cool_active"] is False
