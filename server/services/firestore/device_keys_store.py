"""DeviceKeysStore: stores the digests of devices' keys; each key names its device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from server.common.clock import Clock
from server.common.errors import NotFound
from server.services.firestore.base import document_id, in_parts
from server.services.firestore.devices_store import COLLECTION as DEVICES
from server.services.firestore.devices_store import device_of, device_write
from server.services.firestore.models import DAY_MS, Device, DeviceKey
from server.services.firestore.zones_store import ZONES
from server.services.ports.documents import (
    Create,
    Delete,
    Document,
    DocumentClient,
    Put,
    Reads,
    Update,
    VersionConflict,
    Write,
)

KEYS = "device_keys"
# Both keys of a rotation are valid until the new one is used, and at most for this time.
OVERLAP_MS = DAY_MS


class DeviceKeysStore:
    """Keys on a `DocumentClient`. A key is valid exactly while it has a document.

    A change of a device's keys is one write over the version of the device that was read. It raises
    VersionConflict or AlreadyExists if another caller changed the device at the same moment.
    """

    def __init__(self, client: DocumentClient, clock: Clock, reads: Reads) -> None:
        self._client = client
        self._clock = clock
        self._reads = reads

    async def get(self, digest: str, *, fresh: bool = True) -> DeviceKey | None:
        """The valid key with this digest, of any tenant; unless `fresh`, it may be a cached one."""
        document = await (self._client if fresh else self._reads).get(KEYS, digest)
        return None if document is None else self._valid(document)

    async def get_many(self, digests: Sequence[str]) -> dict[str, DeviceKey]:
        """The valid keys among these, by digest."""
        keys: dict[str, DeviceKey] = {}
        for some in in_parts(digests):
            found = await self._client.get_many(KEYS, some)
            valid = (self._valid(document) for document in found.values())
            keys |= {key.digest: key for key in valid if key is not None}
        return keys

    async def replace(self, tenant_id: str, device_id: str, digest: str) -> Device:
        """Give the device this key alone; it is registered if it is not yet."""
        device, version = await self._device(tenant_id, device_id)
        new = DeviceKey(tenant_id=tenant_id, device_id=device_id)
        return await self._changed(
            msgspec.structs.replace(
                device, key_digest=digest, old_key_digest="", key_revoked=False
            ),
            version,
            [_create(digest, new), *_deletes(device.key_digest, device.old_key_digest)],
        )

    async def rotate(self, tenant_id: str, device_id: str, digest: str) -> int | None:
        """Give the device this key too; return until when (Unix ms) the old one is valid.

        The old one is the key that the device uses: if an earlier rotation made a key that was
        never used, that key ends. Returns None if the device has no valid key. Raises NotFound if
        it is not registered.
        """
        device, version = await self._registered(tenant_id, device_id)
        keys = await self.get_many([one for one in _digests(device) if one])
        newest, older = keys.get(device.key_digest), keys.get(device.old_key_digest)
        used = older if older and newest and newest.replaces == older.digest else newest
        until_ms = self._clock.now_ms() + OVERLAP_MS if used else None
        writes: list[Write] = []
        if used is not None and until_ms is not None:
            fields = _fields(msgspec.structs.replace(used, until_ms=until_ms, replaces=""))
            writes.append(Put(KEYS, used.digest, fields))
        old = used.digest if used else ""
        writes += _deletes(*(one for one in _digests(device) if one != old))
        new = DeviceKey(tenant_id=tenant_id, device_id=device_id, replaces=old)
        await self._changed(
            msgspec.structs.replace(
                device, key_digest=digest, old_key_digest=old, key_revoked=False
            ),
            version,
            [_create(digest, new), *writes],
        )
        return until_ms

    async def revoke(self, tenant_id: str, device_id: str) -> Device:
        """End all keys of the device; it needs a new one. Raises NotFound."""
        device, version = await self._registered(tenant_id, device_id)
        return await self._changed(
            msgspec.structs.replace(device, key_digest="", old_key_digest="", key_revoked=True),
            version,
            _deletes(*_digests(device)),
        )

    async def delete_device(self, tenant_id: str, device_id: str) -> None:
        """Delete the device, its keys and its zone; its readings stay. Raises NotFound."""
        device, version = await self._registered(tenant_id, device_id)
        doc_id = document_id(tenant_id, device_id)
        own = Delete(DEVICES, doc_id, if_version=version), Delete(ZONES, doc_id)
        await self._client.write([*own, *_deletes(*_digests(device))])

    async def used(self, uses: Mapping[str, int]) -> None:
        """Note when (Unix ms) the keys with these digests were used; ended keys are left out."""
        for some in in_parts(list(uses)):
            writes = [Update(KEYS, digest, {"used_ms": uses[digest]}) for digest in some]
            try:
                await self._client.write(writes)
            except VersionConflict:  # one of them ended
                known = await self._client.get_many(KEYS, some)
                for write in writes:
                    if write.id in known:
                        await self._note(write)

    async def end_replaced(self, key: DeviceKey, used_ms: int) -> None:
        """End the key that this one replaces, since this one was used at `used_ms`."""
        device, version = await self._device(key.tenant_id, key.device_id)
        if version is None or _digests(device) != (key.digest, key.replaces):
            return  # its keys were changed since
        writes = [
            device_write(msgspec.structs.replace(device, old_key_digest=""), version),
            Update(KEYS, key.digest, {"used_ms": used_ms, "replaces": ""}),
            *_deletes(key.replaces),
        ]
        await self._client.write(writes)

    async def _note(self, write: Update) -> None:
        try:
            await self._client.write([write])
        except VersionConflict:
            return  # it ended just now

    async def _registered(self, tenant_id: str, device_id: str) -> tuple[Device, str]:
        device, version = await self._device(tenant_id, device_id)
        if version is None:
            raise NotFound("Unknown device", "DEVICE_NOT_FOUND", f"no device {device_id!r} here")
        return device, version

    async def _device(self, tenant_id: str, device_id: str) -> tuple[Device, str | None]:
        document = await self._client.get(DEVICES, document_id(tenant_id, device_id))
        device = device_of(document, tenant_id)
        if document is None or device is None:
            now_ms = self._clock.now_ms()
            return Device(tenant_id=tenant_id, device_id=device_id, created_at=now_ms), None
        return device, document.version

    async def _changed(self, device: Device, version: str | None, more: Sequence[Write]) -> Device:
        await self._client.write([device_write(device, version), *more])
        return device

    def _valid(self, document: Document) -> DeviceKey | None:
        key = msgspec.convert({**document.fields, "digest": document.id}, DeviceKey)
        return None if key.until_ms and key.until_ms <= self._clock.now_ms() else key


def _digests(device: Device) -> tuple[str, str]:
    return device.key_digest, device.old_key_digest


def _fields(key: DeviceKey) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(key)
    del fields["digest"]  # the document's id
    return fields


def _create(digest: str, key: DeviceKey) -> Create:
    return Create(KEYS, digest, _fields(key))


def _deletes(*digests: str) -> list[Write]:
    return [Delete(KEYS, digest) for digest in digests if digest]
