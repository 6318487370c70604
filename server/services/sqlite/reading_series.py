"""Charts of one device: from the sums of whole hours where they hold, else from the readings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from server.services.history.columns import Samples
from server.services.history.series import point_of, points
from server.services.history.summaries import CONTEXT_MS, EMPTY, Summary, add, summarise
from server.services.ports.readings import Point
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_sums import of_old
from server.services.sqlite.reading_tables import HOUR_MS, HOUR_SLOTS

# Readings are read for at most so many hours at a time.
HOURS_AT_ONCE = 24
# A late reading changes what the device's readings say of its hour and of those that follow.
HOURS_CHANGED = 3


class _Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The sums of some hours; when the extremes were measured is not known."""

    number: int
    count: int
    good: int
    total: int
    covered_ms: int
    weighted: int
    known_ms: int
    cool_ms: int
    heat_ms: int
    cool_starts: int
    heat_starts: int
    minimum: int | None
    maximum: int | None

    def summary(self) -> Summary:
        """The sums as a summary."""
        figures = msgspec.structs.asdict(self)
        del figures["number"]
        return Summary(**figures, minimum_ms=0, maximum_ms=0)


# A long history has thousands of hours, and each row of a result costs a wait for Python's lock.
_SUMS = " || ',' || ".join(f"sum({name})" for name in _Bucket.__struct_fields__[1:-2])
_HOURS = f"""SELECT '[' || ifnull(group_concat(sums), '') || ']' FROM (
    SELECT '[' || ((hour - ?1) / ?4) || ',' || {_SUMS} || ',' || ifnull(min(minimum), 'null') || ','
    || ifnull(max(maximum), 'null') || ']' AS sums
    FROM reading_hours WHERE series = ?3 AND hour >= ?1 AND hour < ?2
    AND hour NOT IN (SELECT value FROM json_each(?5)) GROUP BY (hour - ?1) / ?4)"""  # noqa: S608
_LATE_HOURS = """SELECT DISTINCT slot / 360 FROM late_readings
    WHERE series = ? AND slot >= ? AND slot < ?"""
# Hours of silence into which the last reading before them may hold. Blocks are of two hours: one
# without readings has no block, and its hours no sums.
_SILENT = """SELECT hour + 1 FROM reading_hours h WHERE series = ?1 AND hour >= ?2 AND hour < ?3
    AND hour % 2 != 0 AND NOT EXISTS
    (SELECT 1 FROM reading_hours WHERE series = ?1 AND hour = h.hour + 1)"""

_buckets = msgspec.json.Decoder(list[_Bucket])


def chart(snapshot: ReadingSnapshot, start_ms: int, step_ms: int, count: int) -> list[Point]:
    """The points of one device; see `ReadingHistory.points`."""
    end_ms = start_ms + count * step_ms
    if start_ms % HOUR_MS or step_ms % HOUR_MS:
        some = snapshot.samples(start_ms - CONTEXT_MS, end_ms - 1)
        return points(some[0] if some else Samples([], [], []), start_ms, step_ms, count)
    found: dict[int, Summary] = {}
    for series in snapshot.series:
        hours = range(start_ms // HOUR_MS, end_ms // HOUR_MS)
        tables = snapshot.part((series,), old=False)
        found = _of_hours(tables, series, hours, step_ms // HOUR_MS)
    starts = range(start_ms, end_ms, step_ms)
    if snapshot.has_old:
        for bucket, start in enumerate(starts):
            old = of_old(snapshot, start, start + step_ms)
            found[bucket] = add(found.get(bucket, EMPTY), old)
    return [point_of(t, step_ms, found.get(bucket, EMPTY)) for bucket, t in enumerate(starts)]


def changed_hours(snapshot: ReadingSnapshot, series: int, hours: range) -> list[int]:
    """The sealed hours whose sums do not hold: readings came late, or hold into a silence."""
    first, end = hours.start, hours.stop
    execute = snapshot.connection.execute
    slots = series, (first - HOURS_CHANGED) * HOUR_SLOTS, end * HOUR_SLOTS
    late = execute(_LATE_HOURS, slots).fetchall()
    changed = {hour + after for (hour,) in late for after in range(HOURS_CHANGED)}
    changed.update(hour for (hour,) in execute(_SILENT, (series, first - 1, end - 1)))
    return sorted(hour for hour in changed if hour in hours)


def hours_with_readings(snapshot: ReadingSnapshot, hours: range) -> Iterator[int]:
    """The hours in which a reading may be or hold, without the long silences between them."""
    hour = hours.start
    while hour < hours.stop:
        oldest = snapshot.oldest_ms(hour * HOUR_MS - CONTEXT_MS)
        if oldest is None:
            return
        hour = max(hour, oldest // HOUR_MS)
        yield from range(hour, min(hours.stop, hour + HOURS_CHANGED))
        hour += HOURS_CHANGED


def summaries_of(snapshot: ReadingSnapshot, hours: Iterable[int]) -> Iterator[tuple[int, Summary]]:
    """The summary of each of these hours, which ascend, from the readings of one device."""
    for some in _runs(hours):
        start, end = some[0] * HOUR_MS, (some[-1] + 1) * HOUR_MS
        for samples in snapshot.samples(start - CONTEXT_MS, end - 1):
            for hour in some:
                yield hour, summarise(samples, hour * HOUR_MS, (hour + 1) * HOUR_MS)


def _of_hours(
    snapshot: ReadingSnapshot, series: int, hours: range, step: int
) -> dict[int, Summary]:
    """The summary of each bucket of `step` hours by its number; a silent one may have none."""
    first = hours.start
    sealed = range(first, min(hours.stop, max(first, snapshot.summed // HOUR_SLOTS)))
    changed = changed_hours(snapshot, series, sealed)
    without = msgspec.json.encode(changed).decode()
    parameters = first, sealed.stop, series, step, without
    (text,) = snapshot.connection.execute(_HOURS, parameters).fetchone()
    found = {one.number: one.summary() for one in _buckets.decode(text)}
    others = *changed, *hours_with_readings(snapshot, range(sealed.stop, hours.stop))
    for hour, summary in summaries_of(snapshot, others):
        bucket = (hour - first) // step
        found[bucket] = add(found.get(bucket, EMPTY), summary)
    return found


def _runs(hours: Iterable[int]) -> Iterator[list[int]]:
    """Hours that follow each other, together."""
    run: list[int] = []
    for hour in hours:
        if run and (hour != run[-1] + 1 or len(run) == HOURS_AT_ONCE):
            yield run
            run = []
        run.append(hour)
    if run:
        yield run
