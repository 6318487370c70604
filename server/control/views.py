"""What callers see of zones and readings: answers, stream events, commands."""

from __future__ import annotations

import msgspec

from server.control.settings import Setpoints
from server.control.zone import DEADBAND_DEFAULT, SETPOINT_DEFAULT, Relays
from server.services.firestore.models import Reading, ZoneRecord

# A zone that was neither set nor heard for so long is gone: a stranger's made-up ids go this way.
ZONE_DAYS = 30


class Command(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a device is told to do; temperatures in tenths of °C, as in all of these.

    `stored` is there, and false, where the reading is not. `key` is there, and "ignored", where
    the reading came with a key that is none.
    """

    cool_active: bool
    heat_active: bool
    setpoint_tenths: int
    deadband_tenths: int
    stored: bool = True
    key: str = ""


# What a device is told of which nothing is known.
OFF = Command(False, False, SETPOINT_DEFAULT, DEADBAND_DEFAULT, stored=False)


class Trust(msgspec.Struct, frozen=True, gc=False):
    """Whether a zone is trusted: never (heard of), ok, suspect (its reading is not believed),
    silent, stuck (its device does not obey), refused (its posts are) or fault; since when (Unix
    ms), and why."""

    state: str
    since: int
    reason: str | None


class TelemetryRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One stored reading; times in Unix ms. A fault's temperature may be null.

    What follows `device_id` is there only where it says something: `device_ticks_ms` what an
    undated device sent; `device_time_ms` the date that a device with a wrong clock sent; `clock`
    "unknown" where it is not known when it was measured; `present` false where it came too late to
    change anything; `fault_reason` no_value, out_of_range or unreadable; `received` when it came,
    where that is not `timestamp`; `trust` while its zone is not trusted.
    """

    timestamp: int
    temp_tenths: int | None
    setpoint_tenths: int
    deadband_tenths: int
    cool_active: bool
    heat_active: bool
    state: str
    sensor_ok: bool
    device_id: str
    device_ticks_ms: int | None = None
    device_time_ms: int | None = None
    clock: str = ""
    present: bool = True
    fault_reason: str = ""
    received: int = 0
    trust: Trust | None = None


class ZoneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A zone as it was heard last; `device_id` is null and `timestamp` 0 before any reading.

    `received` is when its newest present reading came (Unix ms), `age_ms` how long ago that is.
    Without `relays_known` nobody can know what the relays are: `cool_active` and `heat_active` are
    the last command then.
    """

    device_id: str | None
    temp_tenths: int | None
    setpoint_tenths: int
    deadband_tenths: int
    state: str
    cool_active: bool
    heat_active: bool
    sensor_ok: bool
    timestamp: int
    received: int
    age_ms: int | None
    fault_reason: str | None
    trust: Trust
    relays_known: bool


class ZoneEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A zone's trust and relays, where no stored reading tells them; `timestamp` in Unix ms."""

    device_id: str
    trust: Trust
    relays_known: bool
    cool_active: bool
    heat_active: bool
    state: str
    timestamp: int


class SetpointEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A zone's new setpoint and deadband, and who set them when (Unix ms)."""

    device_id: str
    setpoint_tenths: int
    deadband_tenths: int
    updated_by: str
    timestamp: int


def telemetry_row(reading: Reading, trust: Trust | None = None) -> TelemetryRow:
    """A stored reading as it is shown; with its zone's `trust`, where that is not ok."""
    row = TelemetryRow(
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
        device_time_ms=reading.device_time_ms,
        clock=reading.clock,
        present=reading.present,
        fault_reason=reading.fault_reason,
        received=reading.received_ms if reading.received_ms != reading.timestamp_ms else 0,
    )
    return row if trust is None else msgspec.structs.replace(row, trust=trust)


def trust_of(zone: ZoneRecord) -> Trust:
    """Whether a zone is trusted."""
    return Trust(zone.trust_state, zone.trust_since_ms, zone.trust_reason or None)


def zone_event(zone: ZoneRecord, now_ms: int) -> ZoneEvent:
    """A zone's relays as they are now."""
    return ZoneEvent(
        device_id=zone.device_id,
        trust=trust_of(zone),
        relays_known=zone.relays_known,
        cool_active=zone.cool,
        heat_active=zone.heat,
        state=relays_of(zone).state,
        timestamp=now_ms,
    )


def zone_status(zone: ZoneRecord | None, values: Setpoints, now_ms: int) -> ZoneStatus:
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
        received=zone.received_ms,
        age_ms=max(0, now_ms - zone.received_ms) if zone.received_ms else None,
        fault_reason=zone.fault_reason or None,
        trust=trust_of(zone),
        relays_known=zone.relays_known,
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
