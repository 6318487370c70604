"""Tenants: a session belongs to one, and sees nothing of any other (ASVS 5.0.0, V8.4.1)."""

from __future__ import annotations

import pytest

from tests.conftest import PASSWORD
from tests.support.http import Caller, audited, logged_in, reading, served, stored

HEADER = "X-BAS-Tenant"
SECRET = "their-device"


@pytest.fixture
async def other_tenant(container):
    """Another tenant with its device, setpoint and audit entries."""
    stranger = await logged_in(container, "stranger")
    await stranger.post("/api/sensor_data", reading(321, device_id=SECRET))
    await stranger.post("/api/set_setpoint", {"setpoint_tenths": 321})
    await stranger.post("/api/devices/register", {"device_id": SECRET})
    return stranger


async def test_a_session_belongs_to_its_user_s_tenant_without_any_header(container, other_tenant):
    assert [kept.device_id for kept in await stored(container, "elsewhere")] == [SECRET]
    assert await stored(container) == []


@pytest.mark.parametrize("tenant", ["default", " default "])
async def test_a_session_may_name_its_own_tenant(container, tenant):
    reader = await logged_in(container, "reader")
    assert (await reader.get("/api/telemetry", headers={HEADER: tenant})).status == 200


@pytest.mark.parametrize("tenant", ["elsewhere", "Default", "*", "default, elsewhere", "é"])
async def test_a_session_may_not_name_another_tenant(container, tenant):
    admin = await logged_in(container, "admin")
    answer = await admin.get("/api/telemetry", headers={HEADER: tenant})
    assert answer.status == 403
    assert answer.json() == {
        "error": "Access denied to tenant",
        "code": "TENANT_ACCESS_DENIED",
    }
    (entry,) = await audited(container, "ACCESS_DENIED")
    assert entry.details["code"] == "TENANT_ACCESS_DENIED"


@pytest.mark.parametrize("tenant", ["", "  "])
async def test_an_empty_tenant_header_is_refused(container, tenant):
    reader = await logged_in(container, "reader")
    answer = await reader.get("/api/telemetry", headers={HEADER: tenant})
    assert answer.status == 400
    assert answer.json() == {"error": "Tenant ID required", "code": "MISSING_TENANT_ID"}


async def test_a_user_without_a_tenant_is_refused(container):
    await container.base.admin.create_user("homeless", PASSWORD, "admin", "")
    without_tenant = await logged_in(container, "homeless")
    answer = await without_tenant.get("/api/telemetry")
    assert answer.status == 400
    assert answer.json() == {
        "error": "User not assigned to tenant",
        "code": "NO_SESSION_TENANT",
    }


async def test_the_name_of_the_tenant_header_is_a_setting(config, clock):
    async with served(config, clock, tenant_id_header="X-Site") as container:
        reader = await logged_in(container, "reader")
        assert (await reader.get("/api/telemetry", headers={"X-Site": "elsewhere"})).status == 403
        assert (await reader.get("/api/telemetry", headers={HEADER: "elsewhere"})).status == 200


@pytest.mark.parametrize("tenant", ["elsewhere", "", "no such tenant"])
async def test_the_tenant_header_of_a_request_without_a_session_is_ignored(
    container, other_tenant, tenant
):
    anyone = Caller(container.app, headers={HEADER: tenant})
    assert (await anyone.post("/api/sensor_data", reading(250))).status == 200
    assert [kept.temp_tenths for kept in await stored(container)] == [250]
    assert len(await stored(container, "elsewhere")) == 1
    assert (await anyone.get("/api/status")).json()["temp_tenths"] == 250


@pytest.mark.parametrize("path", ["/api/sensor_data", "/api/status", "/api/config"])
async def test_a_session_may_not_name_another_tenant_on_a_public_route(container, path):
    operator = await logged_in(container, "operator")
    headers = {HEADER: "elsewhere"}
    method, body = ("POST", {"json": reading()}) if "sensor" in path else ("GET", {})
    answer = await operator.open(method, path, headers=headers, **body)
    assert (answer.status, answer.json()["code"]) == (403, "TENANT_ACCESS_DENIED")
    assert await stored(container) == []


async def test_devices_of_two_tenants_with_the_same_name_are_two_zones(container, other_tenant):
    anyone = Caller(container.app)
    command = (await anyone.post("/api/sensor_data", reading(250, device_id=SECRET))).json()
    assert command["setpoint_tenths"] == 230
    assert (await other_tenant.get("/api/status")).json()["temp_tenths"] == 321
