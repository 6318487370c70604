"""ZonesStore: stores zones and tenant settings; a write replaces only the version that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

import msgspec

from server.services.firestore.base import document_id
from server.services.firestore.models import TenantSettings, ZoneRecord, fields_of
from server.services.ports.documents import (
    PAGE_MAX,
    Create,
    Document,
    DocumentClient,
    Filter,
    Put,
    Query,
)

ZONES = "zones"
SETTINGS = "tenant_settings"
# Zones that are read in one go where other work must have its turn.
READ_AT_ONCE = 250


class Versioned(msgspec.Struct, frozen=True, gc=False):
    """A zone as it was read, and its version; None: it does not exist yet."""

    zone: ZoneRecord
    version: str | None


class VersionedSettings(msgspec.Struct, frozen=True):
    """A tenant's settings as they were read, and their version; None: they do not exist yet."""

    settings: TenantSettings
    version: str | None


class ZonesStore:
    """Zones and tenant settings on a `DocumentClient`."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client

    async def get(self, tenant_id: str, device_id: str) -> Versioned:
        """The zone; if it is not stored, a new one with version None."""
        document = await self._client.get(ZONES, document_id(tenant_id, device_id))
        return _versioned(document, tenant_id, device_id)

    async def get_many(self, tenant_id: str, device_ids: Sequence[str]) -> dict[str, Versioned]:
        """Each of these zones (at most BATCH_MAX), as `get` returns it."""
        ids = {device_id: document_id(tenant_id, device_id) for device_id in device_ids}
        found = await self._client.get_many(ZONES, list(ids.values()))
        return {
            device_id: _versioned(found.get(doc_id), tenant_id, device_id)
            for device_id, doc_id in ids.items()
        }

    async def last_seen(self, tenant_id: str) -> ZoneRecord | None:
        """The zone that posted last."""
        page = await self._client.query(_last_seen_first(tenant_id), 1)
        return msgspec.convert(page.documents[0].fields, ZoneRecord) if page.documents else None

    async def all(self, tenant_id: str) -> list[ZoneRecord]:
        """Every zone of the tenant in the order of device ids."""
        zones: list[ZoneRecord] = []
        cursor: str | None = None
        while True:
            page = await self._client.query(_of_tenant(tenant_id), PAGE_MAX, cursor)
            zones += (msgspec.convert(item.fields, ZoneRecord) for item in page.documents)
            cursor = page.next_cursor
            if cursor is None:
                return sorted(zones, key=lambda zone: zone.device_id)

    async def of_all_tenants(self) -> AsyncIterator[ZoneRecord]:
        """Every zone of every tenant, read page by page."""
        cursor: str | None = None
        while True:
            page = await self._client.query(Query(ZONES), PAGE_MAX, cursor)
            for item in page.documents:
                yield msgspec.convert(item.fields, ZoneRecord)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def newest_ms(self) -> int | None:
        """The date of the newest reading of all zones; None without a reading."""
        newest = 0
        async for zone in self.of_all_tenants():
            newest = max(newest, zone.timestamp_ms, zone.newest_ms)
        return newest or None

    async def seen_between(
        self, tenant_id: str, since_ms: int, until_ms: int
    ) -> AsyncIterator[ZoneRecord]:
        """The tenant's zones whose last post is in this time, `until_ms` not included."""
        tenant = Filter("tenant_id", "==", tenant_id)
        last = Filter("last_seen_ms", ">=", since_ms), Filter("last_seen_ms", "<", until_ms)
        query = Query(ZONES, (tenant, *last), order_by="last_seen_ms", direction="desc")
        cursor: str | None = None
        while True:
            page = await self._client.query(query, READ_AT_ONCE, cursor)
            for item in page.documents:
                yield msgspec.convert(item.fields, ZoneRecord)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def in_state(self, trust_state: str) -> AsyncIterator[ZoneRecord]:
        """Every zone of every tenant whose trust has this state, read some at a time."""
        query = Query(ZONES, (Filter("trust_state", "==", trust_state),))
        cursor: str | None = None
        while True:
            page = await self._client.query(query, READ_AT_ONCE, cursor)
            for item in page.documents:
                yield msgspec.convert(item.fields, ZoneRecord)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def count_by_trust(self, tenant_id: str, states: Sequence[str]) -> Counter[str]:
        """Count the tenant's zones in each of these states of trust.

        Zones without a state in their document count for the first state.
        """
        tenant = Filter("tenant_id", "==", tenant_id)
        counts: Counter[str] = Counter()
        for state in states[1:]:
            query = Query(ZONES, (tenant, Filter("trust_state", "==", state)))
            counts[state] = (await self._client.aggregate(query)).count
        counts[states[0]] = await self.count(tenant_id) - counts.total()
        return counts

    async def count(self, tenant_id: str) -> int:
        """The number of the tenant's zones."""
        return (await self._client.aggregate(_of_tenant(tenant_id))).count

    async def settings(self, tenant_id: str) -> VersionedSettings:
        """The tenant's settings; if none are stored, new ones with version None."""
        document = await self._client.get(SETTINGS, document_id(tenant_id))
        if document is None:
            return VersionedSettings(TenantSettings(tenant_id=tenant_id), None)
        return VersionedSettings(msgspec.convert(document.fields, TenantSettings), document.version)

    @staticmethod
    def zone_write(zone: ZoneRecord, version: str | None, *, typed: bool = False) -> Create | Put:
        """The write of a zone; it fails if the zone was written since `version`.

        Raises InvalidField for a wrong type. With `typed`, the caller guarantees the types.
        """
        doc_id = document_id(zone.tenant_id, zone.device_id)
        fields = zone if typed else fields_of(zone)
        if version is None:
            return Create(ZONES, doc_id, fields)
        return Put(ZONES, doc_id, fields, if_version=version)

    @staticmethod
    def settings_write(settings: TenantSettings, version: str | None) -> Create | Put:
        """The write of a tenant's settings; it fails if they were written since `version`."""
        doc_id, fields = document_id(settings.tenant_id), fields_of(settings)
        if version is None:
            return Create(SETTINGS, doc_id, fields)
        return Put(SETTINGS, doc_id, fields, if_version=version)


def _versioned(document: Document | None, tenant_id: str, device_id: str) -> Versioned:
    if document is None or document.fields.get("tenant_id") != tenant_id:
        return Versioned(ZoneRecord(tenant_id=tenant_id, device_id=device_id), None)
    return Versioned(msgspec.convert(document.fields, ZoneRecord), document.version)


def _of_tenant(tenant_id: str) -> Query:
    return Query(ZONES, (Filter("tenant_id", "==", tenant_id),))


def _last_seen_first(tenant_id: str) -> Query:
    tenant = (Filter("tenant_id", "==", tenant_id),)
    return Query(ZONES, tenant, order_by="last_seen_ms", direction="desc")
