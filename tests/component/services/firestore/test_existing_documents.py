"""Documents of the existing server: this server's have the same fields, and it can read theirs."""

from __future__ import annotations

import msgspec
import pytest

from server.services.firestore.document_history import DocumentHistory
from server.services.ports.documents import Create, Put, Query
from server.services.ports.readings import NewRow, Reading
from tests.conftest import PASSWORD
from tests.support.history_stores import end_upkeep
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
# Fields that sessions of earlier versions lack.
SHOWN = ("timestamp", "action", "username", "address", "success", "details")
LATER = {"user_id", "role", "expires_at", "ip_address"}


async def stored(container, collection):
    page = await container.base.client.query(Query(collection), 100)
    return [document.fields for document in page.documents]


@pytest.fixture
async def container(container):
    """The server without its background work, which would convert documents that are readings."""
    await end_upkeep(container)
    return container


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
    assert {name: entries[-1][name] for name in SHOWN} == {
        "timestamp": THEN_MS,
        "action": "LOGIN_FAILURE",
        "username": "",
        "address": "",
        "success": True,
        "details": {},
    }


async def test_a_reading_as_a_document_has_the_fields_of_the_existing_documents(container):
    reading = msgspec.convert(READING, Reading)
    await DocumentHistory(container.base.client, 90).write([], [NewRow("one", reading)])
    (fields,) = await stored(container, "telemetry")
    common = READING.keys() - {"created_at", "updated_at"}
    assert {name: fields[name] for name in common} == {name: READING[name] for name in common}


async def test_a_reading_as_a_document_expires_some_days_after_its_receipt(container, clock):
    reading = msgspec.convert(READING | {"received_ms": clock.now_ms()}, Reading)
    await DocumentHistory(container.base.client, 90).write([], [NewRow("one", reading)])
    (fields,) = await stored(container, "telemetry")
    assert fields["expire_at"] == clock.now_ms() + 90 * 86_400_000


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


async def test_a_session_of_an_earlier_version_stays_valid(container):
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
    assert {name: entries[-1][name] for name in SHOWN} == {
        "timestamp": entry["timestamp_ms"],
        "action": "USER_LOCKED",
        "username": "reader",
        "address": "10.0.0.7",
        "success": False,
        "details": {"code": "X"},
    }
