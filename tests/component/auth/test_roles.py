"""Roles: the text of a refusal, and when a role is checked. `security/` has who may do what."""

from __future__ import annotations

import pytest

from tests.support.http import exchange, logged_in


@pytest.mark.parametrize(
    ("name", "role", "method", "path"),
    [
        ("reader", "read-only", "POST", "/api/set_setpoint"),
        ("operator", "operator", "GET", "/api/audit/recent"),
    ],
)
async def test_a_refusal_names_the_role_that_is_too_low(container, name, role, method, path):
    caller = await logged_in(container, name)
    answer = await caller.open(method, path)
    assert answer.status == 403
    assert answer.json() == {
        "error": "Insufficient permissions",
        "message": f"{role} role cannot perform this action",
        "code": "PERMISSION_DENIED",
    }


async def test_the_role_is_checked_before_the_body(container):
    reader = await logged_in(container, "reader")
    for body in ("{", '{"setpoint_tenths": "x"}'):
        assert (await reader.post_text("/api/set_setpoint", body)).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_stream_without_a_session_is_refused_as_json(container, method):
    answer = await exchange(container.app, method, "/api/sse/telemetry")
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/json"
