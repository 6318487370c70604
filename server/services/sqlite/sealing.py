"""Seals readings into blocks: what one step reads, and what it writes in one transaction.

The readings before the mark `closing` do not change any more, so each device's block of a span can
be made at leisure and written in its own transaction. Nothing reads these blocks yet. When all
devices have theirs, one transaction moves the mark `sealed`, and from then on readers take the
blocks instead of the rows, which are deleted bit by bit. A step that did not end is done again.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import NamedTuple

from server.services.history.codec import DamagedBlock, decode, encode
from server.services.history.columns import Columns, Samples, joined
from server.services.ports.values import INTEGER_MAX
from server.services.sqlite.hour_sums import (
    HourSums,
    hours_of,
    mark,
    move,
    of_device,
    samples_of_hours,
    store_hours,
)
from server.services.sqlite.reading_tables import HOUR_MS, HOUR_SLOTS, SPAN_MS, SPAN_SLOTS

log = logging.getLogger(__name__)

# Rows that one transaction deletes: about a millisecond.
ROWS_AT_ONCE = 1000
SPAN_HOURS = SPAN_MS // HOUR_MS

_NEWEST = "SELECT max(slot) FROM readings WHERE slot < ?"
# Two statements: with a subquery SQLite would first collect the keys of all rows to delete and then
# look up each, which takes four times as long.
_LAST_OF_SOME = (
    "SELECT max(slot) FROM (SELECT slot FROM readings WHERE slot < ? ORDER BY slot LIMIT ?)"
)
_DELETE_SOME = "DELETE FROM readings WHERE slot <= ?"


_ASIDE = """CREATE TABLE IF NOT EXISTS damaged_blocks
    (series INTEGER NOT NULL, span INTEGER NOT NULL, count INTEGER NOT NULL, body BLOB NOT NULL)"""
_PUT_ASIDE = """INSERT INTO damaged_blocks
    SELECT series, span, count, body FROM reading_blocks WHERE series = ? AND span = ?"""


class Block(NamedTuple):
    """A block that was made and is not written yet.

    `late` counts the late readings in it, and `before` the readings of the block that it replaces.
    If that block was `damaged`, its bytes are kept for somebody to look at.
    """

    series: int
    span: int
    readings: int
    last_ms: int
    body: bytes
    hours: HourSums
    late: int = 0
    before: int = 0
    damaged: bool = False


def close_until(connection: sqlite3.Connection, slot: int) -> None:
    """Close the spans of new readings that end at or before this slot.

    Only spans with readings are closed: a clock that is far ahead must not close the present.
    """
    _close(connection, slot // SPAN_SLOTS * SPAN_SLOTS)


def close_all(connection: sqlite3.Connection) -> None:
    """Close all spans with new readings, also those that are not over: the rest comes late."""
    _close(connection, INTEGER_MAX)


def close_converted(connection: sqlite3.Connection, slot: int) -> None:
    """Close, as `close_until`, the spans before that of the newest reading."""
    (newest,) = connection.execute(_NEWEST, (slot,)).fetchone()
    if newest is not None:
        close_until(connection, newest)


def _close(connection: sqlite3.Connection, slot: int) -> None:
    (newest,) = connection.execute(_NEWEST, (slot,)).fetchone()
    if newest is not None:
        move(connection, "closing", (newest // SPAN_SLOTS + 1) * SPAN_SLOTS)


def next_span(connection: sqlite3.Connection) -> int | None:
    """The oldest closed span with readings that are not sealed."""
    (slot,) = connection.execute(
        "SELECT min(slot) FROM readings WHERE slot >= ? AND slot < ?",
        (mark(connection, "sealed"), mark(connection, "closing")),
    ).fetchone()
    return None if slot is None else slot // SPAN_SLOTS


def unsealed_devices(connection: sqlite3.Connection, span: int) -> list[int]:
    """The devices whose readings of a closed span have no block of the same number yet."""
    first = span * SPAN_SLOTS
    rows = connection.execute(
        "SELECT series FROM (SELECT series, count(*) AS there FROM readings"
        " WHERE slot BETWEEN ?1 AND ?2 GROUP BY series) AS r WHERE there != ifnull((SELECT count"
        " FROM reading_blocks b WHERE b.series = r.series AND b.span = ?3), -1) ORDER BY series",
        (first, first + SPAN_SLOTS - 1, span),
    ).fetchall()
    return [series for (series,) in rows]


def block_of(connection: sqlite3.Connection, series: int, span: int) -> Block:
    """Make the block of a device's readings of a closed span."""
    snapshot = of_device(connection, series)
    first = span * SPAN_SLOTS
    columns = snapshot.rows.new_columns(first, first + SPAN_SLOTS - 1)
    before = samples_of_hours(snapshot, span * SPAN_HOURS, 0)
    return _block(series, span, columns, before)


def write_block(connection: sqlite3.Connection, block: Block) -> None:
    """Store the block of a closed span, unless another process has sealed that span."""
    if block.span * SPAN_SLOTS >= mark(connection, "sealed"):
        # The hour after the span may be summed up already, with its own readings.
        after = (block.span + 1) * SPAN_HOURS
        if after * HOUR_SLOTS < mark(connection, "summed"):
            own = {hour: found for hour, found in block.hours.items() if hour < after}
            block = block._replace(hours=own)
        _store(connection, block)


def seal(connection: sqlite3.Connection, span: int) -> None:
    """Let readers take the blocks until the end of this span."""
    move(connection, "sealed", (span + 1) * SPAN_SLOTS)


def delete_sealed(connection: sqlite3.Connection) -> int:
    """Delete some rows of sealed readings, oldest first; return how many."""
    sealed = mark(connection, "sealed")
    (last,) = connection.execute(_LAST_OF_SOME, (sealed, ROWS_AT_ONCE)).fetchone()
    return 0 if last is None else connection.execute(_DELETE_SOME, (last,)).rowcount


def next_late(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """The device and span of late readings that can be sealed now."""
    found = connection.execute(
        "SELECT series, slot FROM late_readings WHERE slot < ? ORDER BY series, slot LIMIT 1",
        (mark(connection, "sealed"),),
    ).fetchone()
    return None if found is None else (found[0], found[1] // SPAN_SLOTS)


def block_with_late(connection: sqlite3.Connection, series: int, span: int) -> Block:
    """Make the block of a sealed span again, with the device's late readings of that span."""
    snapshot = of_device(connection, series)
    found = connection.execute(
        "SELECT body, count FROM reading_blocks WHERE series = ? AND span = ?", (series, span)
    ).fetchone()
    body, before = found or (b"", 0)
    sealed, damaged = Columns(), False
    try:
        sealed = decode(body) if found else sealed
    except DamagedBlock as error:
        log.error("%s: its bytes are kept in the table damaged_blocks; restore a back-up", error)
        damaged = True
    first = span * SPAN_SLOTS
    late = snapshot.rows.late_columns(first, first + SPAN_SLOTS - 1)
    columns = Columns.joined([sealed, late])
    block = _block(series, span, columns, samples_of_hours(snapshot, span * SPAN_HOURS, 0))
    # Late readings also change for how long the first readings of the next span hold.
    first_after = (span + 1) * SPAN_HOURS
    after = min(SPAN_HOURS, snapshot.summed // HOUR_SLOTS - first_after)
    if after > 0:
        own = samples_of_hours(snapshot, first_after, after, before_ms=0)
        samples = Samples(*joined([columns.samples(), own]))
        block.hours.update(hours_of(samples, first_after, after))
    return block._replace(late=len(late), before=before, damaged=damaged)


def write_late(connection: sqlite3.Connection, block: Block) -> bool:
    """Store a block in place of its late readings; return False if there are others by now."""
    first = block.span * SPAN_SLOTS
    where = "FROM late_readings WHERE series = ? AND slot BETWEEN ? AND ?"
    parameters = (block.series, first, first + SPAN_SLOTS - 1)
    (late,) = connection.execute(f"SELECT count(*) {where}", parameters).fetchone()
    found = connection.execute(
        "SELECT count FROM reading_blocks WHERE series = ? AND span = ?",
        (block.series, block.span),
    ).fetchone()
    if late != block.late or (found[0] if found else 0) != block.before:
        return False
    if block.damaged:
        put_aside(connection, block.series, block.span)
    _store(connection, block)
    connection.execute(f"DELETE {where}", parameters)
    return True


def put_aside(connection: sqlite3.Connection, series: int, span: int) -> None:
    """Keep the bytes of a damaged block, for somebody to look at."""
    connection.execute(_ASIDE)
    connection.execute(_PUT_ASIDE, (series, span))


def _block(series: int, span: int, columns: Columns, before: Samples) -> Block:
    # The last reading may hold into the next span, and the device may have no reading there: what
    # is stored for that hour counts unless the next block replaces it.
    samples = Samples(*joined([before, columns.samples()]))
    hours = hours_of(samples, span * SPAN_HOURS, SPAN_HOURS + 1)
    return Block(series, span, len(columns), columns.times[-1], encode(columns), hours)


def _store(connection: sqlite3.Connection, block: Block) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO reading_blocks (series, span, count, last, body)"
        " VALUES (?, ?, ?, ?, ?)",
        (block.series, block.span, block.readings, block.last_ms, block.body),
    )
    store_hours(connection, block.series, block.hours)
