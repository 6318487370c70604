"""Whether a zone is trusted and why not: the effect of a post and of silence. Pure.

Temperatures are tenths of °C, times steady ms (`Clock.steady_ms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.control.rules.belief import BELIEVED, Belief, Trusted, Trusting, believe, last_trusted
from server.control.rules.device_clock import Verdict
from server.control.rules.present import Row
from server.control.rules.reading import NewReading
from server.control.rules.silence import SILENT_MIN_MS, Listening, silent_after_ms, silent_ms
from server.services.firestore.models import ZoneRecord

# The states of a zone's trust. If several apply, the one furthest right counts.
STATES = ("never", "ok", "suspect", "silent", "stuck", "refused", "fault")
# After this time of not obeying a device is stuck.
STUCK_MS = 30_000


class Report(msgspec.Struct, frozen=True, gc=False):
    """A post's newest reading, how its date is read, and whether it is believed.

    `belief` is None for a fault and for a reading that is not of now. `is_overdue`: the zone has
    had no trusted reading for too long. `as_before`: the zone was trusted, and still is.
    """

    new: NewReading
    verdict: Verdict
    belief: Belief | None
    is_overdue: bool = False
    as_before: bool = False

    @property
    def trusted(self) -> bool:
        """Whether the reading is present and believed."""
        return self.belief is not None and self.belief.believed and self.verdict.timing.present


def report_of(
    zone: ZoneRecord,
    rows: Sequence[Row],
    verdict: Verdict,
    steady_ms: int,
    trusting: Trusting,
) -> Report:
    """Judge the rows of one post, oldest first."""
    newest, belief, is_overdue = rows[-1].new, None, False
    if newest.sensor_ok and (verdict.timing.present or verdict.timing.unknown):
        belief = believe(zone, rows, steady_ms, trusting)
        if belief is BELIEVED:
            says = newest.cool is not None or newest.heat is not None
            same = verdict.timing.present and zone.relays_known and not zone.disobeyed_ms
            return Report(newest, verdict, belief, False, same and not says)
    if belief is not None and not belief.believed:
        at_ms = _doubted_since(zone, belief, steady_ms).at_ms
        is_overdue = bool(at_ms) and steady_ms - at_ms >= trusting.safe_after_ms
    return Report(newest, verdict, belief, is_overdue)


def trust_after(
    zone: ZoneRecord, report: Report, in_fault: bool, reason: str, steady_ms: int
) -> dict[str, Any]:
    """The trust fields of the zone's record after a post; `reason` is the reason of its fault."""
    known, belief, new = last_trusted(zone), report.belief, report.new
    disobeyed_ms = _disobeyed_ms(zone, report, steady_ms)
    state, because = zone.trust_state, zone.trust_reason
    if in_fault:
        state, because = "fault", reason
    elif disobeyed_ms and steady_ms - disobeyed_ms >= STUCK_MS:
        state, because = "stuck", "not_obeyed"
    elif belief is not None and belief.reason:
        state, because = "suspect", belief.reason
    elif report.trusted:
        state, because = "ok", ""
    elif report.verdict.keeps_late or state in ("silent", "refused"):
        state, because = "suspect", "late"
    if report.trusted:
        known = Trusted() if state == "ok" else Trusted(new.temp_tenths, steady_ms)
    else:
        known = _doubted_since(zone, belief, steady_ms)
    if belief is not None:
        doubted = belief.doubted
        jump = belief.jumped_from, belief.jumped_ms, belief.back_from
    else:
        doubted = zone.doubted if new.sensor_ok else []
        jump = zone.jumped_from, zone.jumped_ms, zone.back_from
    return {
        "trust_state": state,
        "trust_reason": because,
        "trusted_tenths": known.tenths,
        "trusted_ms": known.at_ms,
        "doubted": doubted,
        "jumped_from": jump[0],
        "jumped_ms": jump[1],
        "back_from": jump[2],
        "disobeyed_ms": disobeyed_ms,
        "relays_known": True,
    }


def trusted_otherwise(zone: ZoneRecord, now_ms: int, **trust: Any) -> ZoneRecord:
    """The zone with these trust fields; the state counts from now if it or its reason changed."""
    same = (zone.trust_state, zone.trust_reason) == (trust["trust_state"], trust["trust_reason"])
    since_ms = zone.trust_since_ms if same else now_ms
    return msgspec.structs.replace(zone, trust_since_ms=since_ms, **trust)


def must_publish(before: ZoneRecord, after: ZoneRecord) -> bool:
    """Whether the change of trust must be published; a zone's first good reading need not be."""
    if before.relays_known != after.relays_known:
        return True
    if before.trust_state == after.trust_state:
        return before.trust_reason != after.trust_reason
    return before.trust_state != "never" or after.trust_state != "ok"


def _doubted_since(zone: ZoneRecord, belief: Belief | None, steady_ms: int) -> Trusted:
    """The last trusted reading, and since when there was none.

    That time starts now if the device was silent, refused or just switched on, and if a clock was
    set back.
    """
    known = last_trusted(zone)
    is_new = not known.at_ms or zone.trust_state in ("silent", "refused")
    if belief is not None and belief.reason == "power_on":
        is_new = is_new or zone.trust_reason != "power_on"
    if is_new or steady_ms - zone.last_seen_ms >= silent_after_ms(zone):
        return Trusted(known.tenths, steady_ms)
    return Trusted(known.tenths, min(known.at_ms, steady_ms))


def _disobeyed_ms(zone: ZoneRecord, report: Report, steady_ms: int) -> int:
    """Since when the device reports other relays than commanded; 0 if it does not.

    The command is the answer to the device's previous post.
    """
    new = report.new
    if not report.verdict.timing.present:
        return zone.disobeyed_ms
    if new.cool in (None, zone.cool) and new.heat in (None, zone.heat):
        return 0
    return min(zone.disobeyed_ms or zone.last_seen_ms or steady_ms, steady_ms)


def silenced(
    zone: ZoneRecord, steady_ms: int, now_ms: int, listening: Listening, refused: str = ""
) -> ZoneRecord:
    """The zone marked as silent if it is, else unchanged.

    With `refused`, the error code of a refusal, its posts arrive but are not accepted: it is marked
    as refused.
    """
    silent = silent_ms(zone, steady_ms, listening)
    if silent < SILENT_MIN_MS or silent < silent_after_ms(zone):
        return zone
    is_known = zone.relays_known and silent < listening.unknown_after_ms
    state = "refused" if refused else "silent"
    if STATES.index(zone.trust_state) >= STATES.index(state):
        if is_known == zone.relays_known:
            return zone
        return msgspec.structs.replace(zone, relays_known=is_known)
    known = last_trusted(zone)
    return trusted_otherwise(
        zone,
        now_ms,
        trust_state=state,
        trust_reason=refused or "no_reading",
        trusted_tenths=known.tenths,
        trusted_ms=known.at_ms,
        relays_known=is_known,
    )
