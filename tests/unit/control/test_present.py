"""The order of the rows of a post, which faults cut the relays, and how late the present may be."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.control.rules.decision import PostedRow, Rules, Share, plan
from server.control.rules.device_clock import IN_TIME, SHIFTED, DeviceClock
from server.control.rules.present import TICKS, beside, cuts, judge, newest_ms, oldest_first
from server.control.rules.reading import NewReading, Timing
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.zone_record import Moment
from server.services.firestore.models import ZoneRecord

pytestmark = pytest.mark.sqlite_only("it needs no store")

NOW = 1_790_000_000_000
S = 1000
MIN = 60 * S
HOUR = 60 * MIN
NEW_ZONE = ZoneRecord(tenant_id="default", device_id="lab")
IN_TIME_ZONE = msgspec.structs.replace(
    NEW_ZONE,
    clock=IN_TIME,
    newest_ms=NOW - 2 * S,
    timestamp_ms=NOW - 2 * S,
    received_ms=NOW - 2 * S,
)


def new(timestamp=None, *, ok=True, temp=235, age_ms=None):
    return NewReading(temp_tenths=temp, sensor_ok=ok, timestamp=timestamp, age_ms=age_ms)


def ordered(*timestamps):
    """The indexes of rows with these dates or ticks, oldest first."""
    rows = [PostedRow(index, new(one)) for index, one in enumerate(timestamps)]
    return [row.index for row in oldest_first(rows, NOW)]


def judged(zone, reading, *, now_ms=NOW, present_s=60, silent_ms=2 * S):
    """The verdict on a post that came `silent_ms` after the one before it."""
    return judge(zone, reading, now_ms, zone.last_seen_ms + silent_ms, present_s * S)


def is_present(*args, **more):
    return judged(*args, **more).timing.present


@pytest.mark.parametrize(
    ("timestamps", "indexes"),
    [
        ((), []),
        ((NOW,), [0]),
        ((NOW - 4, NOW - 2, NOW), [0, 1, 2]),
        ((NOW, NOW - 2, NOW - 4), [2, 1, 0]),
        ((NOW, NOW - HOUR, NOW, NOW - HOUR), [1, 3, 0, 2]),
        ((5000, 3000, 1000), [2, 1, 0]),
        ((TICKS - 2000, TICKS - 1, 1000), [0, 1, 2]),
        ((1000, TICKS - 1, TICKS - 2000), [2, 1, 0]),
        # Some without a date, or without ticks: the rows keep the order of the post.
        ((NOW, 5000, NOW - 2), [0, 1, 2]),
        ((NOW, None, NOW - 2), [0, 1, 2]),
        ((5000, None, 3000), [0, 1, 2]),
        ((None, None), [0, 1]),
        # A date more than 5 minutes ahead does not count as a date, but still orders rows.
        ((NOW + HOUR, NOW + HOUR - 2), [1, 0]),
    ],
)
def test_rows_are_sorted_by_the_time_of_their_measurement(timestamps, indexes):
    assert ordered(*timestamps) == indexes


@given(st.permutations([NOW - at * S for at in range(8)]))
def test_rows_with_dates_are_sorted_whatever_order_they_arrive_in(dates):
    assert [dates[index] for index in ordered(*dates)] == sorted(dates)


@given(st.integers(0, TICKS - 1), st.lists(st.integers(1, 10 * MIN), max_size=8), st.randoms())
def test_rows_with_ticks_are_sorted_whatever_order_they_arrive_in_and_wherever_the_ticks_wrap(
    first, steps, random
):
    ticks = [first]
    for step in steps:
        ticks.append((ticks[-1] + step) % TICKS)
    came = random.sample(ticks, len(ticks))
    assert [came[index] for index in ordered(*came)] == ticks


def test_an_age_orders_a_row_as_well_as_a_date_does():
    rows = [
        PostedRow(0, new(age_ms=1 * S)),
        PostedRow(1, new(NOW - 3 * S)),
        PostedRow(2, new(5000, age_ms=9 * S)),
    ]
    assert [row.index for row in oldest_first(rows, NOW)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("fault", "newest", "shift_ms", "cut"),
    [
        (new(NOW - 60 * S), new(NOW), 0, True),
        (new(NOW - 60 * S - 1), new(NOW), 0, False),
        (new(NOW - 5 * HOUR - 60 * S), new(NOW - 5 * HOUR), 5 * HOUR, True),
        (new(NOW - 5 * HOUR - 60 * S - 1), new(NOW - 5 * HOUR), 5 * HOUR, False),
        # A fault without a date, or beside a row without one, always cuts.
        (new(), new(NOW), 0, True),
        (new(5000), new(), 0, True),
        # A date beside a newest row without one is compared with the time of receipt.
        (new(NOW - 60 * S), new(), 0, True),
        (new(NOW - 60 * S - 1), new(), 0, False),
        (new(NOW - 5 * HOUR - 60 * S), new(5000), 5 * HOUR, True),
        (new(age_ms=61 * S), new(age_ms=1 * S), 5 * HOUR, True),
        (new(age_ms=61 * S + 1), new(age_ms=1 * S), 5 * HOUR, False),
        (new(NOW - 5 * HOUR), new(age_ms=0), 5 * HOUR, True),
        (new(age_ms=61 * S), new(NOW - 5 * HOUR), 5 * HOUR, False),
    ],
)
def test_a_fault_cuts_the_relays_if_it_is_at_most_a_minute_older_than_the_newest_row(
    fault, newest, shift_ms, cut
):
    assert cuts(fault, newest, NOW, shift_ms) is cut


@pytest.mark.parametrize("timestamp", [None, 5000, NOW, NOW - HOUR, NOW - 6 * 365 * 24 * HOUR])
def test_a_fault_in_the_newest_row_cuts_the_relays_whatever_its_date(timestamp):
    fault = new(timestamp, ok=False)
    assert cuts(fault, fault, NOW, 0)


@pytest.mark.parametrize("present_s", [1, 60, 900])
def test_the_present_may_be_as_late_as_the_setting_says(present_s):
    zone = msgspec.structs.replace(IN_TIME_ZONE, newest_ms=0, timestamp_ms=0)
    assert is_present(zone, new(NOW - present_s * S), present_s=present_s)
    assert not is_present(zone, new(NOW - present_s * S - 1), present_s=present_s)


@pytest.mark.parametrize(
    ("period_s", "limit_s"), [(0, 60), (60, 60), (61, 121), (600, 660), (840, 900), (900, 900)]
)
def test_the_present_of_a_rare_sender_may_be_as_late_as_its_period_plus_a_minute(period_s, limit_s):
    zone = msgspec.structs.replace(
        IN_TIME_ZONE, period_ms=period_s * S, newest_ms=NOW - HOUR, timestamp_ms=NOW - HOUR
    )
    assert is_present(zone, new(NOW - limit_s * S))
    assert not is_present(zone, new(NOW - limit_s * S - 1))


@pytest.mark.parametrize(
    ("age_ms", "present"),
    [(0, True), (59_999, True), (60_000, True), (60_001, False), (2**53, False)],
)
@pytest.mark.parametrize("period_ms", [0, 600 * S])
def test_a_reading_whose_age_is_over_a_minute_is_never_the_present(age_ms, present, period_ms):
    zone = msgspec.structs.replace(NEW_ZONE, period_ms=period_ms)
    assert is_present(zone, new(age_ms=age_ms)) is present


def test_the_age_limit_of_the_present_is_the_setting_if_that_is_below_a_minute():
    assert is_present(NEW_ZONE, new(age_ms=10 * S), present_s=10)
    assert not is_present(NEW_ZONE, new(age_ms=10 * S + 1), present_s=10)


def test_a_reading_that_is_older_than_the_newest_by_its_age_is_not_the_present():
    assert is_present(IN_TIME_ZONE, new(age_ms=2 * S))
    assert not is_present(IN_TIME_ZONE, new(age_ms=2 * S + 1))


@pytest.mark.parametrize("timestamp", [None, 0, 5000, NOW + 5 * MIN + 1])
def test_a_reading_without_a_date_is_the_present(timestamp):
    zone = msgspec.structs.replace(IN_TIME_ZONE, newest_ms=NOW)
    assert judged(zone, new(timestamp)) == judged(NEW_ZONE, new(timestamp))
    assert is_present(zone, new(timestamp))


def test_rows_beside_an_undated_newest_row_use_the_known_offset_of_the_device_s_clock():
    zone = msgspec.structs.replace(IN_TIME_ZONE, clock=SHIFTED, clock_offset_ms=5 * HOUR)
    assert judged(zone, new()).timing == Timing(5 * HOUR)
    assert judged(zone, new(age_ms=0)).timing == Timing(5 * HOUR)


@pytest.mark.parametrize("ahead_ms", [1, 4 * MIN, 100 * 24 * HOUR])
def test_a_newest_date_in_the_future_does_not_shut_out_current_readings(ahead_ms):
    zone = msgspec.structs.replace(IN_TIME_ZONE, newest_ms=NOW + ahead_ms)
    assert newest_ms(zone, NOW) == 0
    assert is_present(zone, new(NOW - S))


@pytest.mark.parametrize(
    ("row", "present"),
    [
        (new(NOW - 5 * HOUR - 60 * S), True),
        (new(NOW - 5 * HOUR - 60 * S - 1), False),
        (new(age_ms=60 * S), True),
        (new(age_ms=60 * S + 1), False),
        (new(5000), True),
    ],
)
def test_an_older_row_of_a_post_is_marked_when_it_is_too_old_for_the_present(row, present):
    read = beside(row, Timing(5 * HOUR), NEW_ZONE, NOW, 60 * S)
    assert read == Timing(5 * HOUR, present=present)


def test_if_the_newest_row_of_a_post_is_not_the_present_no_other_row_is():
    late = Timing(0, present=False)
    assert beside(new(NOW), late, NEW_ZONE, NOW, 60 * S) == late


# Records of the previous version have no field from `received_ms` to `trust_reason`.


def earlier(date_ms, received_ms):
    return msgspec.structs.replace(
        NEW_ZONE, timestamp_ms=date_ms, last_seen_ms=received_ms, temp_tenths=150, sensor_ok=True
    )


def test_after_an_upgrade_the_first_post_with_the_right_time_is_the_present():
    verdict = judged(earlier(NOW - MIN, NOW - MIN), new(NOW))
    assert (verdict.timing, verdict.clock) == (Timing(), DeviceClock(received_ms=NOW))


@pytest.mark.parametrize("timestamp", [None, 5000])
def test_after_an_upgrade_a_post_without_a_date_is_the_present(timestamp):
    assert is_present(earlier(NOW - MIN, NOW - MIN), new(timestamp))


def test_after_an_upgrade_a_reading_older_than_the_last_one_is_not_the_present():
    assert not is_present(earlier(NOW - 10 * S, NOW - 10 * S), new(NOW - 10 * S - 1))


def test_after_an_upgrade_a_device_s_queue_continues_as_a_queue():
    zone = earlier(NOW - 10 * MIN, NOW - 10 * MIN)
    verdict = judged(zone, new(NOW - 10 * MIN + 2 * S), silent_ms=10 * MIN)
    assert verdict.timing == Timing(present=False)
    assert verdict.clock is not None
    assert verdict.clock.state == "backlog"


def test_after_an_upgrade_a_device_in_local_time_is_not_taken_for_a_queue():
    zone = earlier(NOW - 5 * HOUR - 10 * MIN, NOW - 10 * MIN)
    verdict = judged(zone, new(NOW - 5 * HOUR), silent_ms=10 * MIN)
    assert verdict.timing == Timing(5 * HOUR, unknown=True, present=False)


def test_after_an_upgrade_the_first_post_fills_all_new_fields_of_the_record():
    before = earlier(NOW - MIN, NOW - MIN)
    row = PostedRow(0, new(NOW - S, temp=300))
    moment = Moment(NOW, 1e9, NOW, "boot")
    share = Share("lab", (row,), row.new, last=True)
    zone = plan(share, before, Setpoints(), {}, moment, Rules(60 * S, 300)).zone
    assert zone is not None
    assert (zone.timestamp_ms, newest_ms(zone, NOW), zone.received_ms) == (NOW - S, NOW - S, NOW)
    assert (zone.temp_tenths, zone.sensor_ok, zone.cool) == (300, True, True)
    assert (zone.clock, zone.clock_offset_ms, zone.clock_posts) == (IN_TIME, None, 0)
    assert (zone.trust_state, zone.trust_since_ms, zone.period_ms) == ("ok", NOW, 0)
