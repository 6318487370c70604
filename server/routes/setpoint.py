"""Route by which an operator changes setpoint and deadband: /api/set_setpoint."""

from __future__ import annotations

from msgspec import UNSET
from quart import Blueprint
from quart_schema import validate_response

from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.common.errors import Invalid
from server.control.rules.setpoint_rules import SetpointChange
from server.control.setpoint_service import SetpointService
from server.routes.models import SetpointSet, SetSetpoint
from server.routes.requests import fails_with, json_body


def blueprint(setpoints: SetpointService, guard: Guard) -> Blueprint:
    """Open to operators and admins."""
    bp = Blueprint("setpoint", __name__)

    @bp.post("/api/set_setpoint")
    @guard.require_auth("operator")
    @validate_response(SetpointSet)
    @fails_with(400, 401, 403, 404, 413, 415, 503)
    @json_body(SetSetpoint, check=_names_a_value)
    async def set_setpoint(data: SetSetpoint, principal: Principal) -> SetpointSet:
        principal.check_zone(data.device_id)
        change = SetpointChange(
            setpoint_tenths=None if data.setpoint_tenths is UNSET else data.setpoint_tenths,
            deadband_tenths=None if data.deadband_tenths is UNSET else data.deadband_tenths,
        )
        values = await setpoints.set(
            principal.tenant_id, data.device_id, change, principal.username, address()
        )
        return SetpointSet(True, values.setpoint_tenths, values.deadband_tenths, principal.username)

    return bp


def _names_a_value(data: SetSetpoint, is_empty: bool) -> None:
    """Refuse a body that has only other keys: a misspelt key must not be answered with success."""
    if not is_empty and data.setpoint_tenths is UNSET and data.deadband_tenths is UNSET:
        raise Invalid(
            "Nothing to set", "NOTHING_TO_SET", "send setpoint_tenths, deadband_tenths or both"
        )
