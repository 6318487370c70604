"""Documents as the existing server kept them: ours have their fields, and theirs can be read."""

from __future__ import annotations

from server.services.firestore.base import Create, Put, Query
from tests.conftest import PASSWORD
from tests.support.http import Caller, logged_in

THEN_MS = 1_734_398_405_123
THEN = "2024-12-17T01:20:05.123Z"
READING = {
    "tenant_id": "default",
    "device_id": "roof",
    "timestamp_ms": THEN_MS,
    "utc_timestamp": THEN,
    "temp_tenths": 237,
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
    "cool_active": False,
    "heat_active": True,
    "state": "IDLE_WITH_LEDS",
    "sensor_ok": True,
    "created_at": THEN_MS,
    "updated_at": THEN_MS,
}
DEVICE = {
    "tenant_id": "default",
    "device_id": "roof",
    "metadata": {"location": {"floor": 3}, "tags": ["north"]},
    "last_seen": THEN_MS,
    "status": "maintenance",
}
ENTRY = {
    "tenant_id": "default",
    "timestamp_ms": THEN_MS,
    "utc_timestamp": THEN,
    "event_type": "LOGIN_FAILURE",
    "user_id": None,
    "username": None,
    "ip_address": None,
    "user_agent": None,
    "details": {},
}
# What sessions of earlier versions lack.
LATER = {"user_id", "role", "expires_at", "ip_address"}


async def stored(container, collection):
    page = await container.base.client.query(Query(collection), 100)
    return [document.fields for document in page.documents]


async def test_a_reading_of_the_existing_server_is_shown(container):
    await container.base.client.write([Create("telemetry", "auto-id", READING)])
    reader = await logged_in(container, "reader")
    answer = await reader.get("/api/telemetry?device_id=roof")
    assert [row["temp_tenths"] for row in answer.json()] == [237]
    assert answer.json()[0]["timestamp"] == THEN_MS


async def test_faults_and_fractions_of_the_existing_server_are_shown_by_every_route(container):
    fault = READING | {"temp_tenths": None, "sensor_ok": False, "state": "FAULT"}
    fraction = READING | {"temp_tenths": 236.5, "timestamp_ms": THEN_MS - 1}
    await container.base.client.write(
        [Create("telemetry", "fault", fault), Create("telemetry", "fraction", fraction)]
    )
    reader = await logged_in(container, "reader")
    window = f"start={THEN_MS - 1}&end={THEN_MS}"
    for path in ("telemetry?device_id=roof", f"telemetry/window?{window}", "telemetry/paginated"):
        answer = await reader.get(f"/api/{path}")
        assert answer.status == 200, path
        rows = answer.json()
        rows = rows["data"] if isinstance(rows, dict) else rows
        assert [(row["temp_tenths"], row["sensor_ok"]) for row in rows] == [
            (None, False),
            (237, True),
        ]


async def test_a_device_of_the_existing_server_is_listed_with_all_its_metadata(container):
    await container.base.client.write([Create("devices", "default_roof", DEVICE)])
    reader = await logged_in(container, "reader")
    (device,) = (await reader.get("/api/devices")).json()
    assert device["device_id"] == "roof"
    assert device["metadata"] == DEVICE["metadata"]


async def test_an_audit_entry_of_the_existing_server_is_shown(container):
    await container.base.client.write([Create("audit_log", "auto-id", ENTRY)])
    admin = await logged_in(container, "admin")
    entries = (await admin.get("/api/audit/recent")).json()
    assert entries[-1] == {
        "timestamp": THEN_MS,
        "action": "LOGIN_FAILURE",
        "username": "",
        "address": "",
        "success": True,
        "details": {},
    }


async def test_readings_are_stored_with_the_fields_of_the_existing_documents(container, clock):
    await Caller(container.app).post(
        "/api/sensor_data", {"temp_tenths": 237, "sensor_ok": True, "timestamp": clock.now_ms()}
    )
    (fields,) = await stored(container, "telemetry")
    assert set(READING) - {"created_at", "updated_at"} <= set(fields)
    assert fields["timestamp_ms"] == clock.now_ms()
    assert fields["utc_timestamp"].endswith("Z")


async def test_sessions_and_entries_have_the_fields_of_the_existing_documents(container):
    await logged_in(container, "operator")
    (session,) = await stored(container, "sessions")
    assert session["user_id"] == session["username"] == "operator"
    assert session["role"] == "operator"
    assert session["expires_at"] == session["expire_at"]
    assert "ip_address" in session
    (entry,) = await stored(container, "audit_log")
    assert entry["event_type"] == "LOGIN_SUCCESS"
    assert set(ENTRY) - {"user_agent"} <= set(entry)


async def test_a_session_that_an_earlier_version_opened_goes_on(container):
    reader = await logged_in(container, "reader")
    client = container.base.client
    (document,) = (await client.query(Query("sessions"), 100)).documents
    fields = {name: value for name, value in document.fields.items() if name not in LATER}
    await client.write([Put("sessions", document.id, {**fields, "address": "10.0.0.7"})])
    assert (await reader.get("/auth/status")).status == 200
    again = await Caller(container.app).post(
        "/auth/login", {"username": "reader", "password": PASSWORD}
    )
    assert again.status == 200


async def test_an_audit_entry_of_an_earlier_version_is_shown(container, clock):
    entry = {
        "tenant_id": "default",
        "timestamp_ms": clock.now_ms() - 1000,
        "action": "USER_LOCKED",
        "username": "reader",
        "address": "10.0.0.7",
        "success": False,
        "details": {"code": "X"},
        "expire_at": clock.now_ms() + 1000,
    }
    await container.base.client.write([Create("audit_log", "earlier", entry)])
    admin = await logged_in(container, "admin")
    entries = (await admin.get("/api/audit/recent")).json()
    assert entries[-1] == {
        "timestamp": entry["timestamp_ms"],
        "action": "USER_LOCKED",
        "username": "reader",
        "address": "10.0.0.7",
        "success": False,
        "details": {"code": "X"},
    }
