"""What callers see of zones and readings: answers, stream events, commands."""

from __future__ import annotations

import msgspec

from server.control.settings import Setpoints
from server.control.zone import Relays
from server.services.firestore.models import DAY_MS, Reading, ZoneRecord

# A zone that was neither set nor heard for so long is gone: a stranger's made-up ids go this way.
ZONE_DAYS = 30


class Command(msgspec.Struct, frozen=True, gc=False):
    """What a device is told to do; temperatures in tenths of °C, as in all of these."""

    cool_active: bool
    heat_active: bool
    setpoint_tenths: int
    deadband_tenths: int


class TelemetryRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
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


def relays_on(zone: ZoneRecord, boot: str, *, uptime_ms: float, now_ms: int) -> Relays:
    """A zone's relays, with the cooler's last switch on the time line `boot`, where it is
    `uptime_ms` now; `now_ms` is Unix time.

    A switch on another time line (the machine was started anew, or another machine decided) is
    dated by the wall clock: the time served since is wrong by as much as the two machines' clocks
    differ, or as this one's was set meanwhile, so machines that share a store need NTP. It is never
    in the future: a clock that is behind makes no wait longer than its minimum.
    """
    relays = relays_of(zone)
    if zone.run == boot or relays.cool_changed_ms is None:
        return relays
    since_ms = max(0, now_ms - zone.cool_changed_wall_ms)
    return msgspec.structs.replace(relays, cool_changed_ms=uptime_ms - since_ms)


def switched(
    zone: ZoneRecord, relays: Relays, boot: str, *, uptime_ms: float, now_ms: int
) -> ZoneRecord:
    """The zone with its relays as decided on the time line `boot`; times as in `relays_on`."""
    changed_ms = relays.cool_changed_ms
    return msgspec.structs.replace(
        zone,
        cool=relays.cool,
        heat=relays.heat,
        fault=relays.fault,
        cool_changed_ms=changed_ms,
        cool_changed_wall_ms=0 if changed_ms is None else now_ms - int(uptime_ms - changed_ms),
        run=boot,
    )


def heard(zone: ZoneRecord, reading: Reading, seen_ms: int) -> ZoneRecord:
    """The zone with this reading as its last; if nobody set it, to be forgotten some day."""
    own = zone.setpoint_tenths is not None or zone.deadband_tenths is not None
    return msgspec.structs.replace(
        zone,
        expire_at=None if own else reading.received_ms + ZONE_DAYS * DAY_MS,
        last_seen_ms=seen_ms,
        timestamp_ms=reading.timestamp_ms,
        temp_tenths=reading.temp_tenths,
        sensor_ok=reading.sensor_ok,
    )
