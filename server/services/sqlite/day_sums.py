"""Sums up days (UTC) from the sums of their hours, so that figures over months read few rows.

The sums of a day hold if it ends at or before the mark `days` and is not in `changed_days`.
Triggers put a device's day there when one of its hours is written or deleted, so its sums hold from
the transaction on that makes them until the one that changes an hour.
"""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3

from server.services.history.summaries import Summary
from server.services.sqlite.hour_sums import mark, move
from server.services.sqlite.reading_tables import DAY_HOURS, HOUR_SLOTS

DAY_SLOTS = DAY_HOURS * HOUR_SLOTS
# Days that one transaction sums up: about a millisecond.
DAYS_AT_ONCE = 50

_EXTREMES = {
    "minimum": "min(minimum)",
    "maximum": "max(maximum)",
    # Only the sums of hours have the time of an extreme.
    "minimum_ms": "NULL",
    "maximum_ms": "NULL",
}
_FIELDS = Summary.__struct_fields__
_SUM = f"""INSERT OR REPLACE INTO reading_days (series, day, {", ".join(_FIELDS)})
    SELECT ?1, ?2, {", ".join(_EXTREMES.get(name, f"sum({name})") for name in _FIELDS)}
    FROM reading_hours WHERE series = ?1 AND hour BETWEEN ?3 AND ?4 GROUP BY series"""
_SOME = f"SELECT series, day FROM changed_days LIMIT {DAYS_AT_ONCE}"
_OF_DAY = "WHERE series = ? AND day = ?"
_NEXT = """SELECT min((SELECT min(hour) FROM reading_hours h
    WHERE h.series = s.id AND h.hour >= ?)) FROM reading_series s"""
_BEGIN = """INSERT OR IGNORE INTO changed_days SELECT id, ? FROM reading_series s
    WHERE EXISTS (SELECT 1 FROM reading_hours h WHERE h.series = s.id AND h.hour BETWEEN ? AND ?)"""


def next_day(connection: sqlite3.Connection) -> int | None:
    """The oldest day with readings that is over, and before which the days are summed up."""
    begin = mark(connection, "days") // HOUR_SLOTS
    (hour,) = connection.execute(_NEXT, (begin,)).fetchone()
    if hour is None:
        return None
    day: int = hour // DAY_HOURS
    end = max(mark(connection, name) for name in ("sealed", "summed"))
    return day if (day + 1) * DAY_SLOTS <= end else None


def begin_day(connection: sqlite3.Connection, day: int) -> None:
    """Let the sums of days hold until the end of this day, but for those of its devices."""
    move(connection, "days", (day + 1) * DAY_SLOTS)
    connection.execute(_BEGIN, (day, *_hours(day)))


def sum_some(connection: sqlite3.Connection) -> int:
    """Sum up some changed days of devices; return how many."""
    found = connection.execute(_SOME).fetchall()
    for series, day in found:
        # If all its hours were deleted, there is nothing in place of it.
        connection.execute(f"DELETE FROM reading_days {_OF_DAY}", (series, day))
        connection.execute(_SUM, (series, day, *_hours(day)))
        connection.execute(f"DELETE FROM changed_days {_OF_DAY}", (series, day))
    return len(found)


def _hours(day: int) -> tuple[int, int]:
    return day * DAY_HOURS, (day + 1) * DAY_HOURS - 1
