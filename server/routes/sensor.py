"""Readings from devices, and what a zone does: /api/sensor_data, /api/status, /api/config."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_querystring, validate_response

from server.auth.device_keys import DeviceKeys
from server.auth.guard import Guard
from server.auth.principal import DEFAULT_TENANT
from server.control.batch_service import BatchService
from server.control.reading import NewReading
from server.control.views import Command, ZoneStatus
from server.control.zone import MIN_OFF_MS, MIN_ON_MS
from server.control.zone_service import ZoneService
from server.errors import Invalid
from server.routes.models import Config, DeviceQuery, SensorData
from server.routes.requests import device_key, fails_with, idempotency_key, json_body
from server.routes.sensor_batch import add_batch


def blueprint(
    zones: ZoneService, batches: BatchService, keys: DeviceKeys, guard: Guard
) -> Blueprint:
    """Public routes: a stranger is the default tenant; a session or a device key names its own."""
    bp = Blueprint("sensor", __name__)
    add_batch(bp, batches, keys, guard)

    @bp.post("/api/sensor_data")
    @validate_response(Command)
    @fails_with(400, 401, 403, 413, 415, 422, 503)
    @json_body(SensorData, empty=_no_data)
    async def sensor_data(data: SensorData) -> Command:
        key = device_key()
        caller = None if key else await guard.principal_if_any(required=True)
        tenant_id, device_id = await keys.identify(key, data.device_id, caller)
        if key:
            guard.check_tenant(tenant_id)
        return await batches.accept_one(tenant_id, device_id, reading_of(data, idempotency_key()))

    @bp.get("/api/status")
    @validate_response(ZoneStatus)
    @fails_with(400, 404, 503)
    @validate_querystring(DeviceQuery)
    async def status(query_args: DeviceQuery) -> ZoneStatus:
        return await zones.status(await tenant(), query_args.device_id or None)

    @bp.get("/api/config")
    @validate_response(Config)
    @fails_with(400, 404, 503)
    @validate_querystring(DeviceQuery)
    async def config(query_args: DeviceQuery) -> Config:
        zone = await zones.status(await tenant(), query_args.device_id or None)
        return Config(zone.setpoint_tenths, zone.deadband_tenths, MIN_ON_MS, MIN_OFF_MS)

    async def tenant() -> str:
        caller = await guard.principal_if_any()
        return caller.tenant_id if caller else DEFAULT_TENANT

    return bp


def _no_data() -> Invalid:
    return Invalid("No data received", "NO_DATA")


def reading_of(data: SensorData, key: str | None) -> NewReading:
    """A body as a reading, with the caller's Idempotency-Key."""
    return NewReading(
        temp_tenths=data.temp_tenths,
        sensor_ok=data.sensor_ok,
        timestamp=data.timestamp,
        seq=data.seq,
        key=key,
    )
