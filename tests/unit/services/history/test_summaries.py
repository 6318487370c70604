"""A summary says how much of a span is known, what was measured in it and what the relays did."""

from __future__ import annotations

from itertools import accumulate, chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.services.history.columns import COOL, HEAT, PRESENT, SENSOR_OK, Samples
from server.services.history.summaries import (
    CONTEXT_MS,
    EMPTY,
    LOOKBACK_MS,
    Summary,
    add,
    summarise,
)

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
OK = SENSOR_OK + PRESENT

# A usual gap, none, some in which a device is known for a part of the time, and silences.
gaps = (
    st.sampled_from([0, 2000, MINUTE, MINUTE + 1, 20 * MINUTE, 30 * MINUTE, HOUR, HOUR + 1])
    | st.integers(0, 3 * MINUTE)
    | st.integers(0, 2 * HOUR)
)
flags = st.sampled_from([OK, OK + COOL, OK + HEAT, PRESENT, PRESENT + COOL])


@st.composite
def any_samples(draw) -> Samples:
    rows = draw(st.lists(st.tuples(gaps, st.none() | st.integers(-9, 9), flags), max_size=30))
    times = list(accumulate((gap for gap, _, _ in rows), initial=0))[1:]
    return Samples(times, [temp for _, temp, _ in rows], [flag for _, _, flag in rows])


def every(gap_ms: int, *temps: int | None, start: int = 0, flag: int = OK) -> Samples:
    """Readings at equal distances."""
    times = [start + gap_ms * row for row in range(len(temps))]
    return Samples(times, list(temps), [flag] * len(temps))


def joined(*parts: Samples) -> Samples:
    return Samples(*(list(chain.from_iterable(columns)) for columns in zip(*parts, strict=True)))


def at(*rows: tuple[int, int]) -> Samples:
    """Readings of 20 °C with these times and flags."""
    return Samples([time for time, _ in rows], [200] * len(rows), [flag for _, flag in rows])


def row_by_row(samples: Samples, start_ms: int, end_ms: int) -> Summary:
    """The rules of a summary for one reading after the other."""
    found, last_time, last_flag = EMPTY, None, 0
    rows = list(zip(*samples, strict=True))
    for place, (time, temp, flag) in enumerate(rows):
        gap = None if last_time is None or time - last_time > HOUR else time - last_time
        hold = MINUTE if gap is None else min(max(3 * gap, MINUTE), 30 * MINUTE)
        until = rows[place + 1][0] if place + 1 < len(rows) else time + hold
        held = max(0, min(until, time + hold, end_ms) - max(time, start_ms))
        inside, good = start_ms <= time < end_ms, bool(flag & SENSOR_OK) and temp is not None
        before = 0 if gap is None else last_flag
        found = add(
            found,
            Summary(
                count=int(inside),
                good=int(inside and good),
                total=temp if inside and good else 0,
                minimum=temp if inside and good else None,
                minimum_ms=time if inside and good else None,
                maximum=temp if inside and good else None,
                maximum_ms=time if inside and good else None,
                covered_ms=held if good else 0,
                weighted=held * temp if good else 0,
                known_ms=held,
                cool_ms=held if flag & COOL else 0,
                heat_ms=held if flag & HEAT else 0,
                cool_starts=int(inside and bool(flag & COOL & ~before)),
                heat_starts=int(inside and bool(flag & HEAT & ~before)),
            ),
        )
        last_time, last_flag = time, flag
    return found


@given(any_samples(), st.integers(0, 6 * HOUR), st.integers(0, 6 * HOUR))
@settings(max_examples=150)
def test_a_summary_follows_the_rules_for_each_reading(samples, start_ms, length_ms):
    end_ms = start_ms + length_ms
    assert summarise(samples, start_ms, end_ms) == row_by_row(samples, start_ms, end_ms)


@given(any_samples(), st.lists(st.integers(-HOUR, 12 * HOUR), min_size=3, max_size=3).map(sorted))
@settings(max_examples=100)
def test_the_summaries_of_adjacent_spans_add_up_to_that_of_both(samples, bounds):
    start_ms, middle_ms, end_ms = bounds
    parts = summarise(samples, start_ms, middle_ms), summarise(samples, middle_ms, end_ms)
    whole = summarise(samples, start_ms, end_ms)
    assert add(*parts) == add(*reversed(parts)) == whole
    assert add(whole, EMPTY) == add(EMPTY, whole) == whole


@given(any_samples(), st.integers(0, 9 * HOUR))
@example(every(50 * MINUTE, 200, 200, 200), 115 * MINUTE)
@settings(max_examples=100)
def test_readings_before_the_context_and_after_the_end_change_nothing(samples, start_ms):
    end_ms = start_ms + HOUR
    rows = [row for row in zip(*samples, strict=True) if start_ms - CONTEXT_MS <= row[0] < end_ms]
    part = Samples(*map(list, zip(*rows, strict=True))) if rows else Samples([], [], [])
    assert summarise(part, start_ms, end_ms) == summarise(samples, start_ms, end_ms)


def test_a_mean_over_time_does_not_favour_the_time_with_more_readings():
    day = joined(every(10 * MINUTE, *[150] * 132), every(2 * SECOND, *[300] * 900, start=22 * HOUR))
    found = summarise(day, 0, 22 * HOUR + 30 * MINUTE)
    # The first reading of all holds for a minute; nothing says that the next comes in ten.
    assert found.covered_ms == 22 * HOUR + 30 * MINUTE - 9 * MINUTE
    assert found.weighted / found.covered_ms == pytest.approx(153.36, abs=0.01)
    assert found.total / found.good == pytest.approx(280.81, abs=0.01)


def test_a_summary_without_readings_is_empty():
    assert summarise(Samples([], [], []), 0, HOUR) == EMPTY
    assert summarise(every(SECOND, 200), 5 * HOUR, 6 * HOUR) == EMPTY
    assert summarise(every(SECOND, 200, 210), HOUR, 0) == EMPTY


def test_a_reading_at_the_start_is_in_the_span_and_one_at_the_end_is_not():
    assert summarise(every(SECOND, 200, 210, 220), SECOND, 2 * SECOND).total == 210


def test_extremes_have_the_first_time_at_which_they_were_measured():
    found = summarise(every(SECOND, 210, 200, 230, 200, 230), 0, HOUR)
    assert (found.minimum, found.minimum_ms) == (200, 1 * SECOND)
    assert (found.maximum, found.maximum_ms) == (230, 2 * SECOND)


def test_a_fault_counts_and_is_known_but_has_no_temperature():
    failed = every(SECOND, None, 850, start=SECOND, flag=PRESENT)
    found = summarise(joined(every(SECOND, 200), failed), 0, 3 * SECOND)
    assert (found.count, found.good, found.faults) == (3, 1, 2)
    assert (found.known_ms, found.covered_ms, found.maximum) == (3 * SECOND, SECOND, 200)


def test_a_device_that_reports_every_ten_minutes_is_known_all_the_time():
    samples = every(10 * MINUTE, *[200] * 18)
    assert summarise(samples, HOUR, 2 * HOUR).known_ms == HOUR


@pytest.mark.parametrize(
    ("gap_ms", "held_ms"),
    [(2 * SECOND, MINUTE), (0, MINUTE), (5 * MINUTE, 15 * MINUTE), (20 * MINUTE, 30 * MINUTE)],
)
def test_the_last_reading_before_a_silence_holds_for_three_gaps_within_bounds(gap_ms, held_ms):
    samples = every(gap_ms, 200, 200, 200)
    assert summarise(samples, 2 * gap_ms, 9 * HOUR).known_ms == held_ms


def test_a_reading_after_a_long_silence_holds_for_a_minute():
    samples = every(LOOKBACK_MS + 1, 200, 200)
    assert summarise(samples, LOOKBACK_MS + 1, 9 * HOUR).known_ms == MINUTE


def test_a_reading_before_the_span_holds_into_it_and_is_not_counted():
    samples = every(10 * MINUTE, 100, 200, 300, flag=OK + HEAT)
    found = summarise(samples, 15 * MINUTE, 25 * MINUTE)
    assert (found.count, found.total, found.minimum) == (1, 300, 300)
    assert (found.heat_ms, found.heat_starts) == (10 * MINUTE, 0)
    assert found.weighted == 5 * MINUTE * 200 + 5 * MINUTE * 300


def test_a_relay_starts_when_it_was_off_or_nothing_was_known():
    first = at((0, OK + COOL), (2000, OK + COOL), (4000, OK), (6000, OK + HEAT), (8000, OK + COOL))
    found = summarise(first, 0, HOUR)
    assert (found.cool_starts, found.heat_starts) == (2, 1)
    assert (found.cool_ms, found.heat_ms) == (4 * SECOND + MINUTE, 2 * SECOND)


@pytest.mark.parametrize(("silence_ms", "starts"), [(LOOKBACK_MS, 1), (LOOKBACK_MS + 1, 2)])
@pytest.mark.parametrize("off", [[], [(1, OK), (2, OK), (3, OK + COOL)]])
def test_a_relay_that_is_on_after_a_silence_has_started_if_that_was_long(silence_ms, starts, off):
    samples = at((0, OK + COOL), *off, (3 + silence_ms, OK + COOL))
    samples.times[0] = 3 if not off else 0
    assert summarise(samples, 0, 9 * HOUR).cool_starts == starts + bool(off)
