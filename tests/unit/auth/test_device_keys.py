"""Device keys: who must present one, and what it says about tenant and device."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading, served, stored


@pytest.fixture
async def key(container):
    return await container.base.admin.register_device("default", "lab")


async def post(container, key=None, *, bearer=False, **more):
    headers = {}
    if key is not None:
        headers = {"Authorization": f"Bearer {key}"} if bearer else {"X-Device-Key": key}
    return await Caller(container.app).post("/api/sensor_data", reading(**more), headers=headers)


@pytest.mark.parametrize("bearer", [False, True])
async def test_a_device_with_a_key_posts_with_it(container, key, bearer):
    assert (await post(container, key, bearer=bearer, device_id="lab")).status == 200
    assert [kept.device_id for kept in await stored(container)] == ["lab"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_word_bearer_may_be_written_in_any_case(container, key, scheme):
    headers = {"Authorization": f"{scheme} {key}"}
    answer = await Caller(container.app).post(
        "/api/sensor_data", reading(device_id="lab"), headers=headers
    )
    assert answer.status == 200


async def test_a_key_names_its_device_if_the_post_does_not(container, key):
    assert (await post(container, key)).status == 200
    assert [kept.device_id for kept in await stored(container)] == ["lab"]


async def test_a_key_names_its_tenant(container):
    key = await container.base.admin.register_device("elsewhere", "lab")
    assert (await post(container, key, device_id="lab")).status == 200
    assert await stored(container) == []
    assert [kept.device_id for kept in await stored(container, "elsewhere")] == ["lab"]


async def test_a_key_with_a_header_of_another_tenant_is_refused(container, key):
    headers = {"X-Device-Key": key, "X-BAS-Tenant": "elsewhere"}
    answer = await Caller(container.app).post("/api/sensor_data", reading(), headers=headers)
    assert (answer.status, answer.json()["code"]) == (403, "TENANT_ACCESS_DENIED")
    assert await stored(container) == []


async def test_a_device_with_a_key_may_not_post_without_it(container, key):
    answer = await post(container, device_id="lab")
    assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
    assert await stored(container) == []


async def test_a_session_is_no_replacement_for_the_devices_key(container, key):
    operator = await logged_in(container, "operator")
    answer = await operator.post("/api/sensor_data", reading(device_id="lab"))
    assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")


@pytest.mark.parametrize("bearer", [False, True])
@pytest.mark.parametrize("wrong", ["x", "bas_" + "x" * 43, "x" * 300, "é"])
async def test_a_wrong_key_is_refused_even_where_none_is_needed(container, key, wrong, bearer):
    for device_id in ("lab", "without-key"):
        answer = await post(container, wrong, bearer=bearer, device_id=device_id)
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_DEVICE_KEY")
    assert await stored(container) == []


async def test_a_key_of_another_device_is_refused(container, key):
    answer = await post(container, key, device_id="other")
    assert (answer.status, answer.json()["code"]) == (403, "DEVICE_MISMATCH")
    assert await stored(container) == []


async def test_a_device_without_a_key_still_may_post(container, key):
    assert (await post(container, device_id="other")).status == 200


async def test_a_registered_device_without_a_key_still_may_post(container):
    operator = await logged_in(container, "operator")
    await operator.post("/api/devices/register", {"device_id": "new"})
    assert (await post(container, device_id="new")).status == 200


async def test_a_new_key_replaces_the_old_one(container, key):
    new = await container.base.admin.register_device("default", "lab")
    assert (await post(container, key, device_id="lab")).status == 401
    assert (await post(container, new, device_id="lab")).status == 200


@pytest.mark.sqlite_only("it reads the files of SQLite")
async def test_no_key_is_kept_or_shown(container, key, config):
    await post(container, key)
    operator = await logged_in(container, "operator")
    answer = await operator.get("/api/devices")
    assert answer.json()[0]["has_key"] is True
    assert key not in answer.body.decode()
    for path in (path for path in config.data_dir.iterdir() if path.is_file()):
        assert key.encode() not in path.read_bytes()


async def test_required_refuses_every_device_without_a_key(config, clock):
    async with served(config, clock, device_auth="required") as container:
        key = await container.base.admin.register_device("default", "lab")
        for about in ({}, {"device_id": "lab"}, {"device_id": "other"}):
            answer = await post(container, **about)
            assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
        assert await stored(container) == []
        assert (await post(container, key)).status == 200


async def test_off_looks_at_no_key(config, clock):
    async with served(config, clock, device_auth="off") as container:
        await container.base.admin.register_device("default", "lab")
        for key in (None, "nonsense"):
            assert (await post(container, key, device_id="lab")).status == 200
        assert len(await stored(container)) == 2


async def test_with_keys_off_a_key_names_no_tenant(config, clock):
    async with served(config, clock, device_auth="off") as container:
        key = await container.base.admin.register_device("elsewhere", "lab")
        assert (await post(container, key, device_id="lab")).status == 200
        assert await stored(container, "elsewhere") == []


async def test_a_key_opens_no_protected_route(container, key):
    for headers in ({"X-Device-Key": key}, {"Authorization": f"Bearer {key}"}):
        answer = await Caller(container.app).get("/api/telemetry", headers=headers)
        assert answer.status == 401


async def test_an_operators_session_speaks_for_devices_of_its_tenant(container):
    stranger = await logged_in(container, "stranger")
    assert (await stranger.post("/api/sensor_data", reading(device_id="x"))).status == 200
    assert [kept.device_id for kept in await stored(container, "elsewhere")] == ["x"]
