"""KeyService: makes, rotates, revokes and lists devices' keys, and deletes devices; audited."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from server.auth.account_audit import Actor
from server.auth.sessions import digest
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.device_keys_store import DeviceKeysStore
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import Device, DeviceKey

KEY_BYTES = 32


class MadeKey(NamedTuple):
    """A new key, which cannot be read later; the old one is valid until `old_until_ms`, if at all.

    Unix ms.
    """

    key: str
    old_until_ms: int | None = None


class KeptDevice(NamedTuple):
    """A registered device and its valid keys: the newest, and the one that it replaces."""

    device: Device
    key: DeviceKey | None
    old: DeviceKey | None

    @property
    def used_ms(self) -> int:
        """When a post came last with a key that is valid now (Unix ms); 0 for never."""
        return max((one.used_ms for one in (self.key, self.old) if one is not None), default=0)


class KeyService:
    """Changes of one tenant's devices. Raises Conflict if two change one device at once.

    A key is `bas_` and 32 random bytes; only its digest is stored. A device with another key keeps
    its zone: name, settings and history.
    """

    def __init__(self, devices: DevicesStore, keys: DeviceKeysStore, audit: AuditStore) -> None:
        self._devices = devices
        self._keys = keys
        self._audit = audit

    async def issue(self, actor: Actor, tenant_id: str, device_id: str) -> MadeKey:
        """Register the device with a new key; its earlier keys end at once."""
        key = _new_key()
        await self._keys.replace(tenant_id, device_id, digest(key))
        await self._log(actor, "DEVICE_KEY_ISSUED", tenant_id, device_id)
        return MadeKey(key)

    async def rotate(self, actor: Actor, tenant_id: str, device_id: str) -> MadeKey:
        """Make a new key; the old one is valid until the new one is used, at most for a day.

        Raises NotFound.
        """
        key = _new_key()
        until_ms = await self._keys.rotate(tenant_id, device_id, digest(key))
        await self._log(actor, "DEVICE_KEY_ROTATED", tenant_id, device_id, old_until=until_ms)
        return MadeKey(key, until_ms)

    async def revoke(self, actor: Actor, tenant_id: str, device_id: str) -> None:
        """End the device's keys, on every process within 5 s; it then needs a new one.

        Raises NotFound.
        """
        await self._keys.revoke(tenant_id, device_id)
        await self._log(actor, "DEVICE_KEY_REVOKED", tenant_id, device_id)

    async def delete(self, actor: Actor, tenant_id: str, device_id: str) -> None:
        """Delete the device, its keys and its zone; its readings stay. Raises NotFound."""
        await self._keys.delete_device(tenant_id, device_id)
        await self._log(actor, "DEVICE_DELETED", tenant_id, device_id)

    async def all(self, tenant_id: str) -> list[KeptDevice]:
        """The tenant's devices in the order of device ids; at most 10,000."""
        devices = await self._devices.list_devices(tenant_id)
        digests = [
            one for device in devices for one in (device.key_digest, device.old_key_digest) if one
        ]
        keys = await self._keys.get_many(digests)
        return [
            KeptDevice(device, keys.get(device.key_digest), keys.get(device.old_key_digest))
            for device in devices
        ]

    async def _log(
        self, actor: Actor, action: str, tenant_id: str, device_id: str, **details: Any
    ) -> None:
        await self._audit.log_event(
            action,
            tenant_id=tenant_id,
            username=actor.name,
            address=actor.address,
            details={"device_id": device_id, **details},
        )


def _new_key() -> str:
    return "bas_" + secrets.token_urlsafe(KEY_BYTES)
