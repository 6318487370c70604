"""Each refusal that names a device is passed on, with its tenant, its device and its code."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress

import pytest

from server.auth.principal import Principal
from server.common.errors import BasError, Unauthenticated
from server.control.rules.posted_body import Posted
from server.routes.sender import RepeatKey, Sender
from tests.support.unreliable import Site, refused

ELSEWHERE = Principal("olga", "operator", "elsewhere")
READER = Principal("rita", "read-only", "elsewhere")


@pytest.fixture
async def process(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield await Site(tmp_path / "bas.db", clock, resources).start()


def row(device_id=None, **more):
    return Posted(temp_tenths=300, sensor_ok=True, device_id=device_id, **more)


@pytest.mark.parametrize(
    ("sender", "name", "expected"),
    [
        (Sender("wrong"), "lab", ("default", "lab", "INVALID_DEVICE_KEY")),
        (Sender(None), "keyed", ("default", "keyed", "DEVICE_KEY_REQUIRED")),
        (Sender(None, READER), "lab", ("elsewhere", "lab", "PERMISSION_DENIED")),
        (Sender(None, Unauthenticated()), "lab", ("default", "lab", "SESSION_INVALID")),
    ],
)
async def test_a_refusal_is_passed_on_with_tenant_device_and_code(process, sender, name, expected):
    await process.new_key("default", "keyed")
    await refused(process.posts.one(sender, row(name)))
    assert process.refused == [expected]
    with suppress(BasError):  # a single refused row raises nothing
        await process.posts.many(sender, [row(name)], RepeatKey())
    assert process.refused == [expected, expected]


async def test_a_device_that_differs_from_its_key_is_passed_on_in_the_key_s_tenant(process):
    key = await process.new_key("elsewhere", "roof")
    await refused(process.posts.one(Sender(key), row("lab")))
    await process.posts.many(Sender(key), [row("lab"), row("roof")], RepeatKey())
    assert process.refused == [("elsewhere", "lab", "DEVICE_MISMATCH")] * 2


async def test_a_refusal_of_a_device_identified_by_its_key_is_passed_on_with_its_name(process):
    key = await process.new_key("elsewhere", "roof")
    await process.posts.one(Sender(key), row(key="k"))
    again = Posted(temp_tenths=301, sensor_ok=True, key="k")
    await refused(process.posts.one(Sender(key), again))
    await process.posts.many(Sender(key), [again], RepeatKey())
    assert process.refused == [("elsewhere", "roof", "IDEMPOTENCY_KEY_REUSED")] * 2


async def test_a_refusal_without_name_and_key_is_passed_on_for_the_unknown_device(process):
    await process.new_key("default", "unknown")
    await refused(process.posts.one(Sender(), row()))
    assert process.refused == [("default", "unknown", "DEVICE_KEY_REQUIRED")]


async def test_a_refusal_of_a_whole_batch_is_passed_on_once_for_each_device(process):
    rows = [row("lab"), row("attic"), row("lab")]
    await refused(process.posts.many(Sender("wrong"), rows, RepeatKey()))
    assert process.refused == [
        ("default", "lab", "INVALID_DEVICE_KEY"),
        ("default", "attic", "INVALID_DEVICE_KEY"),
    ]


async def test_an_accepted_post_and_a_refusal_without_a_device_are_not_passed_on(process):
    await process.posts.one(Sender(), row("lab"))
    await refused(process.posts.one(Sender("wrong"), row()))
    await refused(process.posts.one(Sender(), Posted(device_id=7)))
    assert process.refused == []


async def test_a_store_that_is_away_is_not_passed_on_as_a_refusal(process):
    process.lose(reads=False)
    for device_key in (None, "wrong"):
        repeat = RepeatKey("k")
        error = await refused(process.posts.one(Sender(device_key), row("lab"), repeat))
        assert error.code == "STORE_UNAVAILABLE"
    assert process.refused == []
