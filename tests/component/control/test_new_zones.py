"""One address makes few new zones in an hour; devices whose zone exists are always answered."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading, served

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
HERE, THERE = "198.51.100.7", "203.0.113.9"
GOOD, LIMITED = (200, None), (429, "NEW_ZONES_LIMITED")


@pytest.fixture
async def site(config, clock):
    async with served(config, clock, new_zones_per_hour=2) as container:
        yield container


async def posted(caller, device_id):
    answer = await caller.post(SINGLE, reading(device_id=device_id))
    return answer.status, answer.json().get("code")


async def test_an_address_beyond_its_new_zones_is_refused_and_its_known_devices_are_answered(
    site, clock
):
    here = Caller(site.app, HERE)
    assert [await posted(here, name) for name in ("a", "b", "c")] == [GOOD, GOOD, LIMITED]
    clock.advance(1)
    assert [await posted(here, name) for name in ("a", "b", "c")] == [GOOD, GOOD, LIMITED]
    assert await posted(Caller(site.app, THERE), "c") == GOOD
    assert await posted(here, "c") == GOOD


async def test_a_refusal_says_when_the_address_may_make_a_zone_again(site, clock):
    here = Caller(site.app, HERE)
    await posted(here, "a")
    clock.advance(600)
    await posted(here, "b")
    answer = await here.post(SINGLE, reading(device_id="c"))
    assert answer.headers["Retry-After"] == "3000"
    clock.advance(3000)
    assert [await posted(here, name) for name in ("c", "d")] == [GOOD, LIMITED]


async def test_a_batch_stores_the_rows_of_known_zones_and_refuses_the_others(site):
    rows = [reading(device_id=name) for name in ("a", "b", "c", "d")]
    for _ in range(2):
        answer = (await Caller(site.app, HERE).post(BATCH, rows)).json()
        assert answer["accepted"] == 2
        assert [one["code"] for one in answer["errors"]] == ["NEW_ZONES_LIMITED"] * 2
        rows = [one | {"temp_tenths": 240} for one in rows]


async def test_registered_devices_this_machine_and_users_may_make_more_zones(site):
    here = Caller(site.app, HERE)
    await site.base.stores.devices.register_device("default", "known")
    names = ["a", "b", "known"]
    assert [await posted(here, name) for name in names] == [GOOD] * 3
    local, user = Caller(site.app, "127.0.0.1"), await logged_in(site, "operator", address=HERE)
    for caller, kind in ((local, "local"), (user, "user")):
        assert [await posted(caller, f"{kind} {n}") for n in range(3)] == [GOOD] * 3


async def test_the_refusals_are_counted(site):
    here = Caller(site.app, HERE)
    for name in ("a", "b", "c"):
        await posted(here, name)
    labels = {"route": SINGLE, "code": "NEW_ZONES_LIMITED"}
    assert site.base.metrics.readings_refused.labels(**labels)._value.get() == 1
