"""DevicesStore: stores registered devices and the digests of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from server.common.clock import Clock
from server.services.firestore.base import document_id, in_parts
from server.services.firestore.models import Device, Metadata, fields_of
from server.services.ports.documents import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    Delete,
    Document,
    DocumentClient,
    EmptyField,
    Filter,
    Put,
    Query,
    Reads,
    Update,
    VersionConflict,
    Write,
)

COLLECTION = "devices"
KEYS = "device_keys"


class DevicesStore:
    """Devices on a `DocumentClient`."""

    def __init__(self, client: DocumentClient, clock: Clock, reads: Reads) -> None:
        self._client = client
        self._clock = clock
        self._reads = reads

    async def register_device(
        self,
        tenant_id: str,
        device_id: str,
        metadata: Metadata | None = None,
        key_digest: str | None = None,
    ) -> Device:
        """Create the device, or replace its metadata and key; an argument of None changes nothing.

        Raises VersionConflict or AlreadyExists if another caller registered it at the same moment.
        """
        doc_id = document_id(tenant_id, device_id)
        document = await self._client.get(COLLECTION, doc_id)
        old = _device(document, tenant_id)
        device = old or Device(
            tenant_id=tenant_id, device_id=device_id, created_at=self._clock.now_ms()
        )
        device = msgspec.structs.replace(
            device,
            metadata=device.metadata if metadata is None else metadata,
            key_digest=device.key_digest if key_digest is None else key_digest,
        )
        writes: list[Write] = [
            Put(COLLECTION, doc_id, fields_of(device), if_version=document.version)
            if document and old
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
        """Register the device if it is not registered."""
        if await self.get_device(tenant_id, device_id) is None:
            with suppress(AlreadyExists, VersionConflict):  # another caller registered it
                await self.register_device(tenant_id, device_id)

    async def update_last_seen(self, tenant_id: str, device_id: str) -> None:
        """Set the device's `last_seen` to now. Raises VersionConflict if it is not registered."""
        fields = {"last_seen": self._clock.now_ms()}
        await self._client.write([Update(COLLECTION, document_id(tenant_id, device_id), fields)])

    async def set_status(self, tenant_id: str, device_id: str, status: str) -> None:
        """Set the device's `status`, a note. Raises VersionConflict if it is not registered."""
        fields = {"status": status}
        await self._client.write([Update(COLLECTION, document_id(tenant_id, device_id), fields)])

    async def get_device(
        self, tenant_id: str, device_id: str, *, fresh: bool = True
    ) -> Device | None:
        """The device, or None; unless `fresh`, it may come from the cache."""
        reads = self._client if fresh else self._reads
        document = await reads.get(COLLECTION, document_id(tenant_id, device_id))
        return _device(document, tenant_id)

    async def get_devices(
        self, tenant_id: str, device_ids: Sequence[str], *, fresh: bool = True
    ) -> dict[str, Device]:
        """The devices that exist among these, by device id; `fresh` as in `get_device`."""
        reads = self._client if fresh else self._reads
        devices: dict[str, Device] = {}
        for some in in_parts(device_ids):
            ids = [document_id(tenant_id, device_id) for device_id in some]
            found = await reads.get_many(COLLECTION, ids)
            for device in (_device(document, tenant_id) for document in found.values()):
                if device is not None:
                    devices[device.device_id] = device
        return devices

    async def get_device_by_key(self, key_digest: str, *, fresh: bool = True) -> Device | None:
        """The device of any tenant whose key has this digest, or None; see `get_device`."""
        owner = await (self._client if fresh else self._reads).get(KEYS, key_digest)
        if owner is None:
            return None
        tenant_id, device_id = owner.fields["tenant_id"], owner.fields["device_id"]
        device = await self.get_device(tenant_id, device_id, fresh=fresh)
        return device if device and device.key_digest == key_digest else None

    @staticmethod
    def without_key(tenant_id: str, device_id: str) -> EmptyField:
        """The demand that the device has no key; see `TelemetryStore.write`."""
        return EmptyField(COLLECTION, document_id(tenant_id, device_id), "key_digest")

    async def list_devices(self, tenant_id: str) -> list[Device]:
        """The tenant's devices in the order of device ids; at most 10,000."""
        query = Query(COLLECTION, (Filter("tenant_id", "==", tenant_id),))
        page = await self._client.query(query, PAGE_MAX)
        devices = (msgspec.convert(document.fields, Device) for document in page.documents)
        return sorted(devices, key=lambda device: device.device_id)


def _device(document: Document | None, tenant_id: str) -> Device | None:
    """The document's device; None without a document, or if it belongs to another tenant."""
    if document is None or document.fields.get("tenant_id") != tenant_id:
        return None
    return msgspec.convert(document.fields, Device)
