"""SpanRetention: deletes the oldest readings, span by span of all devices, in small steps."""

from __future__ import annotations

import sqlite3
from functools import partial

from server.services.sqlite.client import SqliteClient
from server.services.sqlite.reading_tables import HOUR_MS, SPAN_MS, SPAN_SLOTS, is_over
from server.services.sqlite.reading_writes import live_periods

# Blocks, rows or keys that one transaction deletes: a few milliseconds.
BLOCKS_AT_ONCE, ROWS_AT_ONCE = 100, 1000
SPAN_HOURS = SPAN_MS // HOUR_MS

_OLDEST = """SELECT min((SELECT min(span) FROM reading_blocks b WHERE b.series = s.id)),
    min((SELECT min(slot) FROM late_readings l WHERE l.series = s.id)) FROM reading_series s"""
_BLOCKS = """DELETE FROM reading_blocks WHERE rowid IN (SELECT b.rowid FROM reading_series s
    JOIN reading_blocks b ON b.series = s.id AND b.span = ? LIMIT ?)"""
_HOURS = """DELETE FROM reading_hours WHERE (series, hour) IN (SELECT h.series, h.hour
    FROM reading_series s JOIN reading_hours h ON h.series = s.id AND h.hour <= ? LIMIT ?)"""
_LATE = """DELETE FROM late_readings WHERE (series, slot, ms, n) IN (SELECT l.series, l.slot, l.ms,
    l.n FROM reading_series s JOIN late_readings l ON l.series = s.id
    AND l.slot BETWEEN ? AND ? LIMIT ?)"""
_KEYS = """DELETE FROM reading_keys WHERE period = ?1 AND key IN
    (SELECT key FROM reading_keys WHERE period = ?1 LIMIT ?2)"""


class SpanRetention:
    """The readings of a file by spans; each call is one short transaction."""

    def __init__(self, client: SqliteClient) -> None:
        self._client = client

    async def oldest(self, before_ms: int) -> int | None:
        """The oldest span of sealed or late readings that ends before a time; None without any."""
        return await self._client.readers.run(partial(_oldest, before_ms))

    async def delete_some(self, span: int) -> int:
        """Delete a part of a span; return how many blocks and rows, 0 when all are gone."""
        return await self._client.writer.run(partial(_delete_some, span))

    async def forget_keys(self, now_ms: int) -> int:
        """Forget some keys that need not be remembered any more; return how many."""
        return await self._client.writer.run(partial(_forget_keys, now_ms))


def _oldest(before_ms: int, connection: sqlite3.Connection) -> int | None:
    span, slot = connection.execute(_OLDEST).fetchone()
    spans = [] if span is None else [span]
    spans += [] if slot is None else [slot // SPAN_SLOTS]
    oldest = min(spans, default=None)
    return oldest if oldest is not None and (oldest + 1) * SPAN_MS <= before_ms else None


def _delete_some(span: int, connection: sqlite3.Connection) -> int:
    first_slot = span * SPAN_SLOTS
    late = first_slot, first_slot + SPAN_SLOTS - 1, ROWS_AT_ONCE
    if deleted := connection.execute(_LATE, late).rowcount:
        return deleted
    if deleted := connection.execute(_BLOCKS, (span, BLOCKS_AT_ONCE)).rowcount:
        return deleted
    # Hours before it too: a reading may have held into a span without readings.
    hours = (span + 1) * SPAN_HOURS - 1, ROWS_AT_ONCE
    return connection.execute(_HOURS, hours).rowcount


def _forget_keys(now_ms: int, connection: sqlite3.Connection) -> int:
    for period in live_periods(connection):
        if is_over(period, now_ms):
            return connection.execute(_KEYS, (period, ROWS_AT_ONCE)).rowcount
    return 0
