"""Tenants: how a session names its own, and that nothing of another one is ever seen."""

from __future__ import annotations

import pytest

from tests.conftest import PASSWORD
from tests.support.http import Caller, audited, exchange, logged_in, reading, served, stored

HEADER = "X-BAS-Tenant"
SECRET = "their-device"


@pytest.fixture
async def theirs(container):
    """Another tenant with a device, a setpoint and audit entries of its own."""
    stranger = await logged_in(container, "stranger")
    await stranger.post("/api/sensor_data", reading(321, device_id=SECRET))
    await stranger.post("/api/set_setpoint", {"setpoint_tenths": 321})
    await stranger.post("/api/devices/register", {"device_id": SECRET})
    return stranger


async def test_a_session_belongs_to_its_users_tenant_without_any_header(container, theirs):
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
    homeless = await logged_in(container, "homeless")
    answer = await homeless.get("/api/telemetry")
    assert answer.status == 400
    assert answer.json() == {
        "error": "User not assigned to tenant",
        "code": "NO_SESSION_TENANT",
    }


async def test_the_header_has_the_configured_name(config, clock):
    async with served(config, clock, tenant_id_header="X-Site") as container:
        reader = await logged_in(container, "reader")
        assert (await reader.get("/api/telemetry", headers={"X-Site": "elsewhere"})).status == 403
        assert (await reader.get("/api/telemetry", headers={HEADER: "elsewhere"})).status == 200


@pytest.mark.parametrize("tenant", ["elsewhere", "", "no such tenant"])
async def test_a_stranger_names_no_tenant_whatever_the_header_says(container, theirs, tenant):
    anyone = Caller(container.app, headers={HEADER: tenant})
    assert (await anyone.post("/api/sensor_data", reading(250))).status == 200
    assert [kept.temp_tenths for kept in await stored(container)] == [250]
    assert len(await stored(container, "elsewhere")) == 1
    assert (await anyone.get("/api/status")).json()["temp_tenths"] == 250


@pytest.mark.parametrize("path", ["/api/sensor_data", "/api/status", "/api/config"])
async def test_a_session_may_name_no_other_tenant_on_a_public_route_either(container, path):
    operator = await logged_in(container, "operator")
    headers = {HEADER: "elsewhere"}
    method, body = ("POST", {"json": reading()}) if "sensor" in path else ("GET", {})
    answer = await operator.open(method, path, headers=headers, **body)
    assert (answer.status, answer.json()["code"]) == (403, "TENANT_ACCESS_DENIED")
    assert await stored(container) == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/telemetry",
        f"/api/telemetry?device_id={SECRET}",
        "/api/telemetry/window",
        f"/api/telemetry/window?device_id={SECRET}",
        "/api/telemetry/paginated",
        "/api/telemetry/statistics",
        "/api/status",
        "/api/config",
        "/api/devices",
        "/api/audit/recent",
    ],
)
async def test_nothing_of_another_tenant_is_seen(container, theirs, path):
    admin = await logged_in(container, "admin")
    for caller in (admin, Caller(container.app)):
        text = (await caller.get(path)).body.decode()
        assert SECRET not in text
        assert "321" not in text
        assert "stranger" not in text
    own = (await theirs.get(path)).body.decode()
    assert SECRET in own or "321" in own


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_a_zone_of_another_tenant_is_unknown(container, theirs, path):
    for caller in (Caller(container.app), await logged_in(container, "admin")):
        assert (await caller.get(f"{path}?device_id={SECRET}")).status == 404


async def test_two_tenants_devices_of_one_name_are_two_zones(container, theirs):
    anyone = Caller(container.app)
    command = (await anyone.post("/api/sensor_data", reading(250, device_id=SECRET))).json()
    assert command["setpoint_tenths"] == 230
    assert (await theirs.get("/api/status")).json()["temp_tenths"] == 321


async def test_another_tenants_stream_and_snapshot_are_not_seen(container, theirs):
    reader = await logged_in(container, "reader")
    headers = [(key.lower().encode(), value.encode()) for key, value in reader.headers.items()]
    answer = await exchange(container.app, path="/api/sse/telemetry", headers=headers, frames=4)
    assert b"event: snapshot" in answer.body
    assert SECRET.encode() not in answer.body
