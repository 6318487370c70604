"""Decides on one zone's readings and turns the decision into writes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.common.errors import BasError, Unprocessable
from server.control.messages import Command
from server.control.rules.belief import Trusting
from server.control.rules.present import beside, cuts, judge
from server.control.rules.reading import NewReading, Timing, stored_reading
from server.control.rules.relay_rule import Relays, decide_post, without
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.trust_state import Report, must_publish, report_of
from server.control.rules.zone_record import (
    Moment,
    command_of,
    relays_now,
    still_running,
    zone_after,
)
from server.services.firestore.models import ZoneRecord
from server.services.ports.readings import NewRow, Reading


class PostedRow(msgspec.Struct, frozen=True, gc=False):
    """A reading and its index in the batch."""

    index: int
    new: NewReading


class Share(msgspec.Struct, frozen=True, gc=False):
    """The readings of one device that are written together, oldest first.

    `newest` is the newest reading of the whole batch; `last` says that this share holds the
    device's last rows. `came_ms` is when the batch was received, the same for all its rows; None
    means now.
    """

    device_id: str
    rows: Sequence[PostedRow]
    newest: NewReading
    last: bool
    came_ms: int | None = None


class Rules(NamedTuple):
    """Settings for all zones.

    How late a present reading may be (ms), how long relays may stay on without the store (s), and
    which readings are believed.
    """

    present_ms: int
    grace_s: float
    trusting: Trusting = Trusting()


class Limits(NamedTuple):
    """What a decision may do if its reading cannot be stored; with `all_off` all relays go off."""

    may_start: bool = True
    all_off: bool = False


STORED, UNSTORED = Limits(), Limits(may_start=False)


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The result of a decision.

    `zone` is the zone afterwards, None if all rows are repeats; `rows` and `announced` are the
    readings to store and to publish; `zone_changed` says that the zone changed in a way that its
    readings do not show; `repeated` counts the repeats; `errors` has each refused row's error.
    """

    zone: ZoneRecord | None
    command: Command | None
    rows: list[NewRow]
    announced: list[Reading]
    zone_changed: bool
    repeated: int
    errors: dict[int, BasError]


class _Taken(msgspec.Struct, frozen=True, gc=False):
    """A reading that the decision uses; stored under `doc_id`, or not again if that is None."""

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
    """Decide on a share, based on the zone as it was. `earlier` has the stored readings by id.

    A repeated good reading with a known key is not used again. One with a known `seq` is, since a
    restarted device may have sent it, and a fault always is. No repeat is stored again. The newest
    reading is stored with the command that it led to, all others with the command before it.
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
    report = None
    if share.last:
        report = report_of(before, taken, verdict, moment.steady_ms, rules.trusting)
    was = relays_now(before, report, moment)
    if limits.may_start:
        was = still_running(was, report, moment)
    relays = _relays_after(was, bool(faults), report, timing, values, moment, limits)
    rows = []
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
            digest=one.digest,
            timing=own,
        )
        if one.doc_id is not None:
            rows.append(NewRow(one.doc_id, reading, one.new.remember_ms))
            announced.append(reading)
    switched = (relays.cool, relays.heat) != (was.cool, was.heat)
    if taken[-1].doc_id is None and switched:
        announced.append(reading)
    reason = ""
    if relays.fault:
        overdue = report is not None and report.is_overdue and not faults
        reason = "untrusted" if overdue else (faults[-1] if faults else before).fault_reason
    zone = zone_after(before, relays, reason, report, reading, moment, rules.present_ms)
    zone_changed = (switched or relays.fault != was.fault) and not timing.present
    zone_changed = zone_changed or must_publish(before, zone)
    return Plan(zone, command_of(zone, values), rows, announced, zone_changed, repeated, errors)


def _relays_after(
    was: Relays,
    fault: bool,
    report: Report | None,
    timing: Timing,
    values: Setpoints,
    moment: Moment,
    limits: Limits,
) -> Relays:
    """The relays after a fault that cuts, if any, and after the newest reading, if it is believed.

    A reading of unknown time may stop the cooler but start nothing. A zone whose readings have not
    been believed for too long is switched off like a zone in fault.
    """
    newest = None
    if report is not None and report.belief is not None and report.belief.believed:
        decides = timing.present or (timing.unknown and not was.fault)
        newest = report.new.temp_tenths if decides else None
    relays = decide_post(
        was,
        fault=fault or (report is not None and report.is_overdue),
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
    """The rows to use, the stored repeats, the number of repeats, and the errors.

    Stored repeats are returned because they may not have been announced.
    """
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
            errors[row.index] = Unprocessable()
            continue
        repeated += 1
        # Of a reading that was deleted before its key nothing is left to announce.
        if stored is not None and stored.state:
            repeats.append(stored)
        if new.key is None or not new.sensor_ok:
            taken.append(_Taken(new, None, digest))
    return taken, repeats, repeated, errors


def _repeated(
    new: NewReading, ids: Sequence[str], earlier: Mapping[str, Reading], now_ms: int
) -> Reading | None:
    """The stored reading that `new` repeats, or None."""
    found = (earlier[doc_id] for doc_id in ids if doc_id in earlier)
    return next((one for one in found if new.repeats(one, now_ms)), None)
