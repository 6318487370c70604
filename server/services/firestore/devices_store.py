"""DevicesStore: registered devices and the digests of their keys."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from server.clock import Clock
from server.services.firestore.base import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    Delete,
    DocumentClient,
    Filter,
    Put,
    Query,
    Update,
    Write,
    document_id,
)
from server.services.firestore.models import Device, Metadata, fields_of

COLLECTION = "devices"
KEYS = "device_keys"


class DevicesStore:
    """Devices on a `DocumentClient`."""

    def __init__(self, client: DocumentClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def register_device(
        self,
        tenant_id: str,
        device_id: str,
        metadata: Metadata | None = None,
        key_digest: str | None = None,
    ) -> Device:
        """Create the device, or renew its metadata and key; what is None stays as it is.

        Raises VersionConflict or AlreadyExists if someone else registered it at the same moment.
        """
        doc_id = document_id(tenant_id, device_id)
        document = await self._client.get(COLLECTION, doc_id)
        old = msgspec.convert(document.fields, Device) if document else None
        device = Device(
            tenant_id=tenant_id,
            device_id=device_id,
            metadata=(old.metadata if old else {}) if metadata is None else metadata,
            created_at=old.created_at if old else self._clock.now_ms(),
            key_digest=(old.key_digest if old else "") if key_digest is None else key_digest,
            last_seen_ms=old.last_seen_ms if old else 0,
        )
        writes: list[Write] = [
            Put(COLLECTION, doc_id, fields_of(device), if_version=document.version)
            if document
            else Create(COLLECTION, doc_id, fields_of(device))
        ]
        if key_digest is not None:
            owner = {"tenant_id": tenant_id, "device_id": device_id}
            writes.append(Create(KEYS, key_digest, owner))
            if old and old.key_digest:
                writes.append(Delete(KEYS, old.key_digest))
        await self._client.write(writes)
        return device

    async def make_known(self, tenant_id: str, device_id: str) -> None:
        """Register the device unless it is."""
        if await self.get_device(tenant_id, device_id) is None:
            with suppress(AlreadyExists):  # someone else did it at the same moment
                await self.register_device(tenant_id, device_id)

    async def update_last_seen(self, tenant_id: str, device_id: str) -> None:
        """Note that the device was heard of now. Raises VersionConflict if it is not registered."""
        fields = {"last_seen_ms": self._clock.now_ms()}
        await self._client.write([Update(COLLECTION, document_id(tenant_id, device_id), fields)])

    async def get_device(self, tenant_id: str, device_id: str) -> Device | None:
        """The device, or None."""
        document = await self._client.get(COLLECTION, document_id(tenant_id, device_id))
        return msgspec.convert(document.fields, Device) if document else None

    async def get_device_by_key(self, key_digest: str) -> Device | None:
        """The device whose key has this digest, of whatever tenant, or None."""
        owner = await self._client.get(KEYS, key_digest)
        if owner is None:
            return None
        device = await self.get_device(owner.fields["tenant_id"], owner.fields["device_id"])
        return device if device and device.key_digest == key_digest else None

    async def list_devices(self, tenant_id: str) -> list[Device]:
        """The tenant's devices by device id; the first 10,000."""
        query = Query(COLLECTION, (Filter("tenant_id", "==", tenant_id),))
        page = await self._client.query(query, PAGE_MAX)
        devices = (msgspec.convert(document.fields, Device) for document in page.documents)
        return sorted(devices, key=lambda device: device.device_id)
