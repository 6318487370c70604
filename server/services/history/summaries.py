"""Sums up what the readings of one device say about a span of time; pure.

A reading says how it is from its time until the next reading. After a silence it no longer does: it
holds for three times the gap before it, at least a minute and at most half an hour. So a device
that reports every ten minutes is known all the time, and one that reports every two seconds and
falls silent is unknown a minute later. Means over time are weighted by how long each reading held;
a mean over readings would favour times at which a device reports more often.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import compress
from operator import mul, sub
from typing import cast

import msgspec

from server.services.history.columns import COOL, HEAT, SENSOR_OK, Samples

# A reading that is older does not say how often a device reports, or what its relay did until now.
LOOKBACK_MS = 3_600_000
HOLD_MIN_MS, HOLD_MAX_MS = 60_000, 1_800_000
GAPS_HELD = 3
# Readings from this long before a span on are enough: the one that holds at its start came at most
# HOLD_MAX_MS before, and the gap before that one says how long it holds.
CONTEXT_MS = HOLD_MAX_MS + LOOKBACK_MS
# For each flag a table that makes of the flags of readings whether they have it.
_HAVE = {flag: bytes(flags & flag > 0 for flags in range(256)) for flag in (COOL, HEAT, SENSOR_OK)}


class Summary(msgspec.Struct, frozen=True, gc=False):
    """What the readings of one device say about the time from a start to before an end.

    Temperatures are tenths of °C. A reading is good if the sensor worked and there is a
    temperature. The figures of adjacent spans add up to those of both.
    """

    # All readings in the span, the good ones, and the sum of their temperatures.
    count: int = 0
    good: int = 0
    total: int = 0
    # The extreme temperatures, and when each was first measured.
    minimum: int | None = None
    minimum_ms: int | None = None
    maximum: int | None = None
    maximum_ms: int | None = None
    # How long a good reading held, and the sum of temperature * ms over this time.
    covered_ms: int = 0
    weighted: int = 0
    # How long any reading held, and how long with each relay on.
    known_ms: int = 0
    cool_ms: int = 0
    heat_ms: int = 0
    # Readings in the span at which each relay went on.
    cool_starts: int = 0
    heat_starts: int = 0

    @property
    def faults(self) -> int:
        """Readings without a usable temperature."""
        return self.count - self.good


EMPTY = Summary()


def add(one: Summary, other: Summary) -> Summary:
    """The summary of two spans that share no time."""
    lower, higher = one, other
    if one.minimum is None or other.minimum is None:
        lower = higher = other if one.minimum is None else one
    else:
        lower = min(one, other, key=lambda summary: (summary.minimum, summary.minimum_ms))
        higher = min(one, other, key=lambda summary: (-(summary.maximum or 0), summary.maximum_ms))
    return Summary(
        count=one.count + other.count,
        good=one.good + other.good,
        total=one.total + other.total,
        minimum=lower.minimum,
        minimum_ms=lower.minimum_ms,
        maximum=higher.maximum,
        maximum_ms=higher.maximum_ms,
        covered_ms=one.covered_ms + other.covered_ms,
        weighted=one.weighted + other.weighted,
        known_ms=one.known_ms + other.known_ms,
        cool_ms=one.cool_ms + other.cool_ms,
        heat_ms=one.heat_ms + other.heat_ms,
        cool_starts=one.cool_starts + other.cool_starts,
        heat_starts=one.heat_starts + other.heat_starts,
    )


def summarise(samples: Samples, start_ms: int, end_ms: int) -> Summary:
    """What readings say about the time from `start_ms` to before `end_ms`.

    Readings before the start only say what held at the start: those of LOOKBACK_MS are enough for
    a device that reports twice an hour, those of CONTEXT_MS for any. Readings after the end change
    nothing.
    """
    first = bisect_left(samples.times, start_ms)
    end = bisect_left(samples.times, end_ms, first)
    # The last reading before the span may hold into it; no reading before that one does.
    since = max(first - 1, 0)
    if since == end or start_ms >= end_ms:
        return EMPTY
    before = first - since
    times, flags = samples.times[since:end], bytes(samples.flags[since:end])
    silent = _after_silence(times)
    held = _held(samples.times, since, end, start_ms, end_ms)
    cool_ms, cool_starts = _relay(COOL, flags, silent, held, before)
    heat_ms, heat_starts = _relay(HEAT, flags, silent, held, before)
    temps, good_held = samples.temps[since:end], held
    working = flags.translate(_HAVE[SENSOR_OK])
    if 0 in working or None in temps:
        rows = zip(working, temps, strict=True)
        good = [works > 0 and temp is not None for works, temp in rows]
        before = before and int(good[0])
        times, temps = list(compress(times, good)), list(compress(temps, good))
        good_held = list(compress(held, good))
    numbers = cast("list[int]", temps)
    inside, inside_times = numbers[before:], times[before:]
    minimum, maximum = min(inside, default=None), max(inside, default=None)
    return Summary(
        count=end - first,
        good=len(inside),
        total=sum(inside),
        minimum=minimum,
        minimum_ms=None if minimum is None else inside_times[inside.index(minimum)],
        maximum=maximum,
        maximum_ms=None if maximum is None else inside_times[inside.index(maximum)],
        covered_ms=sum(good_held),
        weighted=sum(map(mul, numbers, good_held)),
        known_ms=sum(held),
        cool_ms=cool_ms,
        heat_ms=heat_ms,
        cool_starts=cool_starts,
        heat_starts=heat_starts,
    )


def _held(times: list[int], since: int, end: int, start_ms: int, end_ms: int) -> list[int]:
    """How many ms of the span each reading from `since` to before `end` held."""
    nexts = times[since + 1 : end + 1]
    if end == len(times):
        nexts.append(times[-1] + HOLD_MAX_MS)
    held = list(map(sub, nexts, times[since:end]))
    if max(held) > HOLD_MIN_MS:
        for row in [row for row, gap in enumerate(held) if gap > HOLD_MIN_MS]:
            held[row] = min(held[row], _hold(times, since + row))
    held[0] -= min(held[0], max(0, start_ms - times[since]))
    held[-1] = min(held[-1], end_ms - max(start_ms, times[end - 1]))
    return held


def _hold(times: list[int], row: int) -> int:
    """How long a reading holds if none follows."""
    gap = times[row] - times[row - 1] if row else 0
    if gap > LOOKBACK_MS:
        return HOLD_MIN_MS
    return min(max(GAPS_HELD * gap, HOLD_MIN_MS), HOLD_MAX_MS)


def _relay(
    relay: int, flags: bytes, silent: list[int], held: list[int], before: int
) -> tuple[int, int]:
    """How many ms a relay was on, and how often it went on in the span.

    The first reading is one before the span if `before` is 1.
    """
    on = flags.translate(_HAVE[relay])
    if 1 not in on:
        return 0, 0
    if 0 not in on:
        return sum(held), len(silent) + (not before)
    starts = on.count(b"\0\1") + sum(1 for row in silent if on[row - 1] and on[row])
    return sum(compress(held, on)), starts + (on[0] and not before)


def _after_silence(times: list[int]) -> list[int]:
    """The rows before which a relay need not have been on all the time, though it was on."""
    if times[-1] - times[0] <= LOOKBACK_MS:
        return []
    gaps = list(map(sub, times[1:], times))
    if max(gaps) <= LOOKBACK_MS:
        return []
    return [row for row, gap in enumerate(gaps, 1) if gap > LOOKBACK_MS]
