"""The readings that a batch may contain: keys, sessions and tenants, row by row."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading, served, stored

PATH = "/api/sensor_data/batch"
ROWS = [reading(201, device_id="lab"), reading(202, device_id="other"), reading(203)]


@pytest.fixture
async def key(container):
    return await container.base.admin.register_device("default", "lab")


@pytest.fixture
def stranger(container):
    return Caller(container.app)


def errors_of(answer):
    return [(error["index"], error["code"]) for error in answer.json()["errors"]]


async def kept(container, tenant_id="default"):
    return sorted((one.device_id, one.temp_tenths) for one in await stored(container, tenant_id))


async def test_without_a_key_rows_of_devices_that_have_one_are_refused(container, stranger, key):
    answer = await stranger.post(PATH, ROWS)
    assert errors_of(answer) == [(0, "DEVICE_KEY_REQUIRED")]
    assert await kept(container) == [("other", 202), ("unknown", 203)]


async def test_a_new_key_is_required_at_once(container, stranger):
    assert errors_of(await stranger.post(PATH, ROWS)) == []
    await container.base.admin.register_device("default", "lab")
    assert errors_of(await stranger.post(PATH, ROWS)) == [(0, "DEVICE_KEY_REQUIRED")]


@pytest.mark.parametrize("bearer", [False, True])
async def test_with_a_device_s_key_only_rows_of_that_device_are_accepted(
    container, stranger, key, bearer
):
    headers = {"Authorization": f"Bearer {key}"} if bearer else {"X-Device-Key": key}
    answer = await stranger.post(PATH, ROWS, headers=headers)
    assert errors_of(answer) == [(1, "DEVICE_MISMATCH")]
    assert await kept(container) == [("lab", 201), ("lab", 203)]


async def test_a_key_determines_the_tenant(container, stranger):
    key = await container.base.admin.register_device("elsewhere", "lab")
    await stranger.post(PATH, ROWS, headers={"X-Device-Key": key})
    assert await stored(container) == []
    assert await kept(container, "elsewhere") == [("lab", 201), ("lab", 203)]


async def test_a_batch_with_a_wrong_key_is_refused(container, stranger, key):
    answer = await stranger.post(PATH, ROWS, headers={"X-Device-Key": "wrong"})
    assert (answer.status, answer.json()["code"]) == (401, "INVALID_DEVICE_KEY")
    assert await stored(container) == []


async def test_a_batch_with_a_key_and_another_tenant_s_header_is_refused(container, stranger, key):
    headers = {"X-Device-Key": key, "X-BAS-Tenant": "elsewhere"}
    answer = await stranger.post(PATH, ROWS, headers=headers)
    assert (answer.status, answer.json()["code"]) == (403, "TENANT_ACCESS_DENIED")
    assert await stored(container) == []


async def test_an_operator_may_post_for_devices_of_its_tenant(container, key):
    other = await logged_in(container, "stranger")
    assert errors_of(await other.post(PATH, ROWS)) == []
    assert await stored(container) == []
    assert len(await stored(container, "elsewhere")) == 3


async def test_a_session_does_not_replace_a_device_s_key(container, key):
    operator = await logged_in(container, "operator")
    assert errors_of(await operator.post(PATH, ROWS)) == [(0, "DEVICE_KEY_REQUIRED")]


async def test_a_read_only_user_may_not_post_a_batch(container):
    reader = await logged_in(container, "reader")
    answer = await reader.post(PATH, ROWS)
    assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert await stored(container) == []


async def test_a_batch_with_an_ended_session_is_refused_and_not_stored_for_another_tenant(
    container,
):
    caller = await logged_in(container, "stranger")
    await caller.post("/auth/logout")
    answer = await caller.post(PATH, ROWS)
    assert (answer.status, answer.json()["code"]) == (401, "SESSION_INVALID")
    assert await stored(container) == []


async def test_device_auth_required_refuses_a_batch_without_a_key(config, clock):
    async with served(config, clock, device_auth="required") as container:
        answer = await Caller(container.app).post(PATH, ROWS)
        assert (answer.status, answer.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
        assert await stored(container) == []


async def test_device_auth_off_ignores_keys(config, clock):
    async with served(config, clock, device_auth="off") as container:
        await container.base.admin.register_device("default", "lab")
        for headers in ({}, {"X-Device-Key": "nonsense"}):
            answer = await Caller(container.app).post(PATH, ROWS, headers=headers)
            assert errors_of(answer) == []
        assert len(await stored(container)) == 6


async def test_made_up_devices_beyond_the_limit_are_refused_row_by_row(
    container, stranger, monkeypatch
):
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 2)
    operator = await logged_in(container, "operator")
    await operator.post("/api/devices/register", {"device_id": "c"})
    rows = [reading(device_id=name) for name in "abcde"]
    answer = await stranger.post(PATH, rows)
    assert errors_of(answer) == [(3, "DEVICE_LIMIT"), (4, "DEVICE_LIMIT")]
    assert [one["device_id"] for one in answer.json()["commands"]] == ["a", "b", "c"]
    assert {name for name, _ in await kept(container)} == {"a", "b", "c"}
