"""Finds when a zone's setpoint or deadband changed, by looking at some of its readings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from server.services.ports.readings import ChangedSetpoint, Reading, ReadingHistory, Span

# A span is looked at so many times at first: three times a day in 90 days.
FIRST_LOOKS = 240
# Each change takes some more looks to find its moment; after so many, the others are less exact.
LOOKS_MAX = 800
EXACT_MS = 1000
# So many looks wait for the store at the same time.
AT_ONCE = 16

T = TypeVar("T")

NewestAt = Callable[[int], Awaitable[Reading | None]]


def newest_of(history: ReadingHistory, tenant_id: str, device_id: str) -> NewestAt:
    """The look at one zone: its newest reading until a time."""

    async def newest_at(time_ms: int) -> Reading | None:
        page = await history.page(tenant_id, device_id, 1, Span(None, time_ms))
        return page.readings[0] if page.readings else None

    return newest_at


async def setpoint_changes(
    newest_at: NewestAt, start_ms: int, end_ms: int
) -> list[ChangedSetpoint]:
    """The values in force at `start_ms`, and each change until `end_ms`, oldest first.

    `newest_at` returns the zone's newest reading until a time. A value that was in force for less
    than a 240th of the span may be missing.
    """
    step = max(1, -(-(end_ms - start_ms) // FIRST_LOOKS))
    times = [start_ms, *range(start_ms + step, end_ms, step), end_ms]
    looks = await _several(newest_at, [(time,) for time in times])
    last = looks[0]
    found = [] if last is None else [last]
    changed: list[tuple[Reading | None, Reading, int]] = []
    for looked_ms, reading in zip(times, looks[1:], strict=False):
        if reading is not None and (last is None or _values(reading) != _values(last)):
            changed.append((last, reading, looked_ms))
        last = reading or last
    found += await _several(_Search(newest_at).first, changed)
    changes = []
    for one in found:
        setpoint, deadband = _values(one)
        changes.append(ChangedSetpoint(max(start_ms, one.timestamp_ms), setpoint, deadband))
    return changes


async def _several(
    call: Callable[..., Awaitable[T]], arguments: Sequence[tuple[Any, ...]]
) -> list[T]:
    """The results of calls with these arguments, of which some wait at the same time."""
    results: list[T] = []
    for first in range(0, len(arguments), AT_ONCE):
        some = arguments[first : first + AT_ONCE]
        results += await asyncio.gather(*(call(*one) for one in some))
    return results


class _Search:
    """Looks for the first reading with other values than before, within a number of looks."""

    def __init__(self, newest_at: NewestAt) -> None:
        self._newest_at = newest_at
        self._looks = LOOKS_MAX

    async def first(self, before: Reading | None, after: Reading, low: int) -> Reading:
        """The first reading with the values of `after`, which is later than `before` and `low`.

        Without `before`, the first reading.
        """
        while after.timestamp_ms - low > EXACT_MS and self._looks > 0:
            self._looks -= 1
            middle = (low + after.timestamp_ms) // 2
            reading = await self._newest_at(middle)
            if reading is None or (before is not None and _values(reading) == _values(before)):
                low = middle
            else:
                after = reading
        return after


def _values(reading: Reading) -> tuple[int, int]:
    return reading.setpoint_tenths, reading.deadband_tenths
