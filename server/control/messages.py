"""What callers see of zones and readings: answers, stream events and commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from server.control.rules.relay_rule import DEADBAND_DEFAULT, SETPOINT_DEFAULT, Relays
from server.control.rules.setpoint_rules import Setpoints
from server.services.firestore.models import ZoneRecord, ZoneSettings
from server.services.ports.readings import Reading

# A zone that was not set is deleted this long after its last post; until it has spoken for
# SPOKEN_MS in all, after NEW_ZONE_DAYS: zones of invented ids do not stay. A time without a post
# counts as SPOKEN_GAP_MS at most.
ZONE_DAYS, NEW_ZONE_DAYS = 30, 1
SPOKEN_MS, SPOKEN_GAP_MS = 3_600_000, 900_000

ZoneObserver = Callable[[ZoneRecord | None, ZoneRecord, int | None], None]
"""Gets a zone before (None: not known) and after a post or a silence, and its setpoint if known.

It is called while devices wait for their answers, so it takes some microseconds and raises nothing.
"""


class Command(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The command for a device; all temperatures in this file are tenths of °C.

    `stored` is present, and false, if the reading is not stored. `key` is present, and "ignored",
    if the reading came with an invalid key.
    """

    cool_active: bool
    heat_active: bool
    setpoint_tenths: int
    deadband_tenths: int
    stored: bool = True
    key: str = ""


# The command for a device of which nothing is known.
OFF = Command(False, False, SETPOINT_DEFAULT, DEADBAND_DEFAULT, stored=False)


class Trust(msgspec.Struct, frozen=True, gc=False):
    """A zone's trust, since when (Unix ms), and why.

    The states: never (it never posted), ok, suspect (its reading is not believed), silent, stuck
    (its device does not obey), refused (its posts are refused) and fault.
    """

    state: str
    since: int
    reason: str | None


class TelemetryRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One stored reading; times in Unix ms. A fault's temperature may be null.

    The fields after `device_id` are present only if they say something. `device_ticks_ms`: what a
    device without a date sent. `device_time_ms`: the date that a device with a wrong clock sent.
    `clock`: "unknown" if the time of measurement is not known. `present`: false if the reading came
    too late to change anything. `fault_reason`: no_value, out_of_range or unreadable. `received`:
    when it came, if that is not `timestamp`. `trust`: present while the zone is not trusted.
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
    """A zone's last known state; `device_id` is null and `timestamp` 0 before any reading.

    `received` is when its newest present reading came (Unix ms), `age_ms` how long ago that is. If
    `relays_known` is false, the state of the relays is unknown: `cool_active` and `heat_active` are
    the last command. `held_by` says what holds a relay against what the temperature wants, null if
    nothing does, and `held_until` until when (Unix ms), null if time alone does not end it.
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
    held_by: str | None
    held_until: int | None


class ZoneEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a zone's trust or relays that no stored reading shows; `timestamp` in Unix ms."""

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


class ZoneSettingsView(msgspec.Struct, frozen=True, kw_only=True):
    """What operators say of a zone; `name` and `location` are null if they are not set.

    `high_tenths` and `low_tenths` are its own thresholds for alarms, null for the site's.
    `version` counts the changes, `updated_at` is the time of the last one: Unix ms, null for none.
    """

    device_id: str
    name: str | None
    location: str | None
    high_tenths: int | None
    low_tenths: int | None
    version: int
    updated_at: int | None
    updated_by: str | None


class SettingsEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A zone's new name, location and thresholds.

    Of two events that of the higher `version` is newer.
    """

    device_id: str
    name: str | None
    location: str | None
    high_tenths: int | None
    low_tenths: int | None
    version: int
    timestamp: int


class DeletedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A zone was deleted; a device that still posts makes a new one."""

    device_id: str
    timestamp: int


def settings_view(settings: ZoneSettings) -> ZoneSettingsView:
    """A zone's settings as clients see them."""
    return ZoneSettingsView(
        device_id=settings.device_id,
        name=settings.name or None,
        location=settings.location or None,
        high_tenths=settings.high_tenths,
        low_tenths=settings.low_tenths,
        version=settings.version,
        updated_at=settings.updated_at or None,
        updated_by=settings.updated_by or None,
    )


def unobserved(before: ZoneRecord | None, after: ZoneRecord, setpoint_tenths: int | None) -> None:
    """The observer of zones that nobody observes."""


StoredObserver = Callable[[Iterable[Reading]], None]
"""Called with readings once they are stored; must be quick and not raise."""


def unmirrored(readings: Iterable[Reading]) -> None:
    """A StoredObserver that does nothing."""


def telemetry_row(reading: Reading, trust: Trust | None = None) -> TelemetryRow:
    """A stored reading as clients see it, with its zone's `trust` if that is not ok."""
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
    """The zone's trust as clients see it."""
    return Trust(zone.trust_state, zone.trust_since_ms, zone.trust_reason or None)


def zone_event(zone: ZoneRecord, now_ms: int) -> ZoneEvent:
    """The event with a zone's trust and relays as they are now."""
    return ZoneEvent(
        device_id=zone.device_id,
        trust=trust_of(zone),
        relays_known=zone.relays_known,
        cool_active=zone.cool,
        heat_active=zone.heat,
        state=relays_of(zone).state,
        timestamp=now_ms,
    )


def zone_status(
    zone: ZoneRecord, values: Setpoints, now_ms: int, held: tuple[str | None, int | None]
) -> ZoneStatus:
    """A zone as clients see it; `held` is what `rules/held.py` says of it."""
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
        held_by=held[0],
        held_until=held[1],
    )


def relays_of(zone: ZoneRecord) -> Relays:
    """The zone's relays as the rule takes them."""
    return Relays(zone.cool, zone.heat, zone.fault, zone.cool_changed_ms)


def relays_on(zone: ZoneRecord, boot: str, *, uptime_ms: float, now_ms: int) -> Relays:
    """A zone's relays, with the cooler's last switch converted to the time line `boot`.

    It is `uptime_ms` now on that time line; `now_ms` is Unix time.

    After a restart of the machine, or a decision by another machine, the last switch is on another
    time line and is dated by the site's time, which is the same on all machines. With SQLite alone
    that is the machine's clock, and the time since then is wrong by as much as it was set since.
    The date is never in the future: a clock that is behind makes no wait longer than its
    minimum.
    """
    relays = relays_of(zone)
    if zone.run == boot or relays.cool_changed_ms is None:
        return relays
    since_ms = max(0, now_ms - zone.cool_changed_wall_ms)
    return msgspec.structs.replace(relays, cool_changed_ms=uptime_ms - since_ms)
