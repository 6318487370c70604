"""A chart has a point for each bucket, and no more buckets than it asked for."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.services.history.columns import COOL, HEAT, PRESENT, SENSOR_OK, Samples
from server.services.history.series import point_of, points, step_for
from server.services.history.summaries import EMPTY, Summary, summarise
from server.services.ports.readings import Point

HOUR = 3_600_000
WEEK = 7 * 24 * HOUR
START = 1_764_460_800_000


def in_buckets(samples, start_ms, step_ms, count):
    """The points as the summary of each bucket gives them."""
    starts = range(start_ms, start_ms + step_ms * count, step_ms)
    return [point_of(t, step_ms, summarise(samples, t, t + step_ms)) for t in starts]


def test_each_bucket_has_the_figures_of_its_own_time():
    rows = range(0, 3600)
    samples = Samples(
        [START + 2000 * row for row in rows],
        [row % 37 for row in rows],
        [PRESENT + SENSOR_OK + COOL * (row // 100 % 2) for row in rows],
    )
    found = points(samples, START + HOUR, 70_000, 40)
    assert found == in_buckets(samples, START + HOUR, 70_000, 40)
    assert sum(one.count for one in found) == 40 * 35


# A usual gap, none, the longest that a reading always holds, and silences.
gaps = st.sampled_from([0, 2000, 2000, 2000, 60_000, 60_001, 20 * 60_000, HOUR, HOUR + 1])
flags = st.sampled_from([12, 12, 12, 13, 13, 14, 15, 8, 9])
temps = st.integers(-9, 9) | st.integers(-9, 9) | st.none()


@given(
    st.lists(st.tuples(gaps, temps, flags), max_size=60),
    st.integers(-HOUR, 5 * HOUR),
    st.sampled_from([1, 1999, 7000, 61_000, 20 * 60_000, HOUR]),
    st.integers(1, 60),
)
@settings(max_examples=200)
def test_points_equal_the_figures_of_their_buckets_for_any_readings(rows, start, step, count):
    times = list(accumulate(gap for gap, _, _ in rows))
    samples = Samples(times, [row[1] for row in rows], [row[2] for row in rows])
    assert points(samples, start, step, count) == in_buckets(samples, start, step, count)


@pytest.mark.parametrize("relay", [COOL, HEAT])
def test_a_relay_that_goes_on_between_two_buckets_starts_in_the_second(relay):
    on = [PRESENT + SENSOR_OK + relay * (row >= 30) for row in range(60)]
    samples = Samples([START + 2000 * row for row in range(60)], [200] * 60, on)
    found = points(samples, START, 60_000, 2)
    assert [one.starts for one in found] == [0, 1]
    assert [(one.cool if relay == COOL else one.heat) for one in found] == [0.0, 1.0]


def test_a_point_has_the_figures_of_its_bucket():
    summary = Summary(
        count=9,
        good=7,
        total=1400,
        minimum=190,
        minimum_ms=START,
        maximum=230,
        maximum_ms=START,
        covered_ms=3000,
        weighted=200 * 1000 + 201 * 2000,
        known_ms=5000,
        cool_ms=1000,
        heat_ms=2000,
        cool_starts=1,
        heat_starts=2,
    )
    assert point_of(START, 6000, summary) == Point(
        t=START,
        count=9,
        min=190,
        mean=200.67,
        max=230,
        cool=0.1667,
        heat=0.3333,
        faults=2,
        starts=3,
    )


def test_a_bucket_about_which_nothing_is_known_has_no_figures():
    assert point_of(START, 6000, EMPTY) == Point(START, 0, None, None, None, None, None, 0, 0)


def test_a_bucket_in_which_only_an_earlier_reading_holds_has_no_temperatures_but_shares():
    point = point_of(START, 6000, Summary(covered_ms=6000, weighted=1, known_ms=6000, heat_ms=6000))
    assert (point.min, point.mean, point.max) == (None, None, None)
    assert (point.cool, point.heat) == (0.0, 1.0)


def test_a_good_reading_that_held_for_no_time_has_its_temperature_as_the_mean():
    summary = Summary(count=2, good=1, total=205, minimum=205, maximum=205, known_ms=5)
    assert point_of(START, 6000, summary).mean == 205.0


@given(st.integers(0, 3 * WEEK), st.integers(1, 2000))
@settings(max_examples=100)
def test_a_step_is_the_least_that_makes_no_more_points_than_asked_for(span, points):
    step = step_for(START, START + span, points)
    unit = HOUR if span > WEEK else 1
    assert step >= unit
    assert step % unit == 0
    assert step * points >= span
    assert step == unit or (step - unit) * points < span


@pytest.mark.parametrize(
    ("span", "points", "step"),
    [
        (0, 5, 1),
        (1, 2000, 1),
        (10, 3, 4),
        (WEEK, 2000, 302_400),
        (WEEK + 1, 2000, HOUR),
        (WEEK + 1, 100, 2 * HOUR),
    ],
)
def test_a_step_is_in_whole_hours_for_more_than_a_week(span, points, step):
    assert step_for(START, START + span, points) == step
