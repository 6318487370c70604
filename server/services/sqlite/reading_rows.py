"""ReadingRows: reads some devices' rows of the tables of new and of late readings."""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from operator import gt

import msgspec

from server.services.history.columns import Columns, Samples
from server.services.sqlite.reading_tables import (
    COLUMNS,
    SAMPLES,
    SERIES,
    SLOT_MS,
    Lists,
    columns_of,
    integers,
    samples_of,
)

# The last reading before a span, and the one before that, which says how long the last one holds.
SAMPLES_BEFORE = 2
# Those two are looked for in so many slots first: few devices report less often.
NEAR_SLOTS = 6

# Slots that exist, one after the other: the key of `readings` begins with the slot, and this finds
# the rows of one device without reading those of all others.
_SLOTS = """WITH RECURSIVE slots (slot) AS (
    SELECT min(slot) FROM readings WHERE slot >= ?1 UNION ALL
    SELECT (SELECT min(slot) FROM readings WHERE slot > slots.slot)
    FROM slots WHERE slot <= ?2)
"""
_OF_EACH = """json_each(?3) s CROSS JOIN slots
    CROSS JOIN readings r ON r.slot = slots.slot AND r.series = s.value WHERE slots.slot <= ?2"""
_SERIES = "SELECT value FROM json_each(?3)"
_OF_MANY = f"readings r WHERE slot BETWEEN ?1 AND ?2 AND series IN ({_SERIES})"
_LATE = f"late_readings r WHERE slot BETWEEN ?1 AND ?2 AND series IN ({_SERIES})"

RowFields = tuple[str, Callable[[Sequence[str | None]], Lists]]
"""The SQL of what is read of each row, and what makes lists of its result."""

ALL: RowFields = (COLUMNS, columns_of)
SOME: RowFields = (SAMPLES, samples_of)


class ReadingRows:
    """The rows of the devices `series`; those of slots before `sealed` are in blocks."""

    def __init__(
        self, connection: sqlite3.Connection, series: Collection[int], sealed: int
    ) -> None:
        self._connection = connection
        self._series = series
        self._sealed = sealed
        self.ids = msgspec.json.encode(sorted(series)).decode()

    def new(self, fields: RowFields, first: int, last: int) -> Iterator[tuple[int, Lists]]:
        """The lists of each device's new rows in the slots first <= slot <= last."""
        if len(self._series) == 1:
            yield from self._of_slots(fields, first, last)
        elif self._series and max(first, self._sealed) <= last:
            yield from self._of_many(_OF_MANY, fields, max(first, self._sealed), last)

    def late(self, fields: RowFields, first: int, last: int) -> Iterator[tuple[int, Lists]]:
        """The lists of each device's late rows in the slots first <= slot <= last."""
        if self._series:
            yield from self._of_many(_LATE, fields, first, last)

    def samples(
        self, start_ms: int, end_ms: int, before_ms: int
    ) -> tuple[list[tuple[int, Samples]], bool]:
        """What sums need of each device's new rows with start <= time <= end, and of some before.

        There may be rows of the same slots beyond both ends. Of `before_ms` before the start there
        are at least the newest two: if these are close before it, the others are not read. Also
        returns whether each device has two, so that readings in blocks need not be read.
        """
        first, last = (start_ms - before_ms) // SLOT_MS, end_ms // SLOT_MS
        near = max(first, start_ms // SLOT_MS - NEAR_SLOTS)
        found, others = [], set(self._series)
        for series, lists in self._of_slots(SOME, near, last):
            found.append((series, Samples(*lists)))
            if bisect_left(lists[0], start_ms) >= SAMPLES_BEFORE:
                others.remove(series)
        if others and self._sealed < near > first:
            far = ReadingRows(self._connection, others, self._sealed)
            older = [(one, Samples(*lists)) for one, lists in far._of_slots(SOME, first, near - 1)]
            found = older + found
        return found, before_ms > 0 and not others

    def new_columns(self, first: int, last: int) -> Columns:
        """The one device's new rows in the slots first <= slot <= last."""
        return _columns(self.new(ALL, first, last))

    def late_columns(self, first: int, last: int) -> Columns:
        """The one device's late rows in the slots first <= slot <= last."""
        return _columns(self.late(ALL, first, last))

    def _of_slots(self, fields: RowFields, first: int, last: int) -> Iterator[tuple[int, Lists]]:
        """As `new`, device by device, from slot to slot.

        That suits few devices: the rows of all others in these slots are not read.
        """
        first = max(first, self._sealed)
        if self._series and first <= last:
            yield from self._of_many(_OF_EACH, fields, first, last, _SLOTS)

    def _of_many(
        self, table: str, fields: RowFields, first: int, last: int, before: str = ""
    ) -> Iterator[tuple[int, Lists]]:
        columns, lists_of = fields
        sql = f"{before}SELECT {SERIES}, {columns} FROM {table}"
        series, *found = self._connection.execute(sql, (first, last, self.ids)).fetchone()
        if series is not None:
            yield from _by_series(series, lists_of(found))


def _columns(found: Iterator[tuple[int, Lists]]) -> Columns:
    return next((Columns(*lists) for _, lists in found), Columns())


def _by_series(series: str, lists: Lists) -> Iterator[tuple[int, Lists]]:
    """Divide the rows of several devices by their numbers, of which `series` is the array."""
    numbers = integers.decode(series)
    if any(map(gt, numbers, islice(numbers, 1, None))):
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        lists = [list(map(values.__getitem__, order)) for values in lists]
        numbers.sort()
    start = 0
    while start < len(numbers):
        end = bisect_right(numbers, numbers[start], start)
        yield numbers[start], [values[start:end] for values in lists]
        start = end
