"""Finds the moments at which a cooler switched in a stored history of readings."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

MIN_TIME_MS = 10_000


def switches(readings: Iterable[tuple[int, bool]]) -> list[int]:
    """The times at which the cooler switched, from (time, running) in any order; it starts off.

    Readings of the same millisecond that differ count as one switch. If there were two, the next
    reading has the other state and counts as the second.
    """
    times, running = [], False
    for at, group in groupby(sorted(readings), itemgetter(0)):
        if {state for _, state in group} != {running}:
            times.append(at)
            running = not running
    return times
