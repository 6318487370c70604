"""Stores refuse invalid documents, and never show a tenant another tenant's documents."""

from __future__ import annotations

import pytest

from server.common.errors import InvalidField
from server.services.firestore.base import document_id
from server.services.firestore.models import ZoneRecord
from server.services.firestore.telemetry_store import new_row
from server.services.firestore.zones_store import ZonesStore
from server.services.ports.documents import AlreadyExists, Create
from server.services.ports.readings import Reading
from tests.support.history_stores import end_upkeep

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
def test_a_reading_with_a_wrong_type_cannot_be_stored(field, value):
    with pytest.raises(InvalidField) as refusal:
        new_row("id", Reading(**READING | {field: value}))
    assert refusal.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2**63])
def test_a_zone_with_an_invalid_switching_time_cannot_be_stored(value):
    zone = ZoneRecord(tenant_id="default", device_id="roof", cool_changed_ms=value)
    with pytest.raises(InvalidField):
        ZonesStore.zone_write(zone, None)


def test_a_zone_without_a_tenant_cannot_be_stored():
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
async def test_an_account_cannot_be_changed_to_invalid_values(container, changes, field):
    users = container.base.stores.users
    before = await users.get_user_by_username("reader")
    with pytest.raises(InvalidField) as refusal:
        await users.update_user("reader", {"last_login": 5} | changes)
    assert field in (refusal.value.message or "")
    assert await users.get_user_by_username("reader") == before


@pytest.mark.parametrize("role", ["king", "", None, 3])
async def test_an_account_with_an_unknown_role_cannot_be_created(container, role):
    with pytest.raises(InvalidField, match="role"):
        await container.base.stores.users.create_user("new", "hash", role, "default")
    assert await container.base.stores.users.get_user_by_username("new") is None


async def test_a_document_of_another_tenant_under_the_own_id_is_not_shown(container):
    await end_upkeep(container)
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
    assert await stores.telemetry.known("default", ["one"]) == {}
    assert (await stores.telemetry.known("elsewhere", ["one"])).keys() == {"one"}
    assert await stores.telemetry.query_recent("default", None) == []
    with pytest.raises(AlreadyExists):
        await stores.devices.register_device("default", "roof")
    assert await stores.devices.get_device("elsewhere", "roof") is None


async def test_a_second_registration_keeps_the_other_fields_of_a_device(container):
    devices = container.base.stores.devices
    known = {"tenant_id": "default", "device_id": "roof", "last_seen": 7, "status": "maintenance"}
    await container.base.client.write([Create("devices", document_id("default", "roof"), known)])
    device = await devices.register_device("default", "roof", {"floor": 3})
    assert (device.last_seen, device.status) == (7, "maintenance")
    assert await devices.get_device("default", "roof") == device
