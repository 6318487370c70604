"""Device keys: when a post needs one, and which tenant and device it stands for."""

from __future__ import annotations

import pytest

from bas_server import open_base
from tests.support.http import Caller, logged_in, lose_store, reading, served, stored


@pytest.fixture
async def key(container):
    return await container.base.admin.register_device("default", "lab")


async def post(container, key=None, *, bearer=False, **more):
    headers = {}
    if key is not None:
        headers = {"Authorization": f"Bearer {key}"} if bearer else {"X-Device-Key": key}
    return await Caller(container.app).post("/api/sensor_data", reading(**more), headers=headers)


@pytest.mark.parametrize("bearer", [False, True])
async def test_a_device_with_a_key_may_post_with_it(container, key, bearer):
    assert (await post(container, key, bearer=bearer, device_id="lab")).status == 200
    assert [kept.device_id for kept in await stored(container)] == ["lab"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_word_bearer_may_have_upper_and_lower_case(container, key, scheme):
    headers = {"Authorization": f"{scheme} {key}"}
    answer = await Caller(container.app).post(
        "/api/sensor_data", reading(device_id="lab"), headers=headers
    )
    assert answer.status == 200


async def test_a_key_determines_the_device_if_the_post_names_none(container, key):
    assert (await post(container, key)).status == 200
    assert [kept.device_id for kept in await stored(container)] == ["lab"]


async def test_a_key_determines_the_tenant(container):
    key = await container.base.admin.register_device("elsewhere", "lab")
    assert (await post(container, key, device_id="lab")).status == 200
    assert await stored(container) == []
    assert [kept.device_id for kept in await stored(container, "elsewhere")] == ["lab"]


async def test_a_post_with_a_key_and_another_tenant_s_header_is_refused(container, key):
    headers = {"X-Device-Key": key, "X-BAS-Tenant": "elsewhere"}
    answer = await Caller(container.app).post("/api/sensor_data", reading(), headers=headers)
    assert (answer.status, answer.json()["code"]) == (403, "TENANT_ACCESS_DENIED")
    assert await stored(container) == []


async def test_a_device_with_a_key_may_not_post_without_it(container, key):
    answer = await post(container, device_id="lab")
    assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
    assert await stored(container) == []


@pytest.mark.sqlite_only("on Firestore what is known of a device is some seconds old")
async def test_a_key_that_another_process_issues_is_needed_at_once(container, config):
    assert (await post(container, device_id="lab")).status == 200
    async with open_base(config) as elsewhere:
        key = await elsewhere.admin.register_device("default", "lab")
    answer = await post(container, device_id="lab")
    assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
    assert len(await stored(container)) == 1
    assert (await post(container, key, device_id="lab")).status == 200


async def test_a_post_without_the_key_switches_nothing_at_the_moment_the_store_is_lost(
    container, key
):
    assert (await post(container, key, device_id="lab")).json()["heat_active"] is True
    await lose_store(container)
    stranger = (await post(container, device_id="lab", sensor_ok=False)).json()
    assert (stranger["heat_active"], stranger["stored"]) == (False, False)
    assert (await post(container, key, device_id="lab")).json()["heat_active"] is True


async def test_a_session_does_not_replace_the_device_s_key(container, key):
    operator = await logged_in(container, "operator")
    answer = await operator.post("/api/sensor_data", reading(device_id="lab"))
    assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")


@pytest.mark.parametrize("bearer", [False, True])
@pytest.mark.parametrize("wrong", ["x", "bas_" + "x" * 43, "x" * 300, "é"])
async def test_a_wrong_key_is_refused_even_for_a_device_without_a_key(
    container, key, wrong, bearer
):
    for device_id in ("lab", "without-key"):
        answer = await post(container, wrong, bearer=bearer, device_id=device_id)
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_DEVICE_KEY")
    assert await stored(container) == []


async def test_a_key_of_another_device_is_refused(container, key):
    answer = await post(container, key, device_id="other")
    assert (answer.status, answer.json()["code"]) == (403, "DEVICE_MISMATCH")
    assert await stored(container) == []


async def test_an_unregistered_device_may_post_without_a_key(container, key):
    assert (await post(container, device_id="other")).status == 200


async def test_a_registered_device_that_has_no_key_may_post_without_one(container):
    operator = await logged_in(container, "operator")
    await operator.post("/api/devices/register", {"device_id": "new"})
    assert (await post(container, device_id="new")).status == 200


async def test_a_new_key_replaces_the_old_one(container, key):
    new = await container.base.admin.register_device("default", "lab")
    assert (await post(container, key, device_id="lab")).status == 401
    assert (await post(container, new, device_id="lab")).status == 200


@pytest.mark.sqlite_only("it reads the files of SQLite")
async def test_no_key_is_stored_or_shown_as_plain_text(container, key, config):
    await post(container, key)
    operator = await logged_in(container, "operator")
    answer = await operator.get("/api/devices")
    assert answer.json()[0]["has_key"] is True
    assert key not in answer.body.decode()
    for path in (path for path in config.data_dir.iterdir() if path.is_file()):
        assert key.encode() not in path.read_bytes()


async def test_device_auth_required_refuses_every_post_without_a_key(config, clock):
    async with served(config, clock, device_auth="required") as container:
        key = await container.base.admin.register_device("default", "lab")
        for about in ({}, {"device_id": "lab"}, {"device_id": "other"}):
            answer = await post(container, **about)
            assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
        assert await stored(container) == []
        assert (await post(container, key)).status == 200


async def test_device_auth_off_ignores_keys(config, clock):
    async with served(config, clock, device_auth="off") as container:
        await container.base.admin.register_device("default", "lab")
        for key in (None, "nonsense"):
            assert (await post(container, key, device_id="lab")).status == 200
        assert len(await stored(container)) == 2


async def test_with_device_auth_off_a_key_does_not_determine_the_tenant(config, clock):
    async with served(config, clock, device_auth="off") as container:
        key = await container.base.admin.register_device("elsewhere", "lab")
        assert (await post(container, key, device_id="lab")).status == 200
        assert await stored(container, "elsewhere") == []


async def test_an_operator_s_session_may_post_for_devices_of_its_tenant(container):
    stranger = await logged_in(container, "stranger")
    assert (await stranger.post("/api/sensor_data", reading(device_id="x"))).status == 200
    assert [kept.device_id for kept in await stored(container, "elsewhere")] == ["x"]
