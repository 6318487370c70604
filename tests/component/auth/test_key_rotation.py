"""Rotation, revocation and last use of devices' keys, and the deletion of a device."""

from __future__ import annotations

import pytest

from server.services.firestore.device_keys_store import OVERLAP_MS
from tests.support.http import Caller, audited, logged_in, reading

KEY, REVOKE, DELETE = "/api/devices/key", "/api/devices/key/revoke", "/api/devices/delete"
LAB = {"device_id": "lab"}


@pytest.fixture
async def admin(container):
    return await logged_in(container, "admin")


async def made(admin, **more):
    answer = await admin.post(KEY, LAB | more)
    assert answer.status == 200
    return answer.json()["key"]


async def status(container, key=None):
    """The status and the code of a post with this key."""
    headers = {} if key is None else {"X-Device-Key": key}
    body = reading(device_id="lab")
    answer = await Caller(container.app).post("/api/sensor_data", body, headers=headers)
    return answer.status, answer.json().get("code")


async def listed(admin):
    (device,) = (await admin.get("/api/devices")).json()
    return device


WRONG = (401, "INVALID_DEVICE_KEY")
GOOD = (200, None)


async def test_both_keys_of_a_rotation_are_valid_until_the_new_one_is_used(container, admin, clock):
    old = await made(admin, overlap=False)
    new = await made(admin)
    assert await status(container, old) == GOOD
    assert (await listed(admin))["old_key_until"] == clock.now_ms() + OVERLAP_MS
    assert await status(container, new) == GOOD
    await container.base.auth.key_uses.store()
    assert [await status(container, one) for one in (old, new)] == [WRONG, GOOD]
    assert (await listed(admin))["old_key_until"] is None


async def test_the_old_key_of_a_rotation_ends_after_a_day_also_if_the_new_one_is_never_used(
    container, admin, clock
):
    old = await made(admin, overlap=False)
    new = await made(admin)
    clock.advance(OVERLAP_MS / 1000 - 1)
    assert await status(container, old) == GOOD
    admin = await logged_in(container, "admin")
    clock.advance(1)
    assert [await status(container, one) for one in (old, new)] == [WRONG, GOOD]


async def test_a_second_rotation_keeps_the_key_that_the_device_uses(container, admin):
    used = await made(admin, overlap=False)
    lost = await made(admin)
    new = await made(admin)
    assert [await status(container, one) for one in (lost, used, new)] == [WRONG, GOOD, GOOD]


async def test_a_revoked_key_is_refused_and_its_device_may_not_post_without_one(container, admin):
    old, new = await made(admin, overlap=False), await made(admin)
    assert (await admin.post(REVOKE, LAB)).status == 200
    assert [await status(container, one) for one in (old, new)] == [WRONG, WRONG]
    assert await status(container) == (401, "DEVICE_KEY_REQUIRED")
    assert (await listed(admin))["key_revoked"] is True
    assert await status(container, await made(admin)) == GOOD
    assert (await listed(admin))["key_revoked"] is False


async def test_a_device_with_a_new_key_keeps_the_setpoint_of_its_zone(container, admin):
    key = await made(admin, overlap=False)
    await status(container, key)
    await admin.post("/api/set_setpoint", LAB | {"setpoint_tenths": 190})
    await admin.post(REVOKE, LAB)
    headers = {"X-Device-Key": await made(admin)}
    post = Caller(container.app).post
    answer = await post("/api/sensor_data", reading(device_id="lab"), headers=headers)
    assert answer.json()["setpoint_tenths"] == 190


async def test_a_deleted_device_is_gone_with_its_keys_and_its_zone(container, admin):
    key = await made(admin, overlap=False)
    await status(container, key)
    assert (await admin.post(DELETE, LAB)).status == 200
    assert await status(container, key) == WRONG
    assert (await admin.get("/api/devices")).json() == []
    assert await container.base.stores.zones.all("default") == []
    assert (await admin.get("/api/status?device_id=lab")).status == 404
    assert await status(container) == GOOD  # anyone's, as any unknown device


async def test_the_last_use_of_a_key_is_stored_at_most_once_a_minute(container, admin, clock):
    key = await made(admin, overlap=False)
    uses = container.base.auth.key_uses
    seen = []
    for _ in range(4):
        await status(container, key)
        await uses.store()
        seen.append((await listed(admin))["key_used_at"] - clock.now_ms())
        clock.advance(30)
    assert seen == [0, -30_000, 0, -30_000]


@pytest.mark.parametrize("path", [REVOKE, DELETE, KEY])
async def test_an_unknown_device_is_not_found(admin, path):
    answer = await admin.post(path, LAB)
    assert (answer.status, answer.json()["code"]) == (404, "DEVICE_NOT_FOUND")


async def test_each_change_of_a_device_s_keys_is_audited(container, admin):
    await made(admin, overlap=False)
    await made(admin)
    for path in (REVOKE, DELETE):
        await admin.post(path, LAB)
    actions = ("DEVICE_KEY_ISSUED", "DEVICE_KEY_ROTATED", "DEVICE_KEY_REVOKED", "DEVICE_DELETED")
    for action in actions:
        (entry,) = await audited(container, action)
        assert (entry.username, entry.details["device_id"]) == ("admin", "lab")
