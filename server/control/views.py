"""What callers see of zones and readings: answers, stream events, commands."""

from __future__ import annotations

import msgspec

from server.control.settings import Setpoints
from server.control.zone import Relays
from server.services.firestore.models import Reading, ZoneRecord


class Command(msgspec.Struct, frozen=True):
    """What a device is told to do; temperatures in tenths of °C, as in all of these."""

    cool_active: bool
    heat_active: bool
    setpoint_tenths: int
    deadband_tenths: int


class TelemetryRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored reading; times in Unix ms. `device_ticks_ms` is what an undated device sent."""

    timestamp: int
    temp_tenths: int
    setpoint_tenths: int
    deadband_tenths: int
    cool_active: bool
    heat_active: bool
    state: str
    sensor_ok: bool
    device_id: str
    device_ticks_ms: int | None = None


class ZoneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A zone as it was heard last; `device_id` is null and `timestamp` 0 before any reading."""

    device_id: str | None
    temp_tenths: int
    setpoint_tenths: int
    deadband_tenths: int
    state: str
    cool_active: bool
    heat_active: bool
    sensor_ok: bool
    timestamp: int


class SetpointEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A zone's new setpoint and deadband, and who set them when (Unix ms)."""

    device_id: str
    setpoint_tenths: int
    deadband_tenths: int
    updated_by: str
    timestamp: int


def telemetry_row(reading: Reading) -> TelemetryRow:
    """A stored reading as it is shown."""
    return TelemetryRow(
        timestamp=reading.timestamp_ms,
        temp_tenths=reading.temp_tenths,
        setpoint_tenths=reading.setpoint_tenths,
        deadband_tenths=reading.deadband_tenths,
        cool_active=reading.cool_active,
        heat_active=reading.heat_active,
        state=reading.state,
        sensor_ok=reading.sensor_ok,
        device_id=reading.device_id,
        device_ticks_ms=reading.device_ticks_ms,
    )


def zone_status(zone: ZoneRecord | None, values: Setpoints) -> ZoneStatus:
    """A zone, or with None a site that was never heard from, as it is shown."""
    zone = zone or ZoneRecord(tenant_id="", device_id="")
    return ZoneStatus(
        device_id=zone.device_id or None,
        temp_tenths=zone.temp_tenths,
        setpoint_tenths=values.setpoint_tenths,
        deadband_tenths=values.deadband_tenths,
        state=relays_of(zone).state,
        cool_active=zone.cool,
        heat_active=zone.heat,
        sensor_ok=zone.sensor_ok,
        timestamp=zone.timestamp_ms,
    )


def relays_of(zone: ZoneRecord) -> Relays:
    """A zone's relays."""
    return Relays(zone.cool, zone.heat, zone.fault, zone.cool_changed_ms)


def switched(zone: ZoneRecord, relays: Relays) -> ZoneRecord:
    """The zone with its relays as decided."""
    return msgspec.structs.replace(
        zone,
        cool=relays.cool,
        heat=relays.heat,
        fault=relays.fault,
        cool_changed_ms=relays.cool_changed_ms,
    )


def heard(zone: ZoneRecord, reading: Reading) -> ZoneRecord:
    """The zone with this reading as its last."""
    return msgspec.structs.replace(
        zone,
        last_seen_ms=reading.received_ms,
        timestamp_ms=reading.timestamp_ms,
        temp_tenths=reading.temp_tenths,
        sensor_ok=reading.sensor_ok,
    )
