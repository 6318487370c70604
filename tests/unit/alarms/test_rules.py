"""When alarms begin and end, and how long they wait."""

from __future__ import annotations

import msgspec
import pytest

from server.alarms.alarm import Alarm
from server.alarms.rules import (
    HOLD_MAX_MS,
    HOUR_MS,
    LONG_MS,
    MINUTE_MS,
    AlarmMoment,
    AlarmRules,
    Sign,
    judge_many,
    many_is_over,
    quiet_ms,
    rest_ms,
    shelf_is_over,
    signs,
)
from server.alarms.steps import (
    ALARM_ID,
    AlarmOver,
    AlarmPending,
    TooManyComments,
    acknowledged,
    activated,
    begun,
    cleared,
    commented,
    shelved,
    slot_id,
)
from server.services.firestore.models import ZoneRecord

KEY = ("t", "lab", "high")
ALL = AlarmRules(
    frozenset(
        {"silent", "fault", "refused", "device_key_refused", "long_running", "short_cycling"}
    ),
    high_tenths=280,
    low_tenths=150,
)


def at(uptime_ms: int = HOUR_MS, boot: str = "b1", step_ms: int = 0) -> AlarmMoment:
    """A moment of a machine whose clock was set by `step_ms`."""
    booted_ms = 1_790_000_000_000 + step_ms
    return AlarmMoment(
        booted_ms + uptime_ms, uptime_ms, 1_790_000_000_000 + uptime_ms, boot, booted_ms
    )


def zone(**fields: object) -> ZoneRecord:
    known: dict[str, object] = {"tenant_id": "t", "device_id": "lab", "trust_state": "ok"}
    known |= {"temp_tenths": 200, **fields}
    return ZoneRecord(**known)  # type: ignore[arg-type]


def on(found: dict[str, Sign]) -> set[str]:
    return {kind for kind, sign in found.items() if sign.on}


@pytest.mark.parametrize(
    ("state", "reason", "kinds"),
    [
        ("ok", "", set()),
        ("suspect", "jump", set()),
        ("silent", "no_reading", {"silent"}),
        ("fault", "no_value", {"fault"}),
        ("refused", "INVALID_FIELD", {"refused"}),
        ("refused", "INVALID_DEVICE_KEY", {"device_key_refused"}),
        ("stuck", "not_obeyed", set()),  # these rules lack it
    ],
)
def test_the_trust_of_a_zone_is_an_alarm_of_its_kind(
    state: str, reason: str, kinds: set[str]
) -> None:
    doubted = zone(trust_state=state, trust_reason=reason, trust_since_ms=7)
    found = signs(doubted, ALL, at())
    assert on(found) == kinds
    assert all(found[kind][2:] == (reason, None, 7) for kind in kinds)


@pytest.mark.parametrize(
    ("tenths", "high", "low"),
    [
        (281, (True, False), (False, True)),
        (280, (False, False), (False, True)),
        (276, (False, False), (False, True)),
        (275, (False, True), (False, True)),
        (155, (False, True), (False, True)),
        (154, (False, True), (False, False)),
        (149, (False, True), (True, False)),
    ],
)
def test_a_temperature_alarm_ends_later_than_it_begins(
    tenths: int, high: tuple[bool, bool], low: tuple[bool, bool]
) -> None:
    found = signs(zone(temp_tenths=tenths), ALL, at())
    assert (found["high"][:2], found["low"][:2]) == (high, low)


def test_a_temperature_that_is_not_trusted_says_nothing() -> None:
    for doubted in (zone(temp_tenths=None), zone(temp_tenths=900, trust_state="suspect")):
        assert signs(doubted, ALL, at())["high"][:2] == (None, False)


def test_a_cooler_that_runs_for_long_counts_by_uptime_until_it_stops() -> None:
    began = {"cool": True, "cool_changed_ms": 1000, "run": "b1", "cool_changed_wall_ms": 1}
    late = at(1000 + LONG_MS, step_ms=-HOUR_MS)
    assert signs(zone(**began), ALL, late)["long_running"].on
    assert not signs(zone(**began), ALL, at(999 + LONG_MS, step_ms=HOUR_MS))["long_running"].on
    assert signs(zone(cool=False), ALL, late)["long_running"].off
    assert signs(zone(**began, trust_state="silent"), ALL, late)["long_running"].on is None


def test_twelve_starts_in_an_hour_are_too_many_until_six_are_left() -> None:
    now_s = at().steady_ms // 1000
    starts = [now_s - 3550 + 60 * number for number in range(12)]
    found = [
        signs(zone(cool_starts=starts), ALL, at(HOUR_MS + later * 1000))["short_cycling"][:2]
        for later in (0, 60, 350, 360)
    ]
    assert found == [(True, False), (False, False), (False, True), (False, True)]
    assert not signs(zone(cool_starts=starts[1:]), ALL, at())["short_cycling"].on


def test_a_change_of_the_setpoint_is_quiet_for_18_minutes_a_degree_and_two_hours_at_most() -> None:
    assert quiet_ms(200, 210) == quiet_ms(210, 200) == 18 * MINUTE_MS
    assert quiet_ms(200, 205) == 9 * MINUTE_MS
    assert quiet_ms(200, 300) == 120 * MINUTE_MS
    assert quiet_ms(200, 200) == 0


def pending(delay_ms: int = 5 * MINUTE_MS) -> Alarm:
    return begun(KEY, 1, Sign(on=True, off=False, limit_tenths=280), at(), delay_ms)


def test_no_step_of_the_clock_ends_or_extends_a_delay() -> None:
    alarm = pending()
    assert alarm.state == "pending"
    for step_ms in (-HOUR_MS, 0, HOUR_MS):
        later = at(HOUR_MS + MINUTE_MS, step_ms=step_ms)
        assert rest_ms(alarm, later, 0) == 4 * MINUTE_MS
    assert rest_ms(alarm, at(HOUR_MS + 9 * MINUTE_MS, step_ms=-HOUR_MS), 0) == 0


def test_after_a_reboot_a_delay_begins_again_when_the_alarm_is_seen() -> None:
    alarm = pending()
    assert rest_ms(alarm, at(1000, "b2"), 1000) == 5 * MINUTE_MS
    assert rest_ms(alarm, at(1000 + 4 * MINUTE_MS, "b2"), 1000) == MINUTE_MS


def test_an_alarm_goes_its_way_from_pending_to_cleared() -> None:
    with pytest.raises(AlarmPending):
        acknowledged(pending(), "ada", at())
    active = activated(pending(), at())
    assert (active.state, active.delay_ms) == ("active", 0)
    seen = acknowledged(active, "ada", at())
    assert (seen.state, seen.acknowledged_by) == ("acknowledged", "ada")
    assert acknowledged(seen, "bob", at()) is seen
    over = cleared(seen, at(), HOUR_MS)
    assert (over.state, over.is_open, over.expire_at) == ("cleared", False, at().now_ms + HOUR_MS)
    for step in (acknowledged(seen, "ada", at()), over):
        assert ALARM_ID.fullmatch(step.id)
        assert msgspec.convert(msgspec.to_builtins(step), Alarm) == step
    with pytest.raises(AlarmOver):
        acknowledged(over, "ada", at())
    with pytest.raises(AlarmOver):
        shelved(over, "ada", 5, at())


def test_a_shelf_ends_at_its_time_and_not_by_a_leap_of_the_clock() -> None:
    alarm = shelved(activated(pending(), at()), "ada", at().now_ms + HOUR_MS, at())
    assert alarm.is_shelved
    assert not shelf_is_over(alarm, at(HOUR_MS + 1, step_ms=2 * HOUR_MS))
    assert shelf_is_over(alarm, at(2 * HOUR_MS, step_ms=-HOUR_MS))
    assert not shelved(alarm, "ada", 0, at()).is_shelved
    assert not shelf_is_over(pending(), at())


def test_a_comment_that_is_sent_again_is_kept_once_and_there_are_twenty_at_most() -> None:
    alarm = pending()
    for number in range(20):
        alarm = commented(alarm, "ada", f"remark {number}", at())
    assert commented(alarm, "ada", "remark 19", at()) is alarm
    with pytest.raises(TooManyComments):
        commented(alarm, "bob", "remark 19", at())
    assert len(alarm.comments) == 20


def test_each_tenant_zone_and_kind_has_a_slot_of_its_own() -> None:
    keys = [("a_b", "c", "high"), ("a", "b_c", "high"), ("a", "b", "c_high"), ("a", "", "high")]
    assert len({slot_id(*key) for key in keys}) == 4


@pytest.mark.parametrize(
    ("recent", "zones", "oldest_ms", "newest_ms", "is_counted", "verdict"),
    [
        (9, 9, 0, 0, False, "each"),  # a site as small as this has no alarm for all
        (2, 5000, 500, 0, False, "each"),
        (10, 20, 500, 0, False, "many"),
        (9, 10, 500, 0, False, "wait"),
        (4999, 10_000, 500, 0, False, "wait"),
        (5000, 10_000, 500, 0, False, "many"),
        (4999, 10_000, 4000, 3000, False, "ask"),  # no zone has followed lately
        (4999, 10_000, HOLD_MAX_MS, 0, False, "ask"),
        (4999, 10_000, HOLD_MAX_MS, 0, True, "each"),
        (5000, 10_000, HOLD_MAX_MS, 0, True, "many"),
    ],
)
def test_ten_zones_and_half_of_the_site_get_one_alarm(
    recent: int, zones: int, oldest_ms: int, newest_ms: int, is_counted: bool, verdict: str
) -> None:
    assert judge_many(recent, zones, oldest_ms, newest_ms, is_counted=is_counted) == verdict


def test_the_alarm_of_the_site_ends_when_few_zones_are_left() -> None:
    assert [many_is_over(left, 20) for left in (5, 4)] == [False, True]
    assert [many_is_over(left, 10_000) for left in (500, 499)] == [False, True]
