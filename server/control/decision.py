"""One zone's readings, decided on and made into writes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.clock import Clock
from server.control.device_clock import QUEUES, Verdict
from server.control.present import PERIOD_MAX_MS, beside, cuts, judge, newest_ms
from server.control.reading import NewReading, Timing, stored_reading
from server.control.settings import Setpoints
from server.control.views import ZONE_DAYS, Command, relays_on
from server.control.zone import Relays, decide_post, without
from server.errors import BasError, Unprocessable
from server.services.firestore.base import Create
from server.services.firestore.models import DAY_MS, Reading, ZoneRecord
from server.services.firestore.telemetry_store import TelemetryStore


class Row(msgspec.Struct, frozen=True, gc=False):
    """A reading and its place in the batch."""

    place: int
    new: NewReading


class Share(msgspec.Struct, frozen=True, gc=False):
    """Readings of one device, oldest first, as many as are written together; the newest of the
    whole batch, and whether these are the last. `came_ms` is when the batch came, one moment for
    all of it; None: now."""

    device_id: str
    rows: Sequence[Row]
    newest: NewReading
    last: bool
    came_ms: int | None = None


class Moment(NamedTuple):
    """When the readings are decided on: Unix time, uptime on the time line `boot`, and the time
    that orders zones by who was heard last, all in ms."""

    now_ms: int
    uptime_ms: float
    steady_ms: int
    boot: str


def moment_of(clock: Clock) -> Moment:
    """Now."""
    return Moment(clock.now_ms(), clock.uptime_ms(), clock.steady_ms(), clock.boot)


class Rules(NamedTuple):
    """What holds for all zones: how many days a reading is kept, how late the present may be (ms),
    and how long relays may stay on without the store (s)."""

    keep_days: int
    present_ms: int
    grace_s: float


class Limits(NamedTuple):
    """What a decision may do where its reading cannot be stored; `all_off` ends all that is on."""

    may_start: bool = True
    all_off: bool = False


STORED, UNSTORED = Limits(), Limits(may_start=False)


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The zone afterwards, None if all of it came before; what is stored and announced with it;
    whether its relays have changed and no reading says so; how many came before; and which rows
    were refused why."""

    zone: ZoneRecord | None
    command: Command | None
    creations: list[Create]
    announced: list[Reading]
    silent: bool
    repeated: int
    errors: dict[int, BasError]


class _Taken(msgspec.Struct, frozen=True, gc=False):
    """A reading that is obeyed; stored under `doc_id`, or not again (None)."""

    new: NewReading
    doc_id: str | None
    digest: str | None


def plan(
    share: Share,
    before: ZoneRecord,
    values: Setpoints,
    earlier: Mapping[str, Reading],
    moment: Moment,
    rules: Rules,
    limits: Limits = STORED,
) -> Plan:
    """Decide on a share, over the zone as it was. `earlier` has what is stored already, by id.

    A good reading whose key came before is not obeyed again; one whose `seq` did is, since it may
    come from a device that was restarted, and a fault always is. None is stored again. All but the
    newest are stored with the command that was in force when they came, the newest with the one it
    led to.
    """
    taken, announced, repeated, errors = _sorted_out(share, before, earlier, moment.now_ms)
    if not taken:
        return Plan(None, None, [], announced, False, repeated, errors)
    newest = taken[-1].new if share.last else share.newest
    came_ms = moment.now_ms if share.came_ms is None else share.came_ms
    verdict = judge(before, newest, came_ms, moment.steady_ms, rules.present_ms)
    timing, shift_ms = verdict.timing, verdict.timing.shift_ms
    faults = [
        one.new
        for one in taken
        if not one.new.sensor_ok and cuts(one.new, newest, came_ms, shift_ms)
    ]
    decides = newest if share.last and newest.sensor_ok else None
    was = relays_on(before, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    relays = _relays_after(was, bool(faults), decides, timing, values, moment, limits)
    creations = []
    for one in taken:
        own = timing
        if one.new is not newest:
            own = beside(one.new, timing, before, came_ms, rules.present_ms)
        reading = stored_reading(
            one.new,
            tenant_id=before.tenant_id,
            device_id=before.device_id,
            relays=relays if one is taken[-1] else was,
            setpoint_tenths=values.setpoint_tenths,
            deadband_tenths=values.deadband_tenths,
            now_ms=moment.now_ms,
            keep_days=rules.keep_days,
            digest=one.digest,
            timing=own,
        )
        if one.doc_id is not None:
            creations.append(TelemetryStore.creation(one.doc_id, reading, typed=True))
            announced.append(reading)
    switched = (relays.cool, relays.heat) != (was.cool, was.heat)
    if taken[-1].doc_id is None and switched:
        announced.append(reading)
    reason = (faults[-1] if faults else before).fault_reason if relays.fault else ""
    heard = reading if share.last else None
    zone = _zone_after(before, relays, reason, heard, verdict, moment, rules.present_ms)
    silent = (switched or relays.fault != was.fault) and not timing.present
    return Plan(zone, command_of(zone, values), creations, announced, silent, repeated, errors)


def _relays_after(
    was: Relays,
    fault: bool,
    newest: NewReading | None,
    timing: Timing,
    values: Setpoints,
    moment: Moment,
    limits: Limits,
) -> Relays:
    """The relays after a fault that cuts, if there is one, and the newest reading, if it is good.
    Where it is not known when that was measured it may stop the cooler, and start nothing."""
    decides = timing.present or (timing.unknown and not was.fault)
    relays = decide_post(
        was,
        fault=fault,
        newest=newest.temp_tenths if newest and decides else None,
        setpoint_tenths=values.setpoint_tenths,
        deadband_tenths=values.deadband_tenths,
        now_ms=moment.uptime_ms,
        may_start=timing.present and limits.may_start,
    )
    if limits.all_off:
        return without(relays, moment.uptime_ms, cool=False, heat=False)
    return relays


def _zone_after(
    zone: ZoneRecord,
    relays: Relays,
    reason: str,
    newest: Reading | None,
    verdict: Verdict,
    moment: Moment,
    present_ms: int,
) -> ZoneRecord:
    """The zone with its relays as decided, in fault for this `reason`, and what the `newest`
    reading of a post says of it, once all of the post is there; if nobody set the zone, to be
    forgotten some day."""
    now_ms, changed_ms, clock = moment.now_ms, relays.cool_changed_ms, verdict.clock
    last_seen_ms, newest_date = zone.last_seen_ms, zone.newest_ms
    interval_ms, period_ms = zone.interval_ms, zone.period_ms
    heard = None
    if newest is not None:
        last_seen_ms = moment.steady_ms
        if verdict.timing.present:
            heard = newest
        if not verdict.timing.unknown:
            newest_date = max(min(newest.timestamp_ms, now_ms), newest_ms(zone, now_ms))
        if clock is None or clock.state not in QUEUES:  # a queue has a pace of its own
            interval_ms = _interval_ms(zone, moment.steady_ms, present_ms)
            period_ms = min(interval_ms, zone.interval_ms)
    trust, because = _trust(zone, relays, verdict, reason)
    same = trust == zone.trust_state and because == zone.trust_reason
    own = zone.setpoint_tenths is not None or zone.deadband_tenths is not None
    after = msgspec.structs.replace(
        zone,
        expire_at=None if own else now_ms + ZONE_DAYS * DAY_MS,
        last_seen_ms=last_seen_ms,
        timestamp_ms=heard.timestamp_ms if heard else zone.timestamp_ms,
        temp_tenths=heard.temp_tenths if heard else zone.temp_tenths,
        received_ms=now_ms if heard else zone.received_ms,
        sensor_ok=not relays.fault and (heard.sensor_ok if heard else zone.sensor_ok),
        fault_reason=reason,
        newest_ms=newest_date,
        interval_ms=interval_ms,
        period_ms=period_ms,
        trust_state=trust,
        trust_reason=because,
        trust_since_ms=zone.trust_since_ms if same else now_ms,
        cool=relays.cool,
        heat=relays.heat,
        fault=relays.fault,
        cool_changed_ms=changed_ms,
        cool_changed_wall_ms=(
            0 if changed_ms is None else now_ms - int(moment.uptime_ms - changed_ms)
        ),
        run=moment.boot,
    )
    if newest is None or clock is None:
        return after
    return msgspec.structs.replace(
        after,
        clock=clock.state,
        clock_offset_ms=clock.offset_ms,
        clock_posts=clock.posts,
        clock_date_ms=clock.date_ms,
        clock_received_ms=clock.received_ms,
    )


def _interval_ms(zone: ZoneRecord, seen_ms: int, present_ms: int) -> int:
    """Between the zone's last post and this one; 0 if that is no longer than the present may be
    late anyway."""
    interval_ms = seen_ms - zone.last_seen_ms if zone.last_seen_ms else 0
    return min(interval_ms, PERIOD_MAX_MS) if interval_ms > present_ms else 0


def _trust(zone: ZoneRecord, relays: Relays, verdict: Verdict, reason: str) -> tuple[str, str]:
    """Whether the zone's readings are trusted, and why not."""
    if relays.fault:
        return "fault", reason
    if verdict.timing.present:
        return "ok", ""
    return ("suspect", "late") if verdict.keeps_late else (zone.trust_state, zone.trust_reason)


def rejoined(record: ZoneRecord, told: ZoneRecord | None, moment: Moment) -> ZoneRecord:
    """The zone as the store has it, after its device was told something else: a relay on which the
    two differ is off, and counts as switched now. None was told: both off.

    If it was heard later than that, another process told it something since: what is stored.
    """
    if told is not None and record.last_seen_ms > told.last_seen_ms:
        return record
    was = relays_on(record, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    off = told or ZoneRecord(tenant_id=record.tenant_id, device_id=record.device_id)
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


def with_relays(zone: ZoneRecord, relays: Relays, moment: Moment) -> ZoneRecord:
    """The zone with other relays, as they are now."""
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
    """What a zone's device is told."""
    return Command(zone.cool, zone.heat, values.setpoint_tenths, values.deadband_tenths)


def _sorted_out(
    share: Share, before: ZoneRecord, earlier: Mapping[str, Reading], now_ms: int
) -> tuple[list[_Taken], list[Reading], int, dict[int, BasError]]:
    """What is obeyed, what came before and may not have been announced, how many did, refusals."""
    taken: list[_Taken] = []
    repeats: list[Reading] = []
    errors: dict[int, BasError] = {}
    digests: dict[str, str] = {}
    repeated = 0
    for row in share.rows:
        new = row.new
        ids = new.source_ids(before.tenant_id, before.device_id, now_ms)
        if not new.may_repeat:
            taken.append(_Taken(new, ids[0], None))
            continue
        digest = new.digest()
        stored = next(
            (one for one in map(earlier.get, ids) if one and new.repeats(one, now_ms)), None
        )
        known = stored.source_digest if stored else digests.get(ids[0])
        if known is None:
            digests[ids[0]] = digest
            taken.append(_Taken(new, ids[0], digest))
            continue
        if new.key is not None and known != digest and new.sensor_ok:
            errors[row.place] = Unprocessable()
            continue
        repeated += 1
        if stored is not None:
            repeats.append(stored)
        if new.key is None or not new.sensor_ok:
            taken.append(_Taken(new, None, digest))
    return taken, repeats, repeated, errors
