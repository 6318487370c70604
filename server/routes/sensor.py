"""Routes for devices' readings and the zones' state: /api/sensor_data, /api/status, /api/config."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import document_request, validate_querystring, validate_response

from server.auth.guard import Guard, address
from server.auth.principal import DEFAULT_TENANT
from server.common.errors import BasError
from server.control.messages import Command, ZoneStatus
from server.control.rules.posted_body import read_posted
from server.control.rules.relay_rule import MIN_OFF_MS, MIN_ON_MS
from server.control.zone_service import ZoneService
from server.routes.device_posts import DevicePosts
from server.routes.line_protocol import add_write
from server.routes.models import Config, DeviceQuery
from server.routes.reading_models import SensorData
from server.routes.refusals import SINGLE
from server.routes.requests import (
    device_key,
    fails_with,
    is_certified,
    read_device_body,
    repeat_key,
)
from server.routes.sender import Sender
from server.routes.sensor_batch import add_batch


def blueprint(zones: ZoneService, posts: DevicePosts, guard: Guard) -> Blueprint:
    """Public routes.

    A request without session, token or device key belongs to the default tenant.
    """
    bp = Blueprint("sensor", __name__)

    async def sender() -> Sender:
        key = device_key()
        if key:
            return Sender(key, None, guard.check_tenant, address(), is_certified())
        try:
            caller = await guard.principal_if_any(posts=True)
        except BasError as error:
            return Sender(None, error, None, address(), is_certified())
        return Sender(None, caller, None, address(), is_certified())

    @bp.post(SINGLE)
    @validate_response(Command)
    @fails_with(400, 401, 403, 413, 415, 422, 429, 503)
    @document_request(SensorData)
    async def sensor_data() -> Command:
        body = await read_device_body(read_posted, "application/json")
        return await posts.one(await sender(), body, repeat_key())

    add_batch(bp, posts, sender)
    add_write(bp, posts, sender)

    @bp.get("/api/status")
    @validate_response(ZoneStatus)
    @fails_with(400, 404, 503)
    @validate_querystring(DeviceQuery)
    async def status(query_args: DeviceQuery) -> ZoneStatus:
        return await wanted(query_args)

    @bp.get("/api/config")
    @validate_response(Config)
    @fails_with(400, 404, 503)
    @validate_querystring(DeviceQuery)
    async def config(query_args: DeviceQuery) -> Config:
        zone = await wanted(query_args)
        return Config(zone.setpoint_tenths, zone.deadband_tenths, MIN_ON_MS, MIN_OFF_MS)

    async def wanted(query: DeviceQuery) -> ZoneStatus:
        """The zone that the query names, or else the one seen last of those the caller sees."""
        caller = await guard.principal_if_any()
        if caller is None:
            return await zones.status(DEFAULT_TENANT, query.device_id or None)
        if query.device_id or not caller.zones:
            caller.check_zone(query.device_id or None)
            return await zones.status(caller.tenant_id, query.device_id or None)
        return await zones.status_of_last(caller.tenant_id, caller.zones)

    return bp
