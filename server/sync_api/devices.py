"""SyncDevices: lets threads register devices, and query them as dicts."""

from __future__ import annotations

from typing import Any

import msgspec

from server.common.metrics import Metrics
from server.services.firestore.models import Device, Metadata
from server.services.firestore.service_factory import Stores
from server.sync_api.bridge import SyncBridge
from server.sync_api.face import Face, checked_name

METADATA_MAX = 32


class SyncDevices(Face):
    """The devices store of the existing server."""

    name = "devices"

    def __init__(self, bridge: SyncBridge, metrics: Metrics, stores: Stores) -> None:
        super().__init__(bridge, metrics)
        self._devices = stores.devices
        self._zones = stores.zones

    def register_device(
        self, tenant_id: str, device_id: str, metadata: dict[str, Any] | None = None
    ) -> bool:
        """Create the device, or update its metadata (flat: text, numbers, booleans, None)."""
        checked_name(tenant_id, "tenant_id")
        checked_name(device_id, "device_id")
        try:
            kept = None if metadata is None else msgspec.convert(metadata, Metadata)
        except msgspec.ValidationError as error:
            raise TypeError(f"metadata: {error}") from None
        if kept is not None and len(kept) > METADATA_MAX:
            raise ValueError(f"metadata: at most {METADATA_MAX} entries, not {len(kept)}")

        async def register() -> bool:
            await self._devices.register_device(tenant_id, device_id, kept)
            return True

        return self._ask("register_device", False, register)

    def get_device(self, tenant_id: str, device_id: str) -> dict[str, Any] | None:
        """The device, or None."""

        async def ask() -> dict[str, Any] | None:
            device = await self._devices.get_device(tenant_id, device_id)
            if device is None:
                return None
            zone = (await self._zones.get(tenant_id, device_id)).zone
            return _dict(device, zone.last_seen_ms)

        return self._ask("get_device", None, ask)

    def list_devices(self, tenant_id: str) -> list[dict[str, Any]]:
        """The tenant's devices in the order of their ids; the first 10,000."""

        async def ask() -> list[dict[str, Any]]:
            devices = await self._devices.list_devices(tenant_id)
            zones = await self._zones.all(tenant_id)
            seen = {zone.device_id: zone.last_seen_ms for zone in zones}
            return [_dict(device, seen.get(device.device_id, 0)) for device in devices]

        return self._ask("list_devices", [], ask)

    def list_for_tenant(self, tenant_id: str) -> list[dict[str, Any]]:
        """The tenant's devices: another name of `list_devices`."""
        return self.list_devices(tenant_id)

    def check_exists(self, tenant_id: str, device_id: str) -> bool:
        """Whether the device is registered."""

        async def ask() -> bool:
            return await self._devices.get_device(tenant_id, device_id) is not None

        return self._ask("check_exists", False, ask)

    def set_status(self, tenant_id: str, device_id: str, status: str) -> bool:
        """Set the status of a registered device: a note that admits and refuses nothing."""
        checked_name(status, "status")

        async def change() -> bool:
            await self._devices.set_status(tenant_id, device_id, status)
            return True

        return self._ask("set_status", False, change)

    def update_last_seen(self, tenant_id: str, device_id: str) -> bool:
        """Note that a registered device was seen now; its posts do that without this call."""

        async def note() -> bool:
            await self._devices.update_last_seen(tenant_id, device_id)
            return True

        return self._ask("update_last_seen", False, note)


def _dict(device: Device, zone_seen_ms: int) -> dict[str, Any]:
    """Return the device as a dict; `last_seen` is the later of both times, or None."""
    return {
        "tenant_id": device.tenant_id,
        "device_id": device.device_id,
        "metadata": dict(device.metadata),
        "last_seen": max(device.last_seen, zone_seen_ms) or None,
        "status": device.status,
        "created_at": device.created_at,
    }
