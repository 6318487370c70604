"""Divides a span of time into buckets of equal length, as a chart draws them; pure."""

from __future__ import annotations

from bisect import bisect_left
from itertools import compress, repeat
from operator import gt, is_, mul, sub
from typing import cast

from server.services.history.columns import COOL, HEAT, SENSOR_OK, Samples
from server.services.history.summaries import HOLD_MIN_MS, Summary, summarise
from server.services.ports.readings import Point

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
# Longer spans are drawn from the summaries of whole hours.
FINE_MAX_MS = 7 * DAY_MS
# Makes of the flags of readings whether the sensor failed.
_IS_FAULT = bytes(not flags & SENSOR_OK for flags in range(256))


def point_of(t: int, step_ms: int, summary: Summary) -> Point:
    """The point for the bucket of `step_ms` from `t` on."""
    known = summary.known_ms > 0
    return Point(
        t=t,
        count=summary.count,
        min=summary.minimum,
        mean=_mean(summary),
        max=summary.maximum,
        cool=round(summary.cool_ms / step_ms, 4) if known else None,
        heat=round(summary.heat_ms / step_ms, 4) if known else None,
        faults=summary.faults,
        starts=summary.cool_starts + summary.heat_starts,
    )


def points(samples: Samples, start_ms: int, step_ms: int, count: int) -> list[Point]:
    """The points of `count` buckets from `start_ms` on; for `samples` see `summarise`.

    Nearly all buckets of a device that reports often are plain: each of their readings is good and
    holds until the next one. Their points need no summary.
    """
    times, flags = samples.times, bytes(samples.flags)
    # In plain buckets there is no None.
    temps = cast("list[int]", samples.temps)
    gaps = list(map(sub, times[1:], times))
    others = _not_plain(samples, flags, gaps)
    cool, heat = (_Relay(flags, bit, times, gaps) for bit in (COOL, HEAT))
    found = []
    end, other = bisect_left(times, start_ms), 0
    for start in range(start_ms, start_ms + count * step_ms, step_ms):
        stop = start + step_ms
        first = end
        end = bisect_left(times, stop, first)
        since = first - 1
        while others[other] < since:
            other += 1
        if since < 0 or others[other] < end:
            found.append(point_of(start, step_ms, summarise(samples, start, stop)))
            continue
        cool_share, cool_starts = cool.of(first, end, start, stop)
        heat_share, heat_starts = heat.of(first, end, start, stop)
        low = high = mean = None
        if first < end:
            last = end - 1
            inside = temps[first:end]
            # Most of them are the same few: this takes two thirds of the time of two passes.
            distinct = set(inside)
            low, high = min(distinct), max(distinct)
            weighted = sum(map(mul, inside, gaps[first:last]))
            weighted += temps[since] * (times[first] - start)
            weighted += temps[last] * (stop - times[last])
            mean = round(weighted / step_ms, 2)
        found.append(
            # In the order of the fields; their names would take a sixth of the time of all this.
            Point(
                start,
                end - first,
                low,
                mean,
                high,
                cool_share,
                heat_share,
                0,
                cool_starts + heat_starts,
            )
        )
    return found


class _Relay:
    """A relay at readings of which each holds until the next one."""

    def __init__(self, flags: bytes, bit: int, times: list[int], gaps: list[int]) -> None:
        self._on = flags.translate(bytes(value & bit > 0 for value in range(256)))
        # What `of` returns if it was always off, or always on.
        self._always = None if 0 in self._on and 1 in self._on else (float(1 in self._on), 0)
        self._times, self._gaps = times, gaps

    def of(self, first: int, end: int, start_ms: int, end_ms: int) -> tuple[float, int]:
        """The share of the time of a bucket, and how often it went on there.

        The bucket has the readings from `first` to before `end`.
        """
        if self._always is not None:
            return self._always
        on = self._on[first - 1 : end]
        if 0 not in on or 1 not in on:
            return float(on[0]), 0
        times, last = self._times, end - 1
        on_ms = sum(compress(self._gaps[first:last], on[1:]))
        on_ms += on[0] * (times[first] - start_ms) + on[-1] * (end_ms - times[last])
        return round(on_ms / (end_ms - start_ms), 4), on.count(b"\0\1")


def _not_plain(samples: Samples, flags: bytes, gaps: list[int]) -> list[int]:
    """The readings that are not good or do not hold until the next one; the last is behind all."""
    times, temps, _ = samples
    rows = range(len(times))
    found = set(rows[-1:])
    if max(gaps, default=0) > HOLD_MIN_MS:
        found.update(compress(rows, map(gt, gaps, repeat(HOLD_MIN_MS))))
    if None in temps:
        found.update(compress(rows, map(is_, temps, repeat(None))))
    faults = flags.translate(_IS_FAULT)
    if 1 in faults:
        found.update(compress(rows, faults))
    return [*sorted(found), len(times) + 1]


def step_for(start_ms: int, end_ms: int, points: int) -> int:
    """The least step in ms that divides a span into at most `points` buckets.

    For more than a week it is a whole number of hours.
    """
    span = end_ms - start_ms
    unit = HOUR_MS if span > FINE_MAX_MS else 1
    return max(1, -(-span // (points * unit))) * unit


def _mean(summary: Summary) -> float | None:
    """The mean over the time that good readings held."""
    if not summary.good:
        return None
    if not summary.covered_ms:
        # Several readings of the same time hold no time.
        return round(summary.total / summary.good, 2)
    return round(summary.weighted / summary.covered_ms, 2)
