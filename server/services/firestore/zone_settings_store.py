"""ZoneSettingsStore: stores what operators say of zones; a write replaces the version read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from server.services.firestore.base import document_id, in_parts
from server.services.firestore.models import ZoneSettings, fields_of
from server.services.ports.documents import (
    Create,
    Delete,
    Document,
    DocumentClient,
    Filter,
    Put,
    Query,
    Reads,
)

ZONE_SETTINGS = "zone_settings"
READ_AT_ONCE = 500


class KeptSettings(msgspec.Struct, frozen=True):
    """A zone's settings as they were read, and the document; None: there is none yet."""

    settings: ZoneSettings
    document: Document | None


class ZoneSettingsStore:
    """Settings of zones on a `DocumentClient`. They stay when a zone expires or its device goes."""

    def __init__(self, client: DocumentClient, reads: Reads) -> None:
        self._client = client
        self._reads = reads

    async def get(self, tenant_id: str, device_id: str) -> KeptSettings:
        """The zone's settings as the store has them."""
        document = await self._client.get(ZONE_SETTINGS, document_id(tenant_id, device_id))
        return _kept(document, tenant_id, device_id)

    async def get_many(self, tenant_id: str, device_ids: Sequence[str]) -> dict[str, ZoneSettings]:
        """The settings of each of these zones; they may come from the cache."""
        found: dict[str, ZoneSettings] = {}
        for some in in_parts(device_ids):
            ids = {device_id: document_id(tenant_id, device_id) for device_id in some}
            documents = await self._reads.get_many(ZONE_SETTINGS, list(ids.values()))
            for device_id, doc_id in ids.items():
                kept = _kept(documents.get(doc_id), tenant_id, device_id)
                found[device_id] = kept.settings
        return found

    async def limits_since(self, since_ms: int) -> AsyncIterator[list[ZoneSettings]]:
        """The settings of all tenants' zones whose thresholds were changed after this (Unix ms)."""
        query = Query(ZONE_SETTINGS, (Filter("limits_at", ">", since_ms),), "limits_at")
        cursor: str | None = None
        while True:
            page = await self._client.query(query, READ_AT_ONCE, cursor)
            yield [msgspec.convert(one.fields, ZoneSettings) for one in page.documents]
            cursor = page.next_cursor
            if cursor is None:
                return

    @staticmethod
    def settings_write(settings: ZoneSettings, before: KeptSettings) -> Create | Put:
        """The write of a zone's settings; it fails if they were written since `before` was read.

        Fields of the document that this version of the server does not know are kept. Raises
        InvalidField.
        """
        doc_id = document_id(settings.tenant_id, settings.device_id)
        if before.document is None:
            return Create(ZONE_SETTINGS, doc_id, fields_of(settings))
        fields: dict[str, Any] = {**before.document.fields, **fields_of(settings)}
        return Put(ZONE_SETTINGS, doc_id, fields, if_version=before.document.version)

    @staticmethod
    def deletion(tenant_id: str, device_id: str) -> Delete:
        """The write that deletes a zone's settings."""
        return Delete(ZONE_SETTINGS, document_id(tenant_id, device_id))


def _kept(document: Document | None, tenant_id: str, device_id: str) -> KeptSettings:
    if document is None or document.fields.get("tenant_id") != tenant_id:
        return KeptSettings(ZoneSettings(tenant_id=tenant_id, device_id=device_id), None)
    return KeptSettings(msgspec.convert(document.fields, ZoneSettings), document)
