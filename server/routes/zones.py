"""Routes of zones: /api/zones."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET
from quart import Blueprint
from quart_schema import validate_querystring, validate_response
from werkzeug.routing import BaseConverter

from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.common.errors import Invalid, InvalidField
from server.config.config import ServerConfig
from server.control.messages import ZoneSettingsView
from server.control.zones.removal import Removed, ZoneRemoval
from server.control.zones.settings_service import SettingsChange, ZoneSettingsService
from server.routes.admitted import admitted
from server.routes.models import DeviceId
from server.routes.requests import fails_with, json_body
from server.routes.zone_models import (
    DeletionQuery,
    LastCommand,
    ZoneDeleted,
    ZonePatch,
    ZonesPage,
    ZonesQuery,
    ZoneView,
)
from server.services.firestore.zone_directory import ListedZone, ZoneDirectory


class DeviceIdConverter(BaseConverter):
    """The rest of a path as a device id, which may have any slashes."""

    regex = ".+"
    part_isolating = False


def blueprint(
    config: ServerConfig,
    settings: ZoneSettingsService,
    removal: ZoneRemoval,
    directory: ZoneDirectory,
    guard: Guard,
) -> Blueprint:
    """All users see the zones, operators name them, admins delete them."""
    bp = Blueprint("zones", __name__)

    @bp.record_once
    def _(state: Any) -> None:
        state.app.url_map.converters["device"] = DeviceIdConverter

    @bp.get("/api/zones")
    @guard.require_auth("read-only")
    @validate_response(ZonesPage)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(ZonesQuery)
    async def list_zones(query_args: ZonesQuery, principal: Principal) -> ZonesPage:
        if principal.zones:
            found = await directory.some_zones(principal.tenant_id, principal.zones)
            return ZonesPage([_view(one) for one in found], None)
        found, following = await directory.page_of_zones(
            principal.tenant_id, query_args.limit, query_args.start_after or None
        )
        return ZonesPage([_view(one) for one in found], following)

    @bp.get("/api/zones/<device:device_id>")
    @guard.require_auth("read-only")
    @validate_response(ZoneSettingsView)
    @fails_with(400, 401, 403, 404, 503)
    async def one_zone(device_id: str, principal: Principal) -> ZoneSettingsView:
        check_device_id(device_id)
        principal.check_zone(device_id)
        return await settings.get(principal.tenant_id, device_id)

    @bp.patch("/api/zones/<device:device_id>")
    @guard.require_auth("operator")
    @validate_response(ZoneSettingsView)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(ZonePatch, check=_names_a_field)
    async def change(device_id: str, data: ZonePatch, principal: Principal) -> ZoneSettingsView:
        check_device_id(device_id)
        principal.check_zone(device_id)
        texts = {"name": data.name, "location": data.location}
        wanted = {key: (text or "").strip() for key, text in texts.items() if text is not UNSET}
        return await settings.change(
            principal.tenant_id,
            device_id,
            SettingsChange(
                high_tenths=data.high_tenths,
                low_tenths=data.low_tenths,
                version=data.version,
                **wanted,
            ),
            principal.username,
            address(),
        )

    @bp.delete("/api/zones/<device:device_id>")
    @guard.require_auth("admin")
    @validate_response(ZoneDeleted)
    @fails_with(400, 401, 403, 404, 503)
    @validate_querystring(DeletionQuery)
    async def delete(
        device_id: str, query_args: DeletionQuery, principal: Principal
    ) -> ZoneDeleted:
        actor = admitted(config, principal)
        check_device_id(device_id)
        done = await removal.remove(
            principal.tenant_id, device_id, actor.name, actor.address, history=query_args.history
        )
        return _deleted(device_id, done)

    return bp


def check_device_id(device_id: str) -> None:
    """Raise InvalidField if no device can have this id."""
    try:
        msgspec.convert(device_id, DeviceId)
    except msgspec.ValidationError as error:
        raise InvalidField("device_id", str(error)) from None


def _names_a_field(data: ZonePatch, _: bool) -> None:
    wanted = data.name, data.location, data.high_tenths, data.low_tenths
    if all(one is UNSET for one in wanted):
        fields = "name, location, high_tenths or low_tenths"
        raise Invalid("Nothing to change", "NOTHING_TO_CHANGE", f"name {fields}")


def _view(one: ListedZone) -> ZoneView:
    record = one.record
    return ZoneView(
        device_id=one.device_id,
        name=one.settings.name or None,
        location=one.settings.location or None,
        high_tenths=one.settings.high_tenths,
        low_tenths=one.settings.low_tenths,
        version=one.settings.version,
        has_key=one.device is not None and one.device.needs_key,
        received=(record.received_ms if record else 0) or None,
        trust_state=record.trust_state if record else "never",  # type: ignore[arg-type]
    )


def _deleted(device_id: str, done: Removed) -> ZoneDeleted:
    commanded = None
    if done.zone is not None:
        commanded = LastCommand(done.zone.cool, done.zone.heat, done.zone.relays_known)
    return ZoneDeleted(True, device_id, commanded, done.readings, done.history_left)
