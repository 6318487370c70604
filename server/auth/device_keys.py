"""DeviceKeys: which tenant and device a post speaks for."""

from __future__ import annotations

import secrets

from server.auth.principal import DEFAULT_TENANT, Principal
from server.auth.sessions import digest
from server.errors import Forbidden, Unauthenticated
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import Device

UNNAMED = "unknown"
KEY_MAX = 256


class DeviceKeys:
    """Keys of devices: long random texts, of which a digest is stored.

    `mode` optional: a device with a key must present it; required: every device must; off: keys
    are not looked at.
    """

    def __init__(self, devices: DevicesStore, mode: str) -> None:
        self._devices = devices
        self._mode = mode

    async def issue(self, tenant_id: str, device_id: str) -> str:
        """Register the device with a new key, which replaces an earlier one, and is told once."""
        key = "bas_" + secrets.token_urlsafe(32)
        await self._devices.register_device(tenant_id, device_id, key_digest=digest(key))
        return key

    async def identify(
        self, key: str | None, device_id: str | None, caller: Principal | None
    ) -> tuple[str, str]:
        """The tenant and device of a post with this key, naming this device, by this caller.

        Without a key a device belongs to the caller's tenant, or to the default one. Raises
        Unauthenticated for a wrong or missing key, Forbidden for a key of another device or a
        caller who may not speak for devices.
        """
        if key and self._mode != "off":
            device = await self._by_key(key)
            if device_id is not None and device_id != device.device_id:
                raise Forbidden("Key of another device", "DEVICE_MISMATCH")
            return device.tenant_id, device.device_id
        if caller is not None and not caller.may("operator"):
            raise Forbidden(message=f"{caller.role} role cannot perform this action")
        tenant_id = caller.tenant_id if caller else DEFAULT_TENANT
        device_id = device_id or UNNAMED
        if self._mode == "required" or (
            self._mode == "optional" and await self._has_key(tenant_id, device_id)
        ):
            raise Unauthenticated(
                "Device key required",
                "DEVICE_KEY_REQUIRED",
                "send it as Authorization: Bearer KEY or X-Device-Key",
            )
        return tenant_id, device_id

    async def _by_key(self, key: str) -> Device:
        if len(key) <= KEY_MAX:
            for fresh in (False, True):  # nobody is refused for what may have changed since
                device = await self._devices.get_device_by_key(digest(key), fresh=fresh)
                if device is not None:
                    return device
        raise Unauthenticated("Invalid device key", "INVALID_DEVICE_KEY")

    async def _has_key(self, tenant_id: str, device_id: str) -> bool:
        for fresh in (False, True):
            device = await self._devices.get_device(tenant_id, device_id, fresh=fresh)
            if device is None or not device.key_digest:
                return False
        return True
