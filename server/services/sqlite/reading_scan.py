"""Goes through the readings of all tenants, for a copy; on one connection."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from typing import NamedTuple

from server.common.errors import Invalid
from server.services.history.documents import reading_from
from server.services.ports.cursors import decode_cursor, encode_cursor
from server.services.ports.documents import Document, Query
from server.services.ports.readings import NewRow, ScanPage
from server.services.ports.values import INTEGER_MIN
from server.services.sqlite import queries
from server.services.sqlite.documents import from_rows
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_tables import SPAN_MS, Owner

# Cursors have the form of those of documents: this is the collection of both.
_ALL = Query(OLD_READINGS)
# A cursor into the tables begins with a character that no id of an old reading has.
_MARK = "~"
_POSITION = re.compile(r"~\d{1,15},-?\d{1,13},\d{1,9}", re.ASCII)


class _Start(NamedTuple):
    """The first reading that is not yet read: `n` counts from the start of the span."""

    series: int = 0
    span: int = INTEGER_MIN // SPAN_MS + 1
    n: int = 0


def scanned(connection: sqlite3.Connection, limit: int, cursor: str | None) -> ScanPage:
    """A page of readings: first those that are still documents, then device by device."""
    after = decode_cursor(_ALL, cursor).doc_id if cursor else ""
    if after.startswith(_MARK):
        return _of_tables(connection, limit, _start(after))
    if has_old_readings(connection):
        statement = queries.select(_ALL, limit, cursor)
        documents = from_rows(connection.execute(*statement).fetchone()[0])
        rows = [NewRow(one.id, reading_from(one.fields)) for one in documents[:limit]]
        if len(documents) > limit:
            return ScanPage(rows, encode_cursor(_ALL, documents[limit - 1]))
        return ScanPage(rows, _cursor(_Start()))
    return _of_tables(connection, limit, _Start())


def _start(text: str) -> _Start:
    """Where a cursor into the tables says that the page begins. Raises Invalid."""
    if not _POSITION.fullmatch(text):
        raise Invalid("Invalid cursor", code="INVALID_CURSOR")
    return _Start(*map(int, text[1:].split(",")))


def _of_tables(connection: sqlite3.Connection, limit: int, start: _Start) -> ScanPage:
    rows: list[NewRow] = []
    while len(rows) < limit:
        found = connection.execute(
            "SELECT id, tenant_id, device_id FROM reading_series WHERE id >= ? ORDER BY id LIMIT 1",
            (start.series,),
        ).fetchone()
        if found is None:
            return ScanPage(rows, None)
        series, owner = found[0], Owner(*found[1:])
        if series != start.series:
            start = _Start(series)
        snapshot = ReadingSnapshot(connection, {series: owner}, *owner, old=False)
        first_ms = snapshot.oldest_ms(start.span * SPAN_MS)
        if first_ms is None:
            start = _Start(series + 1)
            continue
        span = first_ms // SPAN_MS
        if span != start.span:
            start = _Start(series, span)
        rest = _rows(snapshot, owner, span)[start.n :]
        some = _whole_times(rest, limit - len(rows), bool(rows))
        rows += some
        start = start._replace(n=start.n + len(some))
        if len(some) < len(rest):
            break
        start = _Start(series, span + 1)
    return ScanPage(rows, _cursor(start))


def _whole_times(rows: list[NewRow], room: int, may_be_empty: bool) -> list[NewRow]:
    """At most `room` of the rows, and not only some of those of the same time.

    A copy compares contents, so it has to see equal rows together. If more than `room` have the
    first time, it is none of them, or some if it may not be empty.
    """
    if len(rows) <= room:
        return rows
    end = room
    while end and rows[end - 1].reading.timestamp_ms == rows[end].reading.timestamp_ms:
        end -= 1
    return rows[: end if end or may_be_empty else room]


def _rows(snapshot: ReadingSnapshot, owner: Owner, span: int) -> list[NewRow]:
    """The readings of one device in one span, each with an id that is the same at every copy."""
    rows: list[NewRow] = []
    before, n = None, 0
    for columns in snapshot.between(span * SPAN_MS, (span + 1) * SPAN_MS - 1).values():
        for reading in columns.readings(*owner):
            n = n + 1 if reading.timestamp_ms == before else 0
            before = reading.timestamp_ms
            name = "\0".join((*owner, str(before), str(n)))
            rows.append(NewRow(hashlib.sha256(name.encode()).hexdigest()[:32], reading))
    return rows


def _cursor(start: _Start) -> str:
    return encode_cursor(_ALL, Document(_MARK + ",".join(map(str, start)), "", {}))
