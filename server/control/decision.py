"""One zone's readings, decided on and made into writes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.control.belief import Trusting
from server.control.present import beside, cuts, judge
from server.control.reading import NewReading, Timing, stored_reading
from server.control.settings import Setpoints
from server.control.trust import Heard, heard_now, is_news
from server.control.views import Command
from server.control.zone import Relays, decide_post, without
from server.control.zone_record import Moment, command_of, relays_now, zone_after
from server.errors import BasError, Unprocessable
from server.services.firestore.base import Create
from server.services.firestore.models import Reading, ZoneRecord
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


class Rules(NamedTuple):
    """What holds for all zones: how many days a reading is kept, how late the present may be (ms),
    how long relays may stay on without the store (s), and what is believed."""

    keep_days: int
    present_ms: int
    grace_s: float
    trusting: Trusting = Trusting()


class Limits(NamedTuple):
    """What a decision may do where its reading cannot be stored; `all_off` ends all that is on."""

    may_start: bool = True
    all_off: bool = False


STORED, UNSTORED = Limits(), Limits(may_start=False)


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The zone afterwards, None if all of it came before; what is stored and announced with it;
    whether there is news of the zone that no reading tells; how many came before; and which rows
    were refused why."""

    zone: ZoneRecord | None
    command: Command | None
    creations: list[Create]
    announced: list[Reading]
    news: bool
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
    heard = None
    if share.last:
        heard = heard_now(before, taken, verdict, moment.steady_ms, rules.trusting)
    was = relays_now(before, heard, moment)
    relays = _relays_after(was, bool(faults), heard, timing, values, moment, limits)
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
    reason = ""
    if relays.fault:
        overdue = heard is not None and heard.is_overdue and not faults
        reason = "untrusted" if overdue else (faults[-1] if faults else before).fault_reason
    zone = zone_after(before, relays, reason, heard, reading, moment, rules.present_ms)
    news = (switched or relays.fault != was.fault) and not timing.present
    news = news or is_news(before, zone)
    return Plan(zone, command_of(zone, values), creations, announced, news, repeated, errors)


def _relays_after(
    was: Relays,
    fault: bool,
    heard: Heard | None,
    timing: Timing,
    values: Setpoints,
    moment: Moment,
    limits: Limits,
) -> Relays:
    """The relays after a fault that cuts, if there is one, and the newest reading, if it is
    believed. Where it is not known when that was measured it may stop the cooler, and start
    nothing. A zone whose readings have not been believed for too long is cut like a fault."""
    newest = None
    if heard is not None and heard.belief is not None and heard.belief.believed:
        decides = timing.present or (timing.unknown and not was.fault)
        newest = heard.new.temp_tenths if decides else None
    relays = decide_post(
        was,
        fault=fault or (heard is not None and heard.is_overdue),
        newest=newest,
        setpoint_tenths=values.setpoint_tenths,
        deadband_tenths=values.deadband_tenths,
        now_ms=moment.uptime_ms,
        may_start=timing.present and limits.may_start,
    )
    if limits.all_off:
        return without(relays, moment.uptime_ms, cool=False, heat=False)
    return relays


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
        stored = _repeated(new, ids, earlier, now_ms) if earlier else None
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


def _repeated(
    new: NewReading, ids: Sequence[str], earlier: Mapping[str, Reading], now_ms: int
) -> Reading | None:
    """The stored reading that this one is a repetition of."""
    found = (earlier[doc_id] for doc_id in ids if doc_id in earlier)
    return next((one for one in found if new.repeats(one, now_ms)), None)
