"""ZoneDirectory: lists a tenant's zones, those that posted and those whose device is registered."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from server.services.firestore.base import document_id, in_parts
from server.services.firestore.devices_store import COLLECTION as DEVICES
from server.services.firestore.models import Device, ZoneRecord, ZoneSettings
from server.services.firestore.zone_settings_store import ZoneSettingsStore
from server.services.firestore.zones_store import ZONES
from server.services.ports.cursors import encode_cursor
from server.services.ports.documents import Document, DocumentClient, Filter, Query


class ListedZone(msgspec.Struct, frozen=True):
    """A zone; its record is None if it never posted, its device if that is not registered."""

    device_id: str
    settings: ZoneSettings
    record: ZoneRecord | None
    device: Device | None


class ZoneDirectory:
    """Lists on a `DocumentClient`. Each list is in the order of the documents' ids."""

    def __init__(self, client: DocumentClient, settings: ZoneSettingsStore) -> None:
        self._client = client
        self._settings = settings

    async def page_of_zones(
        self, tenant_id: str, limit: int, cursor: str | None = None
    ) -> tuple[list[ListedZone], str | None]:
        """At most `limit` (1 to 1000) zones, and the cursor after them; None at the end.

        Raises Invalid for a malformed cursor.
        """
        tenant = (Filter("tenant_id", "==", tenant_id),)
        query = Query(ZONES, tenant)
        # Both collections have the same ids, and so the same cursors.
        zones = await self._client.query(query, limit, cursor)
        devices = await self._client.query(Query(DEVICES, tenant), limit, cursor)
        found = {one.id: one for one in (*devices.documents, *zones.documents)}
        shown = sorted(found)[:limit]
        last = shown[-1] if shown else ""
        is_last = len(shown) == len(found) and not zones.next_cursor and not devices.next_cursor
        following = None if is_last else encode_cursor(query, found[last])
        records = {one.id: one for one in zones.documents if one.id <= last}
        known = {one.id: one for one in devices.documents if one.id <= last}
        return await self._listed(tenant_id, records, known), following

    async def some_zones(self, tenant_id: str, device_ids: Collection[str]) -> list[ListedZone]:
        """Those of these zones that exist."""
        records: dict[str, Document] = {}
        devices: dict[str, Document] = {}
        ids = sorted(document_id(tenant_id, device_id) for device_id in device_ids)
        for some in in_parts(ids):
            records |= await self._client.get_many(ZONES, some)
            devices |= await self._client.get_many(DEVICES, some)
        return await self._listed(tenant_id, records, devices)

    async def _listed(
        self, tenant_id: str, records: dict[str, Document], devices: dict[str, Document]
    ) -> list[ListedZone]:
        names = {
            doc_id: str((records.get(doc_id) or devices[doc_id]).fields["device_id"])
            for doc_id in sorted(records.keys() | devices.keys())
        }
        settings = await self._settings.get_many(tenant_id, list(names.values()))
        return [
            ListedZone(
                name,
                settings[name],
                msgspec.convert(records[doc_id].fields, ZoneRecord) if doc_id in records else None,
                msgspec.convert(devices[doc_id].fields, Device) if doc_id in devices else None,
            )
            for doc_id, name in names.items()
        ]
