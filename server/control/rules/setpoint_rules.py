"""Which setpoint and deadband are in force: the zone's own, or the tenant's if set later."""

from __future__ import annotations

import msgspec

from server.common.errors import InvalidField
from server.control.rules.relay_rule import (
    DEADBAND_DEFAULT,
    DEADBAND_MAX,
    DEADBAND_MIN,
    SETPOINT_DEFAULT,
    SETPOINT_MAX,
    SETPOINT_MIN,
)
from server.services.firestore.models import TenantSettings, ZoneRecord


class Setpoints(msgspec.Struct, frozen=True, gc=False):
    """The values in force, in tenths of a degree."""

    setpoint_tenths: int = SETPOINT_DEFAULT
    deadband_tenths: int = DEADBAND_DEFAULT


class SetpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """The change that an operator asks for; None leaves a value as it is."""

    setpoint_tenths: int | None = None
    deadband_tenths: int | None = None

    def check(self) -> None:
        """Raise InvalidField if either value is out of its range; then neither is applied."""
        value = self.setpoint_tenths
        if value is not None and not SETPOINT_MIN <= value <= SETPOINT_MAX:
            raise InvalidField(
                "setpoint_tenths", f"must be {SETPOINT_MIN} to {SETPOINT_MAX}", "Invalid setpoint"
            )
        value = self.deadband_tenths
        if value is not None and not DEADBAND_MIN <= value <= DEADBAND_MAX:
            raise InvalidField(
                "deadband_tenths", f"must be {DEADBAND_MIN} to {DEADBAND_MAX}", "Invalid deadband"
            )

    def __bool__(self) -> bool:
        return self.setpoint_tenths is not None or self.deadband_tenths is not None


def in_force(zone: ZoneRecord, tenant: TenantSettings) -> Setpoints:
    """The values by which a zone is controlled."""
    own_setpoint = zone.setpoint_tenths is not None and zone.setpoint_rev >= tenant.setpoint_rev
    own_deadband = zone.deadband_tenths is not None and zone.deadband_rev >= tenant.deadband_rev
    setpoint = zone.setpoint_tenths if own_setpoint else tenant.setpoint_tenths
    deadband = zone.deadband_tenths if own_deadband else tenant.deadband_tenths
    return Setpoints(
        SETPOINT_DEFAULT if setpoint is None else setpoint,
        DEADBAND_DEFAULT if deadband is None else deadband,
    )


def set_by(zone: ZoneRecord, tenant: TenantSettings) -> str:
    """The user who last set this zone or every zone of the tenant; "" if none did."""
    own = max(zone.setpoint_rev, zone.deadband_rev) >= tenant.revision
    return zone.updated_by if own and zone.updated_by else tenant.updated_by


def changed_zone(
    zone: ZoneRecord, tenant: TenantSettings, change: SetpointChange, by: str
) -> ZoneRecord:
    """The zone with its own values, until the tenant's are set again; it no longer expires."""
    zone = msgspec.structs.replace(zone, expire_at=None, updated_by=by)
    if change.setpoint_tenths is not None:
        zone = msgspec.structs.replace(
            zone, setpoint_tenths=change.setpoint_tenths, setpoint_rev=tenant.revision
        )
    if change.deadband_tenths is not None:
        zone = msgspec.structs.replace(
            zone, deadband_tenths=change.deadband_tenths, deadband_rev=tenant.revision
        )
    return zone


def changed_tenant(tenant: TenantSettings, change: SetpointChange, by: str) -> TenantSettings:
    """The tenant's settings with new values for every zone, old and new."""
    revision = tenant.revision + 1
    tenant = msgspec.structs.replace(tenant, revision=revision, updated_by=by)
    if change.setpoint_tenths is not None:
        tenant = msgspec.structs.replace(
            tenant, setpoint_tenths=change.setpoint_tenths, setpoint_rev=revision
        )
    if change.deadband_tenths is not None:
        tenant = msgspec.structs.replace(
            tenant, deadband_tenths=change.deadband_tenths, deadband_rev=revision
        )
    return tenant
