"""Zones' settings and the list of zones on each DocumentClient."""

from __future__ import annotations

import msgspec
import pytest

from server.services.firestore.devices_store import device_write
from server.services.firestore.models import Device, ZoneRecord
from server.services.firestore.zone_directory import ZoneDirectory
from server.services.firestore.zone_settings_store import ZONE_SETTINGS, ZoneSettingsStore
from server.services.firestore.zones_store import ZonesStore
from server.services.ports.documents import (
    AlreadyExists,
    DocumentClient,
    Update,
    VersionConflict,
)


async def test_a_change_keeps_unknown_fields_and_replaces_only_the_version_that_was_read(
    client: DocumentClient,
) -> None:
    store = ZoneSettingsStore(client, client)
    before = await store.get("here", "a/b")
    assert (before.document, before.settings.version) == (None, 0)
    first = msgspec.structs.replace(before.settings, version=1, name="One", updated_at=5)
    write = store.settings_write(first, before)
    await client.write([write])
    with pytest.raises(AlreadyExists):
        await client.write([write])
    kept = await store.get("here", "a/b")
    assert kept.settings == first
    await client.write([Update(ZONE_SETTINGS, write.id, {"schedule": {"mon": [7, 19]}})])
    second = msgspec.structs.replace(first, version=2, location="Roof")
    with pytest.raises(VersionConflict):
        await client.write([store.settings_write(second, kept)])
    await client.write([store.settings_write(second, await store.get("here", "a/b"))])
    kept = await store.get("here", "a/b")
    assert kept.document is not None
    assert (kept.settings, kept.document.fields["schedule"]) == (second, {"mon": [7, 19]})
    assert (await store.get("there", "a/b")).document is None
    many = await store.get_many("here", ["a/b", "c"])
    assert [many["a/b"].name, many["c"].name] == ["One", ""]
    await client.write([store.deletion("here", "a/b")])
    assert (await store.get("here", "a/b")).document is None


async def test_thresholds_that_were_changed_since_a_time_are_found_for_all_tenants(
    client: DocumentClient,
) -> None:
    store = ZoneSettingsStore(client, client)
    for tenant, device, limits_at in (("a", "x", 5), ("b", "y", 7), ("a", "never", 0)):
        before = await store.get(tenant, device)
        one = msgspec.structs.replace(before.settings, high_tenths=80, limits_at=limits_at)
        await client.write([store.settings_write(one, before)])

    async def found(since_ms: int) -> list[tuple[str, str]]:
        parts = [some async for some in store.limits_since(since_ms)]
        return [(one.tenant_id, one.device_id) for some in parts for one in some]

    assert await found(0) == [("a", "x"), ("b", "y")]
    assert await found(5) == [("b", "y")]
    assert await found(7) == []


async def test_zones_and_registered_devices_are_listed_once_and_page_by_page(
    client: DocumentClient,
) -> None:
    store = ZoneSettingsStore(client, client)
    directory = ZoneDirectory(client, store)
    assert await directory.page_of_zones("here", 5) == ([], None)
    zones, devices = ["b", "c_d", "e/f", "g"], ["a", "c_d", "h"]
    await client.write(
        [
            *(
                ZonesStore.zone_write(ZoneRecord(tenant_id=tenant, device_id=one), None)
                for tenant in ("here", "there")
                for one in zones
            ),
            *(device_write(Device(tenant_id="here", device_id=one), None) for one in devices),
        ]
    )
    for limit in (1, 2, 3, 6, 100):
        found, cursor = await directory.page_of_zones("here", limit)
        while cursor is not None:
            more, cursor = await directory.page_of_zones("here", limit, cursor)
            assert 1 <= len(more) <= limit
            found += more
        names = [one.device_id for one in found]
        assert sorted(names) == ["a", "b", "c_d", "e/f", "g", "h"]
        assert len(set(names)) == 6
        assert {one.device_id for one in found if one.record} == set(zones)
        assert {one.device_id for one in found if one.device} == set(devices)
    some = await directory.some_zones("here", ["e/f", "a", "none"])
    assert sorted(one.device_id for one in some) == ["a", "e/f"]
