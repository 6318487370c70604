"""Posts beyond the number that an address may send in a second: no known device is refused."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, reading, served, stored

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
HERE = "198.51.100.7"
COLD, HOT = 200, 300


@pytest.fixture
async def site(config, clock):
    async with served(config, clock, posts_per_second=3) as container:
        yield container


async def post(site, device_id="lab", temp_tenths=HOT, **more):
    body = reading(temp_tenths, device_id=device_id, **more)
    return await Caller(site.app, HERE).post(SINGLE, body)


async def flood(site, device_id="lab", temp_tenths=HOT):
    """Use up what the address may post in this second."""
    for _ in range(3):
        assert (await post(site, device_id, temp_tenths)).status == 200


async def test_a_zone_that_just_posted_gets_the_command_in_force_and_nothing_is_stored(site):
    await flood(site)
    before = len(await stored(site))
    answer = await post(site)
    command = answer.json()
    assert (answer.status, command["cool_active"], command["stored"]) == (200, True, False)
    assert len(await stored(site)) == before
    assert site.base.metrics.posts_limited._value.get() == 1


async def test_nothing_is_switched_on_beyond_the_limit(site, clock):
    await flood(site, temp_tenths=COLD)
    answer = (await post(site, temp_tenths=HOT)).json()
    assert (answer["cool_active"], answer["stored"]) == (False, False)


async def test_a_fault_beyond_the_limit_switches_off_and_is_stored(site):
    await flood(site)
    answer = (await post(site, sensor_ok=False)).json()
    assert (answer["cool_active"], answer["heat_active"]) == (False, False)
    assert "stored" not in answer
    assert [one.sensor_ok for one in await stored(site)].count(False) == 1


async def test_a_device_that_posts_every_second_is_stored_whatever_else_its_address_sends(
    site, clock
):
    await post(site, "quiet")
    for _ in range(3):
        clock.advance(1)
        await flood(site)
        assert "stored" not in (await post(site, "quiet")).json()


async def test_a_new_zone_beyond_the_limit_is_refused_with_429(site, clock):
    await flood(site)
    answer = await post(site, "new")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    clock.advance(1)
    assert (await post(site, "new")).status == 200


async def test_a_batch_beyond_the_limit_makes_no_zone_and_its_other_rows_are_stored(site):
    await flood(site)
    rows = [reading(device_id=name) for name in ("lab", "lab", "new", "other")]
    answer = (await Caller(site.app, HERE).post(BATCH, rows)).json()
    assert answer["accepted"] == 2
    assert [one["code"] for one in answer["errors"]] == ["RATE_LIMITED"] * 2
