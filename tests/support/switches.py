"""When a stored history says that a cooler switched, where several readings may have one time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

MIN_TIME_MS = 10_000


def switches(readings: Iterable[tuple[int, bool]]) -> list[int]:
    """The times at which it switched, of (time, running) in any order; it rests at first.

    Readings of one millisecond that disagree are the moment of one switch; were there two, the
    reading after them gives the second away.
    """
    times, running = [], False
    for at, group in groupby(sorted(readings), itemgetter(0)):
        if {state for _, state in group} != {running}:
            times.append(at)
            running = not running
    return times
