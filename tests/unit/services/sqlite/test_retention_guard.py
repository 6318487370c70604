"""RetentionGuard says when and how much retention may delete; no clock can fool it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.services.sqlite.retention_guard import DAY_MS, HOUR_MS, RetentionGuard, instant
from tests.support.clock import ManualClock

HOUR_S, DAY_S = 3600, 86_400


@pytest.fixture
def guard(clock: ManualClock) -> RetentionGuard:
    return RetentionGuard.new(instant(clock))


def after(guard: RetentionGuard, clock: ManualClock, seconds: float) -> RetentionGuard:
    """The guard after this time, with a look at the clock every ten minutes."""
    while seconds > 0:
        clock.advance(min(seconds, 600))
        seconds -= 600
        guard = guard.at(instant(clock))
    return guard


def restarted(guard: RetentionGuard) -> RetentionGuard:
    """The guard as another process reads it."""
    return msgspec.convert(msgspec.json.decode(msgspec.json.encode(guard)), RetentionGuard)


def test_a_new_database_has_no_pause(guard, clock):
    assert guard.permission == (True, "")
    assert guard.started(instant(clock), None).permission == (True, "")


def test_a_span_is_earned_in_each_hour_of_uptime_and_a_day_of_them_is_kept(guard, clock):
    assert guard.spans == 0
    guard = after(guard, clock, HOUR_S - 1)
    assert guard.spans == 0
    guard = after(guard, clock, 1)
    assert guard.spans == 1
    assert after(guard, clock, 5 * DAY_S).spans == 24


def test_a_span_that_was_spent_cannot_be_spent_again(guard, clock):
    guard = after(guard, clock, 3 * HOUR_S).spending(2)
    assert guard.spans == 1
    with pytest.raises(ValueError, match="2 spans, but 1"):
        guard.spending(2)


def test_no_day_of_uptime_deletes_more_than_24_spans_though_24_were_saved(guard, clock):
    guard = after(guard, clock, 3 * DAY_S).spending(24)
    guard = after(guard, clock, DAY_S - 1)
    assert guard.spans == 0
    assert after(guard, clock, 1).spans == 24


def test_a_machine_that_runs_an_hour_a_day_deletes_the_span_that_it_fills(clock):
    guard = RetentionGuard.new(instant(clock))
    for day in range(5):
        clock = ManualClock(clock.now_ms() + 23 * HOUR_MS, boot=f"boot {day}")
        guard = restarted(guard).started(instant(clock), clock.now_ms() - 23 * HOUR_MS)
        guard = after(guard, clock, HOUR_S)
        assert guard.spans == 1
        guard = guard.spending(1)


def test_a_process_that_crashes_again_and_again_earns_no_more(guard, clock):
    for _ in range(100):
        clock.advance(60)
        guard = restarted(guard).started(instant(clock), clock.now_ms())
    assert guard.spans == 1


def test_a_machine_that_boots_again_and_again_earns_nothing_by_it(guard, clock):
    for number in range(100):
        clock.boot = f"boot {number}"
        guard = restarted(guard).started(instant(clock), clock.now_ms())
    assert (guard.spans, guard.earned_ms) == (0, 0)


@pytest.mark.parametrize(
    ("step_ms", "why"),
    [
        (100 * DAY_MS, "the machine's clock was set forward by 100 days"),
        (-100 * DAY_MS, "the machine's clock was set back by 100 days"),
        (100 * DAY_MS - 1000, "the machine's clock was set forward by 100 days"),
        (HOUR_MS + 1, "the machine's clock was set forward by 1.0 hours"),
        (-90 * 60_000, "the machine's clock was set back by 1.5 hours"),
    ],
)
def test_after_a_leap_nothing_is_deleted_for_an_hour(guard, clock, step_ms, why):
    guard = after(guard, clock, 2 * HOUR_S)
    clock.step_ms += step_ms
    guard = guard.at(instant(clock))
    assert (guard.permission, guard.spans) == ((False, why), 0)
    guard = after(guard, clock, HOUR_S - 1)
    assert (guard.permission, guard.spans) == ((False, why), 0)
    guard = after(guard, clock, 1)
    assert (guard.permission, guard.spans) == ((True, ""), 3)


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS])
def test_a_step_of_an_hour_is_no_leap(guard, clock, step_ms):
    clock.step_ms += step_ms
    assert guard.at(instant(clock)).permission.allowed


def test_many_small_steps_are_a_leap(guard, clock):
    for _ in range(3):
        clock.step_ms += 40 * 60_000
        clock.advance(60)
        guard = guard.at(instant(clock))
    assert guard.permission == (False, "the machine's clock was set forward by 1.3 hours")


def test_a_second_leap_begins_the_hour_again(guard, clock):
    clock.step_ms += DAY_MS
    guard = after(guard, clock, HOUR_S - 1)
    clock.step_ms -= DAY_MS
    guard = after(guard, clock, 1)
    assert not after(guard, clock, HOUR_S - 1).permission.allowed
    assert after(guard, clock, HOUR_S).permission.allowed


@pytest.mark.parametrize("boot", ["first boot", "second boot"])
def test_a_start_with_a_clock_far_ahead_of_the_newest_reading_pauses(guard, clock, boot):
    clock.boot = boot
    newest_ms = clock.now_ms() - DAY_MS
    assert guard.started(instant(clock), newest_ms).permission.allowed
    guard = guard.started(instant(clock), newest_ms - 1)
    why = "the machine's clock is 24.0 hours ahead of the newest reading"
    assert guard.permission == (False, why)
    assert not after(guard, clock, HOUR_S - 1).permission.allowed
    assert after(guard, clock, HOUR_S).permission.allowed


def test_a_restart_ends_no_pause(guard, clock):
    clock.step_ms += 100 * DAY_MS
    guard = after(guard, clock, 60)
    # A reading came since, with the wrong date.
    guard = restarted(guard).started(instant(clock), clock.now_ms())
    assert not after(guard, clock, HOUR_S - 601).permission.allowed


def test_a_reboot_ends_no_pause(guard, clock):
    clock.step_ms += 100 * DAY_MS
    guard = after(guard, clock, HOUR_S / 2)
    clock.boot = "second boot"
    guard = restarted(guard).started(instant(clock), clock.now_ms())
    assert not after(guard, clock, HOUR_S / 2 - 1).permission.allowed
    assert after(guard, clock, HOUR_S / 2).permission.allowed


def test_a_leap_while_the_server_was_down_is_seen_at_its_start(guard, clock):
    clock.advance(HOUR_S)
    clock.step_ms += 2 * DAY_MS
    guard = restarted(guard).started(instant(clock), None)
    assert guard.permission == (False, "the machine's clock was set forward by 2 days")


def test_a_boot_with_a_clock_far_ahead_pauses_though_readings_have_later_dates(guard, clock):
    # They got them when the clock was even more wrong.
    later = ManualClock(clock.now_ms() + 50 * DAY_MS, boot="second boot")
    guard = guard.started(instant(later), clock.now_ms() + 100 * DAY_MS)
    why = "the machine's clock is 50 days ahead of the time when the server ran last"
    assert guard.permission == (False, why)


def test_a_boot_in_the_past_pauses_when_the_clock_is_set(guard, clock):
    past = ManualClock(86_400_000, boot="second boot")
    guard = restarted(guard).started(instant(past), clock.now_ms())
    assert guard.permission.allowed
    past.step_ms = clock.now_ms() - past.now_ms()
    assert not guard.at(instant(past)).permission.allowed


def test_uptime_that_another_process_read_a_moment_earlier_counts_once(guard, clock):
    clock.advance(HOUR_S)
    late, early = instant(clock), instant(clock)._replace(uptime_ms=clock.uptime_ms() - 5)
    assert guard.at(late).at(early).at(late).earned_ms == HOUR_MS


def test_a_machine_whose_uptime_went_back_deletes_again(guard, clock):
    # As after a process that ran with a made-up uptime.
    guard = guard.at(instant(clock)._replace(uptime_ms=1_800_000_000_000))
    assert not guard.permission.allowed
    guard = guard.at(instant(clock))
    assert not guard.permission.allowed
    assert after(guard, clock, HOUR_S).permission.allowed


class Machine:
    """A machine whose clock, boots and server anything may happen to; it deletes all it may."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.guard = RetentionGuard.new(instant(self.clock))
        self.ran_s = 0
        self.deleted_s: list[int] = []

    def run(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.ran_s += seconds
        self.look(self.guard.at(instant(self.clock)))

    def step(self, milliseconds: int) -> None:
        self.clock.step_ms += milliseconds
        self.look(self.guard.at(instant(self.clock)))

    def reboot(self, off_ms: int) -> None:
        now_ms = self.clock.now_ms() + off_ms
        self.clock = ManualClock(now_ms, boot=f"{self.clock.boot}+")
        self.restart(0)

    def restart(self, newest_ago_ms: int) -> None:
        newest_ms = self.clock.now_ms() - newest_ago_ms
        self.look(restarted(self.guard).started(instant(self.clock), newest_ms))

    def look(self, guard: RetentionGuard) -> None:
        assert 0 <= guard.spans <= 24
        assert guard.permission.allowed or (guard.permission.why and not guard.spans)
        self.deleted_s += [self.ran_s] * guard.spans
        self.guard = guard.spending(guard.spans)


DISTANCE_MS = st.integers(-400 * DAY_MS, 400 * DAY_MS) | st.integers(-2 * HOUR_MS, 2 * HOUR_MS)
ACTS: st.SearchStrategy[tuple[Callable[[Machine, int], None], int]] = st.one_of(
    st.tuples(st.just(Machine.run), st.integers(1, 2 * DAY_S) | st.integers(1, 2 * HOUR_S)),
    st.tuples(st.just(Machine.step), DISTANCE_MS),
    st.tuples(st.just(Machine.reboot), DISTANCE_MS),
    st.tuples(st.just(Machine.restart), DISTANCE_MS),
)


@given(st.lists(ACTS, max_size=40))
@settings(max_examples=200)
def test_a_day_of_uptime_deletes_two_days_of_readings_at_most(acts):
    machine = Machine()
    for act, amount in acts:
        act(machine, amount)
    for began_s in machine.deleted_s:
        window = [one for one in machine.deleted_s if began_s <= one < began_s + DAY_S]
        assert len(window) <= 24
    assert len(machine.deleted_s) <= machine.ran_s // HOUR_S


@given(st.lists(st.tuples(DISTANCE_MS, st.integers(0, HOUR_S - 1)), min_size=1, max_size=20))
@settings(max_examples=100)
def test_a_clock_that_leaps_more_often_than_once_an_hour_deletes_nothing(leaps):
    machine = Machine()
    for distance_ms, seconds in leaps:
        machine.step(distance_ms + (2 * HOUR_MS if distance_ms >= 0 else -2 * HOUR_MS))
        machine.run(seconds)
    assert machine.deleted_s == []
