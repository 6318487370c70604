"""DevicesStore: stores registered devices."""

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
    Document,
    DocumentClient,
    EmptyFields,
    Filter,
    Put,
    Query,
    Reads,
    Update,
    VersionConflict,
)

COLLECTION = "devices"


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
    ) -> Device:
        """Create the device, or replace its metadata unless that is None.

        Raises VersionConflict or AlreadyExists if another caller registered it at the same moment.
        """
        doc_id = document_id(tenant_id, device_id)
        document = await self._client.get(COLLECTION, doc_id)
        old = device_of(document, tenant_id)
        device = old or Device(
            tenant_id=tenant_id, device_id=device_id, created_at=self._clock.now_ms()
        )
        if metadata is not None:
            device = msgspec.structs.replace(device, metadata=metadata)
        version = document.version if document and old else None
        await self._client.write([device_write(device, version)])
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
        return device_of(document, tenant_id)

    async def get_devices(
        self, tenant_id: str, device_ids: Sequence[str], *, fresh: bool = True
    ) -> dict[str, Device]:
        """The devices that exist among these, by device id; `fresh` as in `get_device`."""
        reads = self._client if fresh else self._reads
        devices: dict[str, Device] = {}
        for some in in_parts(device_ids):
            ids = [document_id(tenant_id, device_id) for device_id in some]
            found = await reads.get_many(COLLECTION, ids)
            for device in (device_of(document, tenant_id) for document in found.values()):
                if device is not None:
                    devices[device.device_id] = device
        return devices

    @staticmethod
    def without_key(tenant_id: str, device_id: str) -> EmptyFields:
        """The demand that the device needs no key; see `TelemetryStore.write`."""
        fields = "key_digest", "key_revoked"
        return EmptyFields(COLLECTION, document_id(tenant_id, device_id), fields)

    async def list_devices(self, tenant_id: str) -> list[Device]:
        """The tenant's devices in the order of device ids; at most 10,000."""
        query = Query(COLLECTION, (Filter("tenant_id", "==", tenant_id),))
        page = await self._client.query(query, PAGE_MAX)
        devices = (msgspec.convert(document.fields, Device) for document in page.documents)
        return sorted(devices, key=lambda device: device.device_id)


def device_of(document: Document | None, tenant_id: str) -> Device | None:
    """The document's device; None without a document, or if it belongs to another tenant."""
    if document is None or document.fields.get("tenant_id") != tenant_id:
        return None
    return msgspec.convert(document.fields, Device)


def device_write(device: Device, version: str | None) -> Create | Put:
    """The write of a device over this version; None: it does not exist yet. Raises InvalidField."""
    doc_id, fields = document_id(device.tenant_id, device.device_id), fields_of(device)
    if version is None:
        return Create(COLLECTION, doc_id, fields)
    return Put(COLLECTION, doc_id, fields, if_version=version)
