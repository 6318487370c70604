"""When an alarm begins, becomes active and ends. Pure: zones, settings and times are arguments.

A delay counts by uptime: a step of the clock neither ends nor extends it. The alarm holds the
uptime at which its delay began, so all processes of one boot, and a restarted one, see the same
rest. After a reboot, or on another machine, that uptime means nothing: the delay begins again when
the process first sees the alarm, so it ends later and never too early.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from server.alarms.alarm import MANY, Alarm
from server.services.firestore.models import STARTS_KEPT, STARTS_KEPT_S, ZoneRecord

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
# An active alarm for a temperature ends this far within its threshold.
HYSTERESIS = 5
# ASHRAE Guideline 36-2021, 5.1.20: after a change of the setpoint the alarms of a zone's
# temperature are suppressed for 10 minutes per °F, which is 18 minutes per °C, at most 2 hours.
QUIET_MS_PER_DEGREE, QUIET_MAX_MS = 18 * MINUTE_MS, 120 * MINUTE_MS
# A cooler that ran for this long without a stop. One that made STARTS_KEPT starts in an hour, more
# than makers of small compressors allow, cycles too shortly.
LONG_MS = 4 * HOUR_MS
# A refused post with one of these codes has a wrong key, or none where one is needed.
KEY_CODES = frozenset({"INVALID_DEVICE_KEY", "DEVICE_KEY_REQUIRED", "DEVICE_MISMATCH"})

# A zone's alarm waits HOLD_MS to see whether other zones follow. While they do, it waits on, for
# HOLD_MAX_MS at most.
HOLD_MS, HOLD_MAX_MS, FOLLOWED_MS = 500, 8_000, 2_500
# So many zones within MANY_WITHIN_MS are a storm that may become an alarm of the site; it does so
# with MANY_LEAST zones and half of all.
STORM, MANY_LEAST, MANY_WITHIN_MS = 3, 10, 60_000
# The site's alarm ends when fewer zones than this, and fewer than a 20th, have the condition left.
MANY_LEFT, MANY_LEFT_SHARE = 5, 20
# No zone is silent sooner after its last post, and none is sought that posted longer ago.
SILENT_MIN_MS, SOUGHT_MS = 10_000, 10 * MINUTE_MS

Many = Literal["wait", "ask", "each", "many"]
"""Wait for more zones, count them in the store, or raise an alarm for each zone or for all."""


class AlarmRules(NamedTuple):
    """Which kinds of zones' alarms there are, and their thresholds in tenths of °C."""

    kinds: frozenset[str] = frozenset({"silent", "fault"})
    high_tenths: int | None = None
    low_tenths: int | None = None
    delay_ms: int = 5 * MINUTE_MS
    """For how long a temperature must be beyond its threshold."""


class AlarmMoment(NamedTuple):
    """The time of a decision, in ms: Unix time, uptime on the time line `boot`, steady time.

    `booted_ms` is when uptime was 0, by the clock as it is set now.
    """

    now_ms: int
    uptime_ms: int
    steady_ms: int
    boot: str
    booted_ms: int


class Sign(NamedTuple):
    """What a zone's record says about one kind of alarm.

    `on`: the condition is there; None: nothing can be said. `off`: an active alarm is over, which
    hysteresis may make later than the end of the condition. `since_ms` is 0 for now.
    """

    on: bool | None
    off: bool
    reason: str = ""
    limit_tenths: int | None = None
    since_ms: int = 0


UNKNOWN = Sign(None, off=False)


def signs(zone: ZoneRecord, rules: AlarmRules, moment: AlarmMoment) -> dict[str, Sign]:
    """What a zone's record says about each kind that the rules have."""
    found: dict[str, Sign] = {}
    family, reason, since_ms = kind_of(zone), zone.trust_reason, zone.trust_since_ms
    for kind in rules.kinds:
        if kind in _OF_TRUST:
            on = kind == family
            found[kind] = Sign(on, not on, reason if on else "", None, since_ms if on else 0)
    if rules.high_tenths is not None:
        found["high"] = _beyond(zone, rules.high_tenths, 1)
    if rules.low_tenths is not None:
        found["low"] = _beyond(zone, rules.low_tenths, -1)
    if "long_running" in rules.kinds:
        found["long_running"] = _long_running(zone, moment)
    if "short_cycling" in rules.kinds:
        found["short_cycling"] = _short_cycling(zone, moment)
    return found


def kind_of(zone: ZoneRecord) -> str:
    """The kind of alarm that belongs to the zone's trust, if any is raised for it."""
    if zone.trust_state == "refused" and zone.trust_reason in KEY_CODES:
        return "device_key_refused"
    return zone.trust_state


_OF_TRUST = frozenset({"silent", "fault", "stuck", "refused", "device_key_refused"})


def family_of(kind: str) -> str:
    """The state of trust that a kind is about; empty for a kind that no site's alarm replaces."""
    if kind == "device_key_refused":
        return "refused"
    return kind if kind in _OF_TRUST else ""


def many_of(kind: str) -> str:
    """The kind of the site's alarm that replaces zones' alarms of this kind; empty if none does."""
    family = family_of(kind)
    return f"{MANY}{family}" if family else ""


def _beyond(zone: ZoneRecord, limit: int, sense: int) -> Sign:
    """Whether the temperature is above (`sense` 1) or below (-1) the limit.

    A temperature that is not trusted says nothing.
    """
    if zone.trust_state != "ok" or zone.temp_tenths is None:
        return UNKNOWN
    excess = (zone.temp_tenths - limit) * sense
    return Sign(excess > 0, excess <= -HYSTERESIS, "", limit)


def _long_running(zone: ZoneRecord, moment: AlarmMoment) -> Sign:
    if not zone.cool:
        return Sign(on=False, off=True)
    if zone.trust_state in ("silent", "refused") or zone.cool_changed_ms is None:
        return UNKNOWN
    if zone.run == moment.boot:
        ran_ms = moment.uptime_ms - zone.cool_changed_ms
    else:
        ran_ms = moment.now_ms - zone.cool_changed_wall_ms
    return Sign(ran_ms >= LONG_MS, off=False)


def _short_cycling(zone: ZoneRecord, moment: AlarmMoment) -> Sign:
    now_s = moment.steady_ms // 1000
    lately = sum(now_s - at_s < STARTS_KEPT_S for at_s in zone.cool_starts)
    return Sign(lately >= STARTS_KEPT, off=lately <= STARTS_KEPT // 2)


def quiet_ms(setpoint_tenths: int, temp_tenths: int) -> int:
    """For how long `high` and `low` are quiet after the setpoint became this one."""
    quiet = abs(setpoint_tenths - temp_tenths) * QUIET_MS_PER_DEGREE // 10
    return min(quiet, QUIET_MAX_MS)


def rest_ms(alarm: Alarm, moment: AlarmMoment, seen_uptime_ms: int) -> int:
    """How much of a pending alarm's delay is left; `seen_uptime_ms` is when this process saw it."""
    began_ms = alarm.pending_uptime_ms if alarm.boot == moment.boot else seen_uptime_ms
    return max(0, began_ms + alarm.delay_ms - moment.uptime_ms)


def shelf_is_over(alarm: Alarm, moment: AlarmMoment) -> bool:
    """Whether the alarm's shelf has ended; a leap of the clock since it was shelved is left out."""
    same_boot = alarm.shelf_boot == moment.boot
    leap_ms = moment.booted_ms - alarm.shelf_booted_ms if same_boot else 0
    return bool(alarm.shelved_until_ms) and moment.now_ms >= alarm.shelved_until_ms + leap_ms


def overdue_ms(zone: ZoneRecord, steady_ms: int) -> int:
    """For how long the zone has been silent, also if the zone watch has not stored that yet.

    Negative before that. It is the rule of `control/rules/silence.py`.
    """
    gaps = sorted(zone.gaps)
    period_ms = gaps[len(gaps) // 2] * 100 if len(gaps) > 1 else MINUTE_MS
    return steady_ms - zone.last_seen_ms - max(3 * period_ms, SILENT_MIN_MS)


def judge_many(
    recent: int, zones: int, oldest_ms: int, newest_ms: int, *, is_counted: bool
) -> Many:
    """What becomes of zones that wait with the same condition.

    `recent` zones of `zones` have had it for less than MANY_WITHIN_MS. The first of those that wait
    has waited for `oldest_ms`, the last for `newest_ms`. `is_counted`: the store was asked, since
    each process sees the posts of some zones only.
    """
    if zones < MANY_LEAST or recent < STORM:
        return "each"
    if recent >= MANY_LEAST and 2 * recent >= zones:
        return "many"
    if oldest_ms < HOLD_MAX_MS and newest_ms < FOLLOWED_MS:
        return "wait"
    return "each" if is_counted else "ask"


def many_is_over(left: int, zones: int) -> bool:
    """Whether so few zones have the condition left that each of them gets an alarm."""
    return left < max(MANY_LEFT, zones // MANY_LEFT_SHARE)
