"""BAS_AUTH_MODE: `shadow` logs what it would refuse, `disabled` asks for no log-in."""

from __future__ import annotations

import logging

import pytest

from tests.conftest import PASSWORD
from tests.support.http import Caller, audited, exchange, logged_in, reading, served, stored

SET = "/api/set_setpoint"
OFF = [{"auth_mode": "disabled"}, {"auth_enabled": False}]


@pytest.fixture
async def shadow(config, clock):
    async with served(config, clock, auth_mode="shadow") as container:
        yield container


@pytest.fixture(params=OFF, ids=["mode", "switch"])
async def disabled(config, clock, request):
    async with served(config, clock, **request.param) as container:
        yield container


async def test_shadow_allows_every_request_without_a_session(shadow):
    anyone = Caller(shadow.app)
    assert (await anyone.get("/api/telemetry")).status == 200
    assert (await anyone.get("/api/audit/recent")).status == 200
    assert (await anyone.post(SET, {"setpoint_tenths": 210})).status == 200
    assert (await anyone.get("/api/config")).json()["setpoint_tenths"] == 210
    assert (await exchange(shadow.app, path="/api/sse/telemetry")).status == 200


async def test_shadow_logs_and_counts_each_request_that_would_be_refused(shadow, caplog):
    caplog.set_level(logging.WARNING)
    anyone = Caller(shadow.app)
    await anyone.get("/api/telemetry")
    assert "would be refused" in caplog.text
    assert "INVALID_SESSION_ID" in caplog.text
    metrics = (await anyone.get("/metrics")).body.decode()
    assert 'bas_denials_total{code="INVALID_SESSION_ID"} 1.0' in metrics


async def test_shadow_knows_the_user_of_a_session(shadow):
    operator = await logged_in(shadow, "operator")
    assert (await operator.get("/auth/status")).json()["user"]["username"] == "operator"
    assert (await operator.post(SET, {"setpoint_tenths": 210})).json()["updated_by"] == "operator"


async def test_shadow_allows_an_action_beyond_the_role_and_audits_it(shadow):
    reader = await logged_in(shadow, "reader")
    answer = await reader.post(SET, {"setpoint_tenths": 210})
    assert (answer.status, answer.json()["updated_by"]) == (200, "reader")
    (entry,) = await audited(shadow, "ACCESS_DENIED")
    assert (entry.username, entry.details["code"]) == ("reader", "PERMISSION_DENIED")


@pytest.mark.parametrize("tenant", ["elsewhere", ""])
@pytest.mark.parametrize("path", ["/api/telemetry", "/api/status", "/api/config"])
async def test_shadow_shows_the_user_s_own_tenant_even_if_the_header_names_another(
    shadow, path, tenant
):
    await Caller(shadow.app).post("/api/sensor_data", reading(device_id="ours"))
    stranger = await logged_in(shadow, "stranger")
    answer = await stranger.get(path, headers={"X-BAS-Tenant": tenant})
    assert answer.status == 200
    assert "ours" not in answer.body.decode()
    reader = await logged_in(shadow, "reader")
    answer = await reader.get(path, headers={"X-BAS-Tenant": tenant})
    assert answer.status == 200


async def test_disabled_allows_every_request_in_the_default_tenant(disabled):
    anyone = Caller(disabled.app)
    await anyone.post("/api/sensor_data", reading(device_id="lab"))
    for path in ("/api/telemetry", "/api/devices", "/api/audit/recent"):
        assert (await anyone.get(path)).status == 200
    answer = await anyone.post(SET, {"setpoint_tenths": 210})
    assert (answer.status, answer.json()["updated_by"]) == (200, "anonymous")
    assert (await anyone.get("/api/telemetry")).json()[0]["device_id"] == "lab"
    assert [kept.device_id for kept in await stored(disabled)] == ["lab"]


async def test_disabled_refuses_a_log_in_as_unavailable(disabled):
    answer = await Caller(disabled.app).post(
        "/auth/login", {"username": "operator", "password": PASSWORD}
    )
    assert (answer.status, answer.json()["code"]) == (503, "AUTH_DISABLED")
    assert "Set-Cookie" not in answer.headers


async def test_disabled_reports_every_caller_as_logged_in(disabled):
    anyone = Caller(disabled.app)
    answer = await anyone.get("/auth/status")
    assert answer.status == 200
    assert answer.json()["status"] == "valid"
    assert set(answer.json()["user"]) == {
        "username",
        "role",
        "login_time",
        "login_time_ms",
    }
    assert (await anyone.post("/auth/logout")).status == 200


async def test_disabled_ignores_the_tenant_header(disabled):
    anyone = Caller(disabled.app, headers={"X-BAS-Tenant": "elsewhere"})
    await anyone.post("/api/sensor_data", reading(device_id="lab"))
    assert await stored(disabled, "elsewhere") == []
    assert len(await stored(disabled)) == 1


async def test_disabled_still_refuses_a_page_of_another_site(disabled):
    answer = await Caller(disabled.app).post(
        SET, {"setpoint_tenths": 210}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status == 403
