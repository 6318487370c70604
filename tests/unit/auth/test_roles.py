"""Which role may do what, on every protected route."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, exchange, logged_in, stored

ROLES = {"reader": "read-only", "operator": "operator", "admin": "admin"}
PROTECTED = [
    ("GET", "/api/telemetry", None, "read-only"),
    ("GET", "/api/telemetry/window", None, "read-only"),
    ("GET", "/api/telemetry/paginated", None, "read-only"),
    ("GET", "/api/telemetry/statistics", None, "read-only"),
    ("HEAD", "/api/sse/telemetry", None, "read-only"),
    ("GET", "/api/devices", None, "read-only"),
    ("POST", "/api/set_setpoint", {"setpoint_tenths": 210}, "operator"),
    ("POST", "/api/devices/register", {"device_id": "lab"}, "operator"),
    ("GET", "/api/audit/recent", None, "admin"),
]
RANK = ["read-only", "operator", "admin"]


async def ask(caller, method, path, body):
    return await caller.open(method, path, **({} if body is None else {"json": body}))


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize(("method", "path", "body", "needed"), PROTECTED)
async def test_a_role_may_do_what_it_or_a_lower_one_may(
    container, name, method, path, body, needed
):
    caller = await logged_in(container, name)
    answer = await ask(caller, method, path, body)
    if RANK.index(ROLES[name]) >= RANK.index(needed):
        assert answer.status == 200
    else:
        assert answer.status == 403
        assert answer.json() == {
            "error": "Insufficient permissions",
            "message": f"{ROLES[name]} role cannot perform this action",
            "code": "PERMISSION_DENIED",
        }


@pytest.mark.parametrize(("method", "path", "body", "needed"), PROTECTED)
async def test_nobody_may_do_anything_without_a_session(container, method, path, body, needed):
    answer = await ask(Caller(container.app), method, path, body)
    assert answer.status == 401
    assert needed in RANK


async def test_the_role_is_looked_at_before_the_body(container):
    reader = await logged_in(container, "reader")
    for body in ("{", '{"setpoint_tenths": "x"}'):
        assert (await reader.post_text("/api/set_setpoint", body)).status == 403


async def test_a_refused_change_changes_nothing(container):
    reader = await logged_in(container, "reader")
    await reader.post("/api/set_setpoint", {"setpoint_tenths": 210})
    await reader.post("/api/devices/register", {"device_id": "lab"})
    assert (await reader.get("/api/config")).json()["setpoint_tenths"] == 230
    assert (await reader.get("/api/devices")).json() == []


async def test_a_read_only_session_may_not_speak_for_a_device(container):
    reader = await logged_in(container, "reader")
    answer = await reader.post("/api/sensor_data", {"temp_tenths": 300})
    assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert await stored(container) == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_stream_is_refused_before_it_begins(container, method):
    answer = await exchange(container.app, method, "/api/sse/telemetry")
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/json"
