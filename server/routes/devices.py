"""Routes of registered devices: /api/devices."""

from __future__ import annotations

import msgspec
from quart import Blueprint
from quart_schema import validate_response

from server.auth.guard import Guard, address
from server.auth.key_service import KeptDevice, KeyService
from server.auth.principal import Principal
from server.common.clock import Clock
from server.control.zone_service import ZoneService
from server.routes.models import DeviceRegistered, DeviceView, ListedDevice, RegisterDevice
from server.routes.requests import fails_with, json_body
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import Device
from server.services.firestore.telemetry_store import TelemetryStore, hours
from server.services.ports.readings import RelayUse

LISTED_MAX = 10_000


def blueprint(
    devices: DevicesStore,
    keys: KeyService,
    zones: ZoneService,
    telemetry: TelemetryStore,
    audit: AuditStore,
    guard: Guard,
    clock: Clock,
) -> Blueprint:
    """Operators register devices, all users list them; `device_keys.py` has the keys.

    Those that post are listed, registered or not.
    """
    bp = Blueprint("devices", __name__)

    @bp.post("/api/devices/register")
    @guard.require_auth("operator")
    @validate_response(DeviceRegistered)
    @fails_with(400, 401, 403, 409, 413, 415, 503)
    @json_body(RegisterDevice)
    async def register(data: RegisterDevice, principal: Principal) -> DeviceRegistered:
        principal.check_zone(data.device_id)
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
        known = {one.device.device_id: one for one in await keys.all(principal.tenant_id)}
        seen = await zones.last_seen(principal.tenant_id)
        names = sorted(name for name in known.keys() | seen.keys() if principal.sees(name))
        listed = [
            known.get(name) or _unregistered(principal.tenant_id, name)
            for name in names[:LISTED_MAX]
        ]
        use = None
        if listed:
            use = await telemetry.relay_use(principal.tenant_id, clock.now_ms())
        return [
            _listed(
                one,
                None if use is None else use.get(one.device.device_id, RelayUse()),
                registered=one.device.device_id in known,
                seen_ms=seen.get(one.device.device_id, 0),
            )
            for one in listed
        ]

    return bp


def _unregistered(tenant_id: str, device_id: str) -> KeptDevice:
    return KeptDevice(Device(tenant_id=tenant_id, device_id=device_id), None, None)


def _listed(
    one: KeptDevice, use: RelayUse | None, *, registered: bool, seen_ms: int
) -> ListedDevice:
    listed = ListedDevice(**msgspec.structs.asdict(_view(one.device)))
    listed.registered, listed.status = registered, one.device.status
    listed.last_seen = max(one.device.last_seen, seen_ms) or None
    listed.key_used_at = one.used_ms or None
    listed.old_key_until = (one.old and one.old.until_ms) or None
    listed.key_revoked = one.device.key_revoked
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
        has_key=device.needs_key,
    )
