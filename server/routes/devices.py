"""Registered devices: /api/devices."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_response

from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.routes.models import DeviceRegistered, DeviceView, RegisterDevice
from server.routes.requests import fails_with, json_body
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import Device


def blueprint(devices: DevicesStore, audit: AuditStore, guard: Guard) -> Blueprint:
    """Operators register, everyone logged in may look; keys are made on the command line only."""
    bp = Blueprint("devices", __name__)

    @bp.post("/api/devices/register")
    @guard.require_auth("operator")
    @validate_response(DeviceRegistered)
    @fails_with(400, 401, 403, 409, 413, 415, 503)
    @json_body(RegisterDevice)
    async def register(data: RegisterDevice, principal: Principal) -> DeviceRegistered:
        device = await devices.register_device(
            principal.tenant_id, data.device_id, dict(data.metadata)
        )
        await audit.log_event(
            "DEVICE_REGISTERED",
            tenant_id=principal.tenant_id,
            username=principal.username,
            address=address(),
            details={"device_id": data.device_id},
        )
        return DeviceRegistered(success=True, device=_view(device))

    @bp.get("/api/devices")
    @guard.require_auth("read-only")
    @validate_response(list[DeviceView])
    @fails_with(401, 403, 503)
    async def list_devices(principal: Principal) -> list[DeviceView]:
        return [_view(device) for device in await devices.list_devices(principal.tenant_id)]

    return bp


def _view(device: Device) -> DeviceView:
    return DeviceView(
        device_id=device.device_id,
        tenant_id=device.tenant_id,
        metadata=dict(device.metadata),
        created_at=device.created_at,
        has_key=bool(device.key_digest),
    )
