"""A zone's record: its content after a post, and after an outage of the store. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from server.common.clock import Clock
from server.control.messages import (
    NEW_ZONE_DAYS,
    SPOKEN_GAP_MS,
    SPOKEN_MS,
    ZONE_DAYS,
    Command,
    relays_on,
)
from server.control.rules.belief import counted
from server.control.rules.device_clock import QUEUES
from server.control.rules.present import PERIOD_MAX_MS, newest_ms
from server.control.rules.relay_rule import MIN_OFF_MS, Relays, without
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.silence import gaps_after
from server.control.rules.trust_state import Report, trust_after, trusted_otherwise
from server.services.firestore.models import DAY_MS, STARTS_KEPT, STARTS_KEPT_S, ZoneRecord
from server.services.ports.readings import Reading


class Moment(NamedTuple):
    """The time of a decision, in ms: Unix time, uptime, and steady time.

    Uptime is on the time line `boot`; steady time orders zones by when they were last seen.
    """

    now_ms: int
    uptime_ms: float
    steady_ms: int
    boot: str


def moment_of(clock: Clock) -> Moment:
    """The moment now."""
    return Moment(clock.now_ms(), clock.uptime_ms(), clock.steady_ms(), clock.boot)


def zone_after(
    zone: ZoneRecord,
    relays: Relays,
    reason: str,
    report: Report | None,
    newest: Reading,
    moment: Moment,
    present_ms: int,
) -> ZoneRecord:
    """The zone's record after a post: its relays as decided, and what the newest reading says.

    `reason` is the reason of its fault, if any. `report` is None until the last part of the post. A
    zone that was never set expires after ZONE_DAYS, one that has spoken for less than an hour after
    NEW_ZONE_DAYS.
    """
    now_ms, changed_ms = moment.now_ms, relays.cool_changed_ms
    last_seen_ms, newest_date = zone.last_seen_ms, zone.newest_ms
    interval_ms, period_ms = zone.interval_ms, zone.period_ms
    gaps, counter, clock = zone.gaps, zone.counter, None
    is_present = False
    if report is not None:
        last_seen_ms = moment.steady_ms
        gaps, counter = gaps_after(zone, moment.steady_ms), counted(report.new)
        verdict = report.verdict
        clock, is_present = verdict.clock, verdict.timing.present
        if not verdict.timing.unknown:
            newest_date = max(min(newest.timestamp_ms, now_ms), newest_ms(zone, now_ms))
        if clock is None or clock.state not in QUEUES:  # a queue has another pace than the device
            interval_ms = _interval_ms(zone, moment.steady_ms, present_ms)
            period_ms = min(interval_ms, zone.interval_ms)
    timestamp_ms = newest.timestamp_ms if is_present else zone.timestamp_ms
    own = zone.setpoint_tenths is not None or zone.deadband_tenths is not None
    days, spoken_ms = _kept(zone, last_seen_ms)
    after = msgspec.structs.replace(
        zone,
        expire_at=None if own else now_ms + days * DAY_MS,
        last_seen_ms=last_seen_ms,
        timestamp_ms=timestamp_ms,
        temp_tenths=newest.temp_tenths if is_present else zone.temp_tenths,
        received_ms=now_ms if is_present else zone.received_ms,
        sensor_ok=not relays.fault and (newest.sensor_ok if is_present else zone.sensor_ok),
        newest_ms=0 if newest_date == timestamp_ms else newest_date,
        gaps=gaps,
        counter=counter,
        cool=relays.cool,
        heat=relays.heat,
        fault=relays.fault,
        cool_changed_ms=changed_ms,
        cool_changed_wall_ms=(
            0 if changed_ms is None else now_ms - int(moment.uptime_ms - changed_ms)
        ),
        run=moment.boot,
    )
    # Seldom needed: Python makes calls with more than 15 keyword arguments three times slower.
    if interval_ms or zone.interval_ms or zone.period_ms or reason != zone.fault_reason:
        after = msgspec.structs.replace(
            after, interval_ms=interval_ms, period_ms=period_ms, fault_reason=reason
        )
    if relays.cool and not zone.cool:
        after = msgspec.structs.replace(after, cool_starts=_starts(zone, moment.steady_ms // 1000))
    if spoken_ms != zone.spoken_ms:
        after = msgspec.structs.replace(after, spoken_ms=spoken_ms)
    if clock is not None:
        after = msgspec.structs.replace(
            after,
            clock=clock.state,
            clock_offset_ms=clock.offset_ms,
            clock_posts=clock.posts,
            clock_date_ms=clock.date_ms,
            clock_received_ms=clock.received_ms,
        )
    if report is not None and (relays.fault or not report.as_before):
        trust = trust_after(zone, report, relays.fault, reason, moment.steady_ms)
        return trusted_otherwise(after, now_ms, **trust)
    if report is None and relays.fault:
        return trusted_otherwise(after, now_ms, trust_state="fault", trust_reason=reason)
    return after


def _kept(zone: ZoneRecord, last_seen_ms: int) -> tuple[int, int]:
    """For how many days the zone is kept, and for how long it has spoken in all (ms).

    The time is not counted any more once the zone is kept for ZONE_DAYS: its `expire_at` shows
    that, also in a zone of an earlier version. A longer silence counts as SPOKEN_GAP_MS.
    """
    if zone.last_seen_ms and (
        zone.expire_at is None or zone.expire_at - zone.last_seen_ms > 2 * NEW_ZONE_DAYS * DAY_MS
    ):
        return ZONE_DAYS, 0
    spoken_ms = zone.spoken_ms
    if zone.last_seen_ms:
        spoken_ms += min(max(last_seen_ms - zone.last_seen_ms, 0), SPOKEN_GAP_MS)
    return (ZONE_DAYS, 0) if spoken_ms >= SPOKEN_MS else (NEW_ZONE_DAYS, spoken_ms)


def _starts(zone: ZoneRecord, now_s: int) -> list[int]:
    """The zone's starts of the cooler with one more, without those of more than an hour ago."""
    lately = [at_s for at_s in zone.cool_starts if 0 <= now_s - at_s < STARTS_KEPT_S]
    return [*lately[1 - STARTS_KEPT :], now_s]


def relays_now(zone: ZoneRecord, report: Report | None, moment: Moment) -> Relays:
    """The relays before the decision on a post.

    The cooler's minimum time counts from when the device says that it switched, if that is later
    than the command, and from now if the relays are unknown. A cooler that the device switched off
    a moment ago is off, whatever the record says: the device has restarted, or another process
    cut the relay and could tell nobody.
    """
    relays = relays_on(zone, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    if zone.relays_known and (report is None or report.new.relay_ms is None):
        return relays
    changed_ms = relays.cool_changed_ms
    if report is not None and report.new.relay_ms is not None and report.verdict.timing.present:
        own_ms = moment.uptime_ms - report.new.relay_ms
        changed_ms = own_ms if changed_ms is None else max(changed_ms, own_ms)
        if report.new.cool is False and report.new.relay_ms < MIN_OFF_MS:
            relays = msgspec.structs.replace(relays, cool=False)
    elif not zone.relays_known and changed_ms is not None:
        changed_ms = moment.uptime_ms
    return msgspec.structs.replace(relays, cool_changed_ms=changed_ms)


def still_running(relays: Relays, report: Report | None, moment: Moment) -> Relays:
    """The relays with the cooler on if the device did not hear that it was stopped a moment ago.

    It says that its cooler has been on since before that. So the cooler runs, and its minimum on
    time goes on. Only a reading that is believed tells this.
    """
    if report is None or report.new.cool is not True or report.new.relay_ms is None or relays.cool:
        return relays
    stopped_ms, started_ms = relays.cool_changed_ms, moment.uptime_ms - report.new.relay_ms
    if stopped_ms is None or moment.uptime_ms - stopped_ms >= MIN_OFF_MS:
        return relays
    believed = report.belief is not None and report.belief.believed
    if started_ms >= stopped_ms or not (believed and report.verdict.timing.present):
        return relays
    return msgspec.structs.replace(relays, cool=True, fault=False, cool_changed_ms=started_ms)


def _interval_ms(zone: ZoneRecord, seen_ms: int, present_ms: int) -> int:
    """The time between the zone's last post and this one; 0 if it is at most `present_ms`."""
    interval_ms = seen_ms - zone.last_seen_ms if zone.last_seen_ms else 0
    return min(interval_ms, PERIOD_MAX_MS) if interval_ms > present_ms else 0


def switched_last(zone: ZoneRecord, moment: Moment) -> bool:
    """Whether the answer to the zone's last post switched the cooler."""
    if zone.run != moment.boot or zone.cool_changed_ms is None:
        return False
    # Both times are of one moment, but one of them is rounded.
    since_ms = moment.steady_ms - zone.last_seen_ms
    return abs(moment.uptime_ms - zone.cool_changed_ms - since_ms) <= 1


def merge_commanded(record: ZoneRecord, commanded: ZoneRecord | None, moment: Moment) -> ZoneRecord:
    """The zone as stored, merged with the last command if its device was commanded otherwise since.

    A relay on which the two differ is off and counts as switched now. If `commanded` is None, both
    are off. If the stored zone was seen later, another process commanded it since: the stored one
    is returned.
    """
    if commanded is not None and record.last_seen_ms > commanded.last_seen_ms:
        return record
    was = relays_on(record, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    off = commanded or ZoneRecord(tenant_id=record.tenant_id, device_id=record.device_id)
    relays = without(was, moment.uptime_ms, cool=off.cool, heat=off.heat)
    if off.cool and not record.cool:
        relays = msgspec.structs.replace(relays, cool_changed_ms=moment.uptime_ms)
    elif off.run == moment.boot and off.cool_changed_ms is not None:
        changed_ms = max(off.cool_changed_ms, relays.cool_changed_ms or off.cool_changed_ms)
        relays = msgspec.structs.replace(relays, cool_changed_ms=changed_ms)
    if off.fault:
        relays = msgspec.structs.replace(relays, fault=True)
        record = msgspec.structs.replace(
            record,
            sensor_ok=False,
            fault_reason=off.fault_reason,
            trust_state=off.trust_state,
            trust_since_ms=off.trust_since_ms,
            trust_reason=off.trust_reason,
        )
    return with_relays(record, relays, moment)


def new_zone(commanded: ZoneRecord) -> ZoneRecord:
    """The record of a zone whose earlier one was deleted: its relays are as commanded last.

    So the minimum times go on, and nothing switches because of the deletion.
    """
    return ZoneRecord(
        tenant_id=commanded.tenant_id,
        device_id=commanded.device_id,
        cool=commanded.cool,
        heat=commanded.heat,
        cool_changed_ms=commanded.cool_changed_ms,
        cool_changed_wall_ms=commanded.cool_changed_wall_ms,
        run=commanded.run,
    )


def with_relays(zone: ZoneRecord, relays: Relays, moment: Moment) -> ZoneRecord:
    """The zone with other relays as of now."""
    changed_ms = relays.cool_changed_ms
    return msgspec.structs.replace(
        zone,
        cool=relays.cool,
        heat=relays.heat,
        fault=relays.fault,
        cool_changed_ms=changed_ms,
        cool_changed_wall_ms=(
            0 if changed_ms is None else moment.now_ms - int(moment.uptime_ms - changed_ms)
        ),
        run=moment.boot,
    )


def command_of(zone: ZoneRecord, values: Setpoints) -> Command:
    """The command for a zone's device."""
    return Command(zone.cool, zone.heat, values.setpoint_tenths, values.deadband_tenths)
