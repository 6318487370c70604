"""EstimatedTimes: times for readings that lie between dated ones of the existing server's file."""

from __future__ import annotations

from collections.abc import Sequence

from server.legacy.convert_rows import ESTIMATED, LegacyRow, is_date
from server.legacy.import_rows import LegacyRows

# Neighbours further apart say too little about what lies between them.
APART_MS = 3_600_000
# How many rows behind a page are looked at for the next date.
AHEAD = 2000


class EstimatedTimes:
    """The readings of `source`, which a caller takes page by page, from the first.

    A row whose time is missing or a number that is no date lies between the dated rows before and
    behind it. Where these are at most APART_MS apart, it gets its share of that time as ESTIMATED
    (Unix ms), as the existing server stored its rows in the order and rhythm of the posts. Rows
    that come after the first page was taken give no time: their neighbours may still change.
    """

    def __init__(self, source: LegacyRows, now_ms: int) -> None:
        self._source = source
        self._now_ms = now_ms
        self._end: int | None = None
        self._before: tuple[int, float] | None = None

    @property
    def tables(self) -> Sequence[str]:
        return self._source.tables

    def count(self, table: str) -> int:
        return self._source.count(table)

    def newest(self, table: str, limit: int) -> Sequence[LegacyRow]:
        return self._source.newest(table, limit)

    def page(self, table: str, after: int | None, limit: int) -> Sequence[LegacyRow]:
        """A page of the source with the times that can be estimated."""
        if after is None:
            self._before = None
            if self._end is None:
                self._end = max((_rowid(row) for row in self.newest(table, 1)), default=None)
        page = self._source.page(table, after, limit)
        ahead: Sequence[LegacyRow] = ()
        if page and self._is_undated(page[-1]):
            ahead = self._source.page(table, _rowid(page[-1]), AHEAD)
        found: list[LegacyRow] = []
        waiting: list[LegacyRow] = []
        for number, row in enumerate((*page, *ahead)):
            if number >= len(page) and not waiting:
                break
            dated = self._dated(row)
            if dated is None:
                if number < len(page):
                    waiting.append(row)
                continue
            found += self._between(waiting, dated)
            waiting = []
            if number >= len(page):
                break
            found.append(row)
            self._before = dated
        return found + waiting

    def _between(
        self, waiting: Sequence[LegacyRow], behind: tuple[int, float]
    ) -> Sequence[LegacyRow]:
        """The rows that wait for the date behind them, with a time if both dates tell it."""
        if self._before is None or not 0 <= behind[1] - self._before[1] <= APART_MS:
            return waiting
        (first, start_ms), (last, end_ms) = self._before, behind
        a_row = (end_ms - start_ms) / (last - first)
        return [
            {**row, ESTIMATED: int(start_ms + (_rowid(row) - first) * a_row)}
            if self._is_undated(row)
            else row
            for row in waiting
        ]

    def _dated(self, row: LegacyRow) -> tuple[int, float] | None:
        """Row and time of a neighbour, None if the row is none."""
        value = row["timestamp"]
        if isinstance(value, int | float) and is_date(value, self._now_ms):
            rowid = _rowid(row)
            return (rowid, value) if self._end is not None and rowid <= self._end else None
        return None

    def _is_undated(self, row: LegacyRow) -> bool:
        value = row["timestamp"]
        is_number = value is None or isinstance(value, int | float)
        return is_number and self._dated(row) is None


def _rowid(row: LegacyRow) -> int:
    rowid = row["rowid"]
    assert isinstance(rowid, int)
    return rowid
