"""Finds when a zone's setpoint or deadband changed, by looking at some of its readings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from server.services.ports.readings import ChangedSetpoint, Reading, ReadingHistory, Span

# A span is looked at so many times at first: three times a day in 90 days.
FIRST_LOOKS = 240
# Each change takes some more looks to find its moment; after so many, the others are less exact.
LOOKS_MAX = 800
EXACT_MS = 1000

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
    search = _Search(newest_at)
    found: list[Reading] = []
    last = await newest_at(start_ms)
    if last is not None:
        found.append(last)
    step = max(1, -(-(end_ms - start_ms) // FIRST_LOOKS))
    looked_ms = start_ms
    for time in [*range(start_ms + step, end_ms, step), end_ms]:
        reading = await newest_at(time)
        if reading is not None and (last is None or _values(reading) != _values(last)):
            found.append(await search.first(last, reading, looked_ms))
        last, looked_ms = reading or last, time
    changes = []
    for one in found:
        setpoint, deadband = _values(one)
        changes.append(ChangedSetpoint(max(start_ms, one.timestamp_ms), setpoint, deadband))
    return changes


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
