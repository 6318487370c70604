"""Routes of registered devices: /api/devices."""

from __future__ import annotations

import msgspec
from quart import Blueprint
from quart_schema import validate_response

from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.common.clock import Clock
from server.routes.models import DeviceRegistered, DeviceView, ListedDevice, RegisterDevice
from server.routes.requests import fails_with, json_body
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import Device
from server.services.firestore.telemetry_store import TelemetryStore, hours
from server.services.ports.readings import RelayUse


def blueprint(
    devices: DevicesStore,
    telemetry: TelemetryStore,
    audit: AuditStore,
    guard: Guard,
    clock: Clock,
) -> Blueprint:
    """Operators register devices, all users list them; only the command line makes keys."""
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
    @validate_response(list[ListedDevice])
    @fails_with(401, 403, 503)
    async def list_devices(principal: Principal) -> list[ListedDevice]:
        listed = await devices.list_devices(principal.tenant_id)
        use = None
        if listed:
            use = await telemetry.relay_use(principal.tenant_id, clock.now_ms())
        return [
            _listed(device, None if use is None else use.get(device.device_id, RelayUse()))
            for device in listed
        ]

    return bp


def _listed(device: Device, use: RelayUse | None) -> ListedDevice:
    listed = ListedDevice(**msgspec.structs.asdict(_view(device)))
    if use is not None:
        listed.cool_hours, listed.heat_hours = hours(use.cool_ms), hours(use.heat_ms)
        listed.cool_starts, listed.heat_starts = use.cool_starts, use.heat_starts
    return listed


def _view(device: Device) -> DeviceView:
    return DeviceView(
        device_id=device.device_id,
        tenant_id=device.tenant_id,
        metadata=dict(device.metadata),
        created_at=device.created_at,
        has_key=bool(device.key_digest),
    )
