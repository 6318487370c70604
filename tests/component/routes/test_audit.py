"""GET /api/audit/recent, and the entries of the audit log."""

from __future__ import annotations

import pytest

from tests.support.http import ADDRESS, Caller, audited, logged_in

RECENT = "/api/audit/recent"


@pytest.fixture
async def admin(container):
    return await logged_in(container, "admin")


async def test_entries_are_listed_newest_first_with_all_their_keys(container, admin, clock):
    clock.advance(5)
    operator = await logged_in(container, "operator")
    clock.advance(5)
    await operator.post("/api/set_setpoint", {"setpoint_tenths": 210})
    answer = await admin.get(f"{RECENT}?limit=2")
    assert answer.status == 200
    entries = answer.json()
    old_names = {
        "timestamp_ms": "timestamp",
        "event_type": "action",
        "user_id": "username",
        "ip_address": "address",
    }
    for entry in entries:
        for old, name in old_names.items():
            assert entry.pop(old) == entry[name]
    assert entries == [
        {
            "timestamp": clock.now_ms(),
            "action": "SETPOINT_CHANGE",
            "username": "operator",
            "address": ADDRESS,
            "success": True,
            "details": {
                "device_id": None,
                "setpoint_tenths": 210,
                "deadband_tenths": None,
                "old_setpoint_tenths": 230,
                "old_deadband_tenths": 10,
            },
        },
        {
            "timestamp": clock.now_ms() - 5000,
            "action": "LOGIN_SUCCESS",
            "username": "operator",
            "address": ADDRESS,
            "success": True,
            "details": {},
        },
    ]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", ""])
async def test_a_limit_outside_of_1_to_1000_is_refused(admin, limit):
    answer = await admin.get(f"{RECENT}?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_an_admin_sees_only_entries_of_the_own_tenant(container, admin):
    stranger = await logged_in(container, "stranger")
    await stranger.post("/api/set_setpoint", {"setpoint_tenths": 210})
    ours = {entry["username"] for entry in (await admin.get(RECENT)).json()}
    theirs = {entry["username"] for entry in (await stranger.get(RECENT)).json()}
    assert ours == {"admin"}
    assert theirs == {"stranger"}


async def test_a_failed_login_is_audited(container):
    await Caller(container.app).log_in("operator", "wrong password")
    (entry,) = await audited(container, "LOGIN_FAILURE")
    assert (entry.username, entry.address, entry.success) == ("operator", ADDRESS, False)


async def test_no_password_and_no_session_id_is_ever_audited(container, admin):
    caller = Caller(container.app)
    await caller.log_in("operator", "a wrong secret")
    caller = await logged_in(container, "operator")
    await caller.get(RECENT)
    text = (await admin.get(RECENT)).body.decode()
    assert "a wrong secret" not in text
    assert caller.session not in text


async def test_a_refused_request_of_a_logged_in_user_is_audited(container):
    reader = await logged_in(container, "reader")
    await reader.post("/api/set_setpoint", {"setpoint_tenths": 210})
    (entry,) = await audited(container, "ACCESS_DENIED")
    assert (entry.username, entry.success) == ("reader", False)
    assert entry.details == {
        "code": "PERMISSION_DENIED",
        "method": "POST",
        "path": "/api/set_setpoint",
    }


async def test_a_refused_request_without_a_session_is_counted_and_not_audited(container, admin):
    before = len((await admin.get(RECENT)).json())
    stranger = Caller(container.app)
    for _ in range(5):
        await stranger.get("/api/telemetry")
    assert len((await admin.get(RECENT)).json()) == before
    metrics = (await stranger.get("/metrics")).body.decode()
    assert 'bas_denials_total{code="INVALID_SESSION_ID"} 5.0' in metrics


async def test_a_refused_setpoint_is_not_audited_as_a_change(container):
    operator = await logged_in(container, "operator")
    await operator.post("/api/set_setpoint", {"setpoint_tenths": 401})
    await operator.post("/api/set_setpoint", {})
    assert await audited(container, "SETPOINT_CHANGE") == []
