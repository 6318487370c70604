"""Stores refuse what they cannot mean, and never show a tenant what belongs to another."""

from __future__ import annotations

import pytest

from server.errors import InvalidField
from server.services.firestore.base import AlreadyExists, Create, document_id
from server.services.firestore.models import Reading, ZoneRecord
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.firestore.zones_store import ZonesStore

READING = {
    "tenant_id": "default",
    "device_id": "roof",
    "timestamp_ms": 1_700_000_000_000,
    "temp_tenths": 235,
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
    "cool_active": False,
    "heat_active": True,
    "state": "IDLE",
    "sensor_ok": True,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant_id", ""),
        ("device_id", ""),
        ("tenant_id", None),
        ("temp_tenths", "235"),
        ("temp_tenths", True),
        ("temp_tenths", 23.5),
        ("timestamp_ms", None),
        ("sensor_ok", 1),
        ("state", 3),
        ("temp_tenths", 2**63),
        ("received_ms", -(2**63) - 1),
    ],
)
def test_a_reading_of_wrong_types_cannot_be_stored(field, value):
    with pytest.raises(InvalidField) as refusal:
        TelemetryStore.creation("id", Reading(**READING | {field: value}))
    assert refusal.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2**63])
def test_a_zone_that_switched_at_no_time_cannot_be_stored(value):
    zone = ZoneRecord(tenant_id="default", device_id="roof", cool_changed_ms=value)
    with pytest.raises(InvalidField):
        ZonesStore.zone_write(zone, None)


def test_a_zone_of_nobody_cannot_be_stored():
    with pytest.raises(InvalidField):
        ZonesStore.zone_write(ZoneRecord(tenant_id="", device_id="roof"), None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"role": "king"}, "role"),
        ({"role": None}, "role"),
        ({"password_hash": 7}, "password_hash"),
        ({"tenant_id": None}, "tenant_id"),
        ({"last_login": "today"}, "last_login"),
        ({"username": "other"}, "username"),
        ({"created_at": 1}, "created_at"),
    ],
)
async def test_an_account_is_changed_to_nothing_impossible(container, changes, field):
    users = container.base.stores.users
    before = await users.get_user_by_username("reader")
    with pytest.raises(InvalidField) as refusal:
        await users.update_user("reader", {"last_login": 5} | changes)
    assert field in (refusal.value.message or "")
    assert await users.get_user_by_username("reader") == before


@pytest.mark.parametrize("role", ["king", "", None, 3])
async def test_an_account_is_created_with_no_unknown_role(container, role):
    with pytest.raises(InvalidField, match="role"):
        await container.base.stores.users.create_user("new", "hash", role, "default")
    assert await container.base.stores.users.get_user_by_username("new") is None


async def test_a_document_under_anothers_id_is_not_shown(container):
    stores, doc_id = container.base.stores, document_id("default", "roof")
    foreign = {"tenant_id": "elsewhere", "device_id": "roof", "metadata": {"secret": 1}}
    await container.base.client.write(
        [
            Create("devices", doc_id, foreign),
            Create("zones", doc_id, foreign | {"temp_tenths": 999}),
            Create("telemetry", "one", READING | {"tenant_id": "elsewhere"}),
        ]
    )
    assert await stores.devices.get_device("default", "roof") is None
    assert (await stores.zones.get("default", "roof")).zone.temp_tenths == 0
    assert await stores.telemetry.get_many("default", ["one"]) == []
    assert await stores.telemetry.query_recent("default", None) == []
    with pytest.raises(AlreadyExists):
        await stores.devices.register_device("default", "roof")
    assert await stores.devices.get_device("elsewhere", "roof") is None


async def test_registering_again_keeps_what_else_is_known_of_a_device(container):
    devices = container.base.stores.devices
    known = {"tenant_id": "default", "device_id": "roof", "last_seen": 7, "status": "maintenance"}
    await container.base.client.write([Create("devices", document_id("default", "roof"), known)])
    device = await devices.register_device("default", "roof", {"floor": 3})
    assert (device.last_seen, device.status) == (7, "maintenance")
    assert await devices.get_device("default", "roof") == device
