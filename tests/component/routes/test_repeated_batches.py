"""A repeated batch is stored once, recognised by its rows' keys, by its own key, or by `seq`."""

from __future__ import annotations

import asyncio

import pytest

from server.services.sse_service.stream_request import StreamRequest
from tests.support.http import Caller, reading, served, stored

PATH = "/api/sensor_data/batch"
KEY = "Idempotency-Key"


@pytest.fixture
def gateway(container):
    return Caller(container.app)


def rows(**more):
    return [reading(200 + number, device_id=f"d{number % 3}", **more) for number in range(12)]


def keyed():
    return [row | {"key": f"k{number}"} for number, row in enumerate(rows())]


KINDS = [(keyed(), {}), (rows(), {KEY: "b-1"}), (rows(seq=7), {})]


@pytest.mark.parametrize(("batch", "headers"), KINDS)
async def test_a_repeated_batch_is_stored_once_and_gets_the_same_answer(
    gateway, container, batch, headers
):
    first = await gateway.post(PATH, batch, headers=headers)
    second = await gateway.post(PATH, batch, headers=headers)
    assert (first.status, first.json()["accepted"]) == (200, 12)
    assert second.json() == first.json()
    assert len(await stored(container)) == 12


@pytest.mark.parametrize(("batch", "headers"), KINDS)
async def test_simultaneous_repeats_are_stored_once(gateway, container, batch, headers):
    answers = await asyncio.gather(*(gateway.post(PATH, batch, headers=headers) for _ in range(10)))
    assert {(one.status, one.json()["accepted"]) for one in answers} == {(200, 12)}
    assert len(await stored(container)) == 12


@pytest.mark.parametrize(("batch", "headers"), KINDS)
async def test_a_repeat_is_recognised_after_a_restart(config, clock, batch, headers):
    for _ in range(2):
        async with served(config, clock) as container:
            answer = await Caller(container.app).post(PATH, batch, headers=headers)
            assert answer.json()["accepted"] == 12
            assert len(await stored(container)) == 12


async def test_new_rows_of_a_repeated_batch_are_stored(gateway, container):
    await gateway.post(PATH, keyed()[:5])
    answer = await gateway.post(PATH, keyed())
    assert answer.json()["accepted"] == 12
    assert sorted(one.temp_tenths for one in await stored(container)) == list(range(200, 212))


async def test_rows_without_seq_or_key_are_stored_each_time(gateway, container):
    for _ in range(2):
        await gateway.post(PATH, rows())
    assert len(await stored(container)) == 24


async def test_a_key_twice_in_one_batch_is_stored_once_or_refused_with_another_reading(
    gateway, container
):
    batch = [reading(250, key="k"), reading(250, key="k"), reading(251, key="k")]
    answer = await gateway.post(PATH, batch)
    assert answer.json()["accepted"] == 2
    assert [(one["index"], one["code"]) for one in answer.json()["errors"]] == [
        (2, "IDEMPOTENCY_KEY_REUSED")
    ]
    assert [one.temp_tenths for one in await stored(container)] == [250]


async def test_a_key_that_was_used_for_another_reading_is_refused_and_switches_nothing(
    gateway, container
):
    await gateway.post(PATH, [reading(200, key="k")])
    answer = await gateway.post(PATH, [reading(300, key="k"), reading(201)])
    assert [one["code"] for one in answer.json()["errors"]] == ["IDEMPOTENCY_KEY_REUSED"]
    assert answer.json()["commands"][0]["cool_active"] is False
    assert sorted(one.temp_tenths for one in await stored(container)) == [200, 201]


async def test_a_key_of_a_row_and_of_a_single_post_s_header_are_the_same_key(gateway, container):
    await gateway.post(PATH, [reading(250, key="k")])
    answer = await gateway.post("/api/sensor_data", reading(250), headers={KEY: "k"})
    assert answer.status == 200
    assert len(await stored(container)) == 1


async def test_a_key_of_a_batch_identifies_each_row_by_its_index(gateway, container):
    batch = [reading(250), reading(250)]
    await gateway.post(PATH, batch, headers={KEY: "b"})
    await gateway.post(PATH, batch, headers={KEY: "b"})
    await gateway.post(PATH, batch, headers={KEY: "c"})
    assert len(await stored(container)) == 4


async def test_a_batch_s_key_of_256_characters_is_ignored_and_the_answer_says_so(
    gateway, container
):
    """Section 6, an `Idempotency-Key` of the wrong length."""
    for count in (12, 24):
        answer = await gateway.post(PATH, rows(), headers={KEY: "k" * 256})
        assert (answer.status, answer.json()["accepted"]) == (200, 12)
        assert answer.json()["key"] == "ignored"
        assert len(await stored(container)) == count


async def test_an_invalid_key_of_a_row_is_ignored_for_that_row_only(gateway, container):
    answer = await gateway.post(PATH, [reading(250, key=7), reading(251, key="k")])
    assert answer.json()["accepted"] == 2
    assert "key" not in answer.json()
    await gateway.post(PATH, [reading(250, key=7), reading(251, key="k")])
    assert sorted(one.temp_tenths for one in await stored(container)) == [250, 250, 251]


async def test_a_late_repeat_switches_nothing_and_gets_the_command_in_force(gateway, clock):
    await gateway.post(PATH, [reading(300, key="old")])
    clock.advance(20)
    await gateway.post(PATH, [reading(200)])
    answer = await gateway.post(PATH, [reading(300, key="old")])
    assert answer.json()["commands"][0]["cool_active"] is False
    assert (await gateway.get("/api/status")).json()["temp_tenths"] == 200


@pytest.mark.parametrize(("batch", "headers"), KINDS)
async def test_a_reading_stored_but_not_announced_is_announced_at_its_repeat(
    config, clock, batch, headers
):
    async with served(config, clock) as container:
        await Caller(container.app).post(PATH, batch, headers=headers)
    async with served(config, clock) as container:
        stream = await container.sse.subscribe(StreamRequest("default"))
        for _ in range(2):
            await Caller(container.app).post(PATH, batch, headers=headers)
        await Caller(container.app).post("/api/sensor_data", reading(999))
        text = b""
        async with asyncio.timeout(60):
            while b'"temp_tenths":999' not in text:
                text += await anext(stream)
        stream.close()
        assert [text.count(b'"temp_tenths":%d' % temp) for temp in range(200, 212)] == [1] * 12


@pytest.mark.parametrize(
    ("batch", "headers"),
    [
        ([reading(250), reading(250)], {KEY: "b"}),
        ([reading(250, key="a"), reading(250, key="b")], {}),
    ],
)
async def test_equal_readings_with_different_keys_are_each_announced(
    gateway, container, batch, headers
):
    stream = await container.sse.subscribe(StreamRequest("default"))
    await gateway.post(PATH, batch, headers=headers)
    await gateway.post("/api/sensor_data", reading(999))
    text = b""
    async with asyncio.timeout(60):
        while b'"temp_tenths":999' not in text:
            text += await anext(stream)
    stream.close()
    assert text.count(b'"temp_tenths":250') == 2
