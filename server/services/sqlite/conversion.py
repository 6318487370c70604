"""Converts readings that earlier versions kept as documents, some at a time."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from operator import itemgetter

import msgspec

from server.services.history.contents import not_among
from server.services.history.documents import reading_from
from server.services.ports.readings import NewRow, Reading
from server.services.sqlite import schema
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.reading_queries import snapshot_of
from server.services.sqlite.reading_tables import WEEK_MS, Owner, key_of, row_of
from server.services.sqlite.reading_writes import (
    NewKey,
    ReadingSet,
    add_one_by_one,
    add_together,
    any_known,
    numbers_of,
)

log = logging.getLogger(__name__)

# Documents that one transaction converts: a few milliseconds.
DOCUMENTS_AT_ONCE = 200
_TABLE = schema.table(OLD_READINGS)
# Documents that are no readings stay here, for somebody to look at.
_ASIDE = "CREATE TABLE IF NOT EXISTS unreadable_readings (id TEXT PRIMARY KEY, body TEXT NOT NULL)"


def convert_some(connection: sqlite3.Connection) -> int:
    """Convert the oldest documents; return how many, 0 when there are none.

    The readings are read back and compared before the documents are deleted. Raises RuntimeError
    if they differ; nothing is changed then.
    """
    if not has_old_readings(connection):
        return 0
    found = connection.execute(
        f"SELECT rowid, id, body FROM {_TABLE} ORDER BY rowid LIMIT ?",  # noqa: S608 - a constant
        (DOCUMENTS_AT_ONCE,),
    ).fetchall()
    # Readings of the same time keep their order, which is that of their ids.
    found.sort(key=itemgetter(1))
    rows = []
    for _, doc_id, body in found:
        try:
            reading = reading_from(msgspec.json.decode(body))
        except (msgspec.DecodeError, TypeError, AttributeError):
            _put_aside(connection, doc_id, body)
        else:
            remember_ms = WEEK_MS if reading.source_digest else 0
            rows.append(NewRow(doc_id, reading, remember_ms))
    marks = ",".join("?" * len(found))
    # First, because a reading is known as long as it is a document.
    connection.execute(
        f"DELETE FROM {_TABLE} WHERE rowid IN ({marks})",  # noqa: S608 - a constant
        [rowid for rowid, _, _ in found],
    )
    _add(connection, rows)
    return len(found)


def _add(connection: sqlite3.Connection, rows: Sequence[NewRow]) -> None:
    owners = [Owner(row.reading.tenant_id, row.reading.device_id) for row in rows]
    devices = list(dict.fromkeys(owners))
    numbers = dict(zip(devices, numbers_of(connection, devices), strict=True))
    stored, keys = [], []
    for row, owner in zip(rows, owners, strict=True):
        stored.append(row_of(row.reading, numbers[owner]))
        if (key := key_of(row, stored[-1])) is not None:
            keys.append(NewKey(key, numbers[owner], row.id))
    if any_known(connection, keys):
        # An earlier version in another process stored a repeat of a reading in the tables.
        keys = [key for key in keys if not any_known(connection, [key])]
    new = ReadingSet(stored, keys)
    connection.execute("SAVEPOINT together")
    if not add_together(connection, [new]):
        connection.execute("ROLLBACK TO together")
        add_one_by_one(connection, new)
    connection.execute("RELEASE together")
    for owner in devices:
        _check(
            connection, owner, [row for row, of in zip(rows, owners, strict=True) if of == owner]
        )


def _check(connection: sqlite3.Connection, owner: Owner, rows: Sequence[NewRow]) -> None:
    """Raise RuntimeError if a device's readings are not stored as they were."""
    snapshot = snapshot_of(connection, *owner, old=False)
    there: list[Reading] = []
    for time_ms in {row.reading.timestamp_ms for row in rows}:
        for columns in snapshot.between(time_ms, time_ms).values():
            there += columns.readings(*owner)
    missing = not_among(rows, there)
    if missing:
        raise RuntimeError(
            f"{len(missing)} readings of device {owner.device_id} would not be kept as they are"
        )


def _put_aside(connection: sqlite3.Connection, doc_id: str, body: str) -> None:
    connection.execute(_ASIDE)
    connection.execute("INSERT OR REPLACE INTO unreadable_readings VALUES (?, ?)", (doc_id, body))
    log.warning(
        "the document %r in the table of readings is no reading: it is kept in the table"
        " unreadable_readings",
        doc_id,
    )
