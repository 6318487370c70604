"""A batch that is sent again stores nothing twice, by the keys of its rows, its own, or `seq`."""

from __future__ import annotations

import asyncio

import pytest

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
async def test_a_repeated_batch_is_stored_once_and_answered_the_same(
    gateway, container, batch, headers
):
    first = await gateway.post(PATH, batch, headers=headers)
    second = await gateway.post(PATH, batch, headers=headers)
    assert (first.status, first.json()["accepted"]) == (200, 12)
    assert second.json() == first.json()
    assert len(await stored(container)) == 12


@pytest.mark.parametrize(("batch", "headers"), KINDS)
async def test_repeats_at_once_are_stored_once(gateway, container, batch, headers):
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


async def test_what_is_new_in_a_repeated_batch_is_stored(gateway, container):
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


async def test_a_key_that_came_with_another_reading_is_refused_and_switches_nothing(
    gateway, container
):
    await gateway.post(PATH, [reading(200, key="k")])
    answer = await gateway.post(PATH, [reading(300, key="k"), reading(201)])
    assert [one["code"] for one in answer.json()["errors"]] == ["IDEMPOTENCY_KEY_REUSED"]
    assert answer.json()["commands"][0]["cool_active"] is False
    assert sorted(one.temp_tenths for one in await stored(container)) == [200, 201]


async def test_a_rows_key_and_a_single_posts_header_are_the_same_key(gateway, container):
    await gateway.post(PATH, [reading(250, key="k")])
    answer = await gateway.post("/api/sensor_data", reading(250), headers={KEY: "k"})
    assert answer.status == 200
    assert len(await stored(container)) == 1


async def test_a_batchs_own_key_stands_for_the_place_of_each_row(gateway, container):
    batch = [reading(250), reading(250)]
    await gateway.post(PATH, batch, headers={KEY: "b"})
    await gateway.post(PATH, batch, headers={KEY: "b"})
    await gateway.post(PATH, batch, headers={KEY: "c"})
    assert len(await stored(container)) == 4


async def test_a_batchs_key_of_256_characters_is_ignored_and_that_is_said(gateway, container):
    """Section 6, an `Idempotency-Key` of the wrong length."""
    for count in (12, 24):
        answer = await gateway.post(PATH, rows(), headers={KEY: "k" * 256})
        assert (answer.status, answer.json()["accepted"]) == (200, 12)
        assert answer.json()["key"] == "ignored"
        assert len(await stored(container)) == count


async def test_a_key_that_is_none_is_ignored_in_its_own_row_alone(gateway, container):
    answer = await gateway.post(PATH, [reading(250, key=7), reading(251, key="k")])
    assert answer.json()["accepted"] == 2
    assert "key" not in answer.json()
    assert [one.source_digest is None for one in await stored(container)].count(True) == 1
    await gateway.post(PATH, [reading(251, key="k")])
    assert len(await stored(container)) == 2


async def test_a_late_repeat_switches_nothing_and_is_answered_with_what_is_in_force(gateway, clock):
    await gateway.post(PATH, [reading(300, key="old")])
    clock.advance(20)
    await gateway.post(PATH, [reading(200)])
    answer = await gateway.post(PATH, [reading(300, key="old")])
    assert answer.json()["commands"][0]["cool_active"] is False
    assert (await gateway.get("/api/status")).json()["temp_tenths"] == 200


@pytest.mark.parametrize(("batch", "headers"), KINDS)
async def test_what_was_stored_but_not_announced_is_announced_at_its_repeat(
    config, clock, batch, headers
):
    async with served(config, clock) as container:
        await Caller(container.app).post(PATH, batch, headers=headers)
    async with served(config, clock) as container:
        stream = await container.sse.subscribe("default")
        for _ in range(2):
            await Caller(container.app).post(PATH, batch, headers=headers)
        await Caller(container.app).post("/api/sensor_data", reading(999))
        text = b""
        async with asyncio.timeout(5):
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
async def test_equal_readings_with_different_keys_are_announced_each(
    gateway, container, batch, headers
):
    stream = await container.sse.subscribe("default")
    await gateway.post(PATH, batch, headers=headers)
    await gateway.post("/api/sensor_data", reading(999))
    text = b""
    async with asyncio.timeout(5):
        while b'"temp_tenths":999' not in text:
            text += await anext(stream)
    stream.close()
    assert text.count(b'"temp_tenths":250') == 2
