"""Routes of devices' keys, for admins: /api/devices/key, and the deletion of a device."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_response

from server.auth.guard import Guard
from server.auth.key_service import KeyService
from server.auth.principal import Principal
from server.config.config import ServerConfig
from server.routes.admitted import admitted
from server.routes.models import DeviceChanged, DeviceKeyMade, NamedDevice, RotateKey
from server.routes.requests import fails_with, json_body


def blueprint(config: ServerConfig, keys: KeyService, guard: Guard) -> Blueprint:
    """Admins make, rotate and revoke the keys of their tenant's devices, and delete devices.

    The device is named in the body: its name may contain a slash.
    """
    bp = Blueprint("device_keys", __name__)

    @bp.post("/api/devices/key")
    @guard.require_auth("admin")
    @validate_response(DeviceKeyMade)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(RotateKey)
    async def make(data: RotateKey, principal: Principal) -> DeviceKeyMade:
        change = keys.rotate if data.overlap else keys.issue
        made = await change(admitted(config, principal), principal.tenant_id, data.device_id)
        return DeviceKeyMade(True, data.device_id, made.key, made.old_until_ms)

    @bp.post("/api/devices/key/revoke")
    @guard.require_auth("admin")
    @validate_response(DeviceChanged)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(NamedDevice)
    async def revoke(data: NamedDevice, principal: Principal) -> DeviceChanged:
        await keys.revoke(admitted(config, principal), principal.tenant_id, data.device_id)
        return DeviceChanged(True, data.device_id)

    @bp.post("/api/devices/delete")
    @guard.require_auth("admin")
    @validate_response(DeviceChanged)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(NamedDevice)
    async def delete(data: NamedDevice, principal: Principal) -> DeviceChanged:
        await keys.delete(admitted(config, principal), principal.tenant_id, data.device_id)
        return DeviceChanged(True, data.device_id)

    return bp
