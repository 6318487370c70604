"""Adds readings to the tables of new and of late readings, and remembers their keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.services.ports.documents import AlreadyExists, DemandUnmet, EmptyFields
from server.services.sqlite import queries
from server.services.sqlite.documents import from_rows
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.reading_tables import ROW_COLUMNS, Key, Owner, StoredRow
from server.services.sqlite.schema import table, value
from server.services.sqlite.value_rows import execute_rows

_COLUMNS = ", ".join(f"column{number + 1}" for number in range(len(StoredRow._fields)))
_GIVEN = " WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING"
_INSERT = {
    name: f"INSERT INTO {name} ({ROW_COLUMNS}) SELECT {_COLUMNS} FROM "  # noqa: S608 - constants
    for name in ("readings", "late_readings")
}
_NEXT = {
    name: f"SELECT ifnull(max(n) + 1, 0) FROM {name} WHERE slot = ? AND series = ? AND ms = ?"  # noqa: S608
    for name in ("readings", "late_readings")
}
_LATE_BEFORE = "SELECT max(value) FROM reading_marks WHERE name IN ('closing', 'frozen')"
_PERIODS = """WITH RECURSIVE periods (period) AS (
    SELECT min(period) FROM reading_keys UNION ALL
    SELECT (SELECT min(period) FROM reading_keys WHERE period > periods.period)
    FROM periods WHERE period IS NOT NULL)
    SELECT period FROM periods WHERE period IS NOT NULL"""
_KEYS = (
    "INSERT INTO reading_keys (period, key, digest, series, time, received, content)"
    " SELECT column1, column2, column3, column4, column5, column6, column7 FROM "
)


class NewKey(NamedTuple):
    """The key of a new reading, and the id that it has outside this store."""

    key: Key
    series: int
    row_id: str


class ReadingSet(NamedTuple):
    """Readings to add, the keys of those that are remembered, and what is demanded for it."""

    rows: Sequence[StoredRow]
    keys: Sequence[NewKey] = ()
    demand: EmptyFields | None = None


NO_READINGS = ReadingSet(())


def add_together(connection: sqlite3.Connection, sets: Sequence[ReadingSet]) -> bool:
    """Add all readings; return False if they must be added one by one.

    That is the case if a demand is not met, a key is known, or two readings of a device have the
    same time. Some rows may be added then, and the caller must roll back.
    """
    demands = [one.demand for one in sets if one.demand is not None]
    if demands and first_unmet(connection, demands) is not None:
        return False
    rows = [row for one in sets for row in one.rows]
    if not rows:
        return True
    keys = [key for one in sets for key in one.keys]
    if keys and (any_known(connection, keys) or _add_keys(connection, keys) != len(keys)):
        return False
    closing = closing_slot(connection)
    late = [row for row in rows if row.slot < closing]
    new = [row for row in rows if row.slot >= closing] if late else rows
    return all(
        execute_rows(connection, _INSERT[name], _GIVEN, some) == len(some)
        for name, some in (("readings", new), ("late_readings", late))
        if some
    )


def add_one_by_one(connection: sqlite3.Connection, one: ReadingSet) -> None:
    """Add the readings, each behind those of the same time. Raises AlreadyExists, DemandUnmet."""
    if one.demand is not None and first_unmet(connection, [one.demand]) is not None:
        raise DemandUnmet(one.demand.collection, one.demand.id)
    for key in one.keys:
        if any_known(connection, [key]) or not _add_keys(connection, [key]):
            raise AlreadyExists("readings", key.row_id)
    closing = closing_slot(connection) if one.rows else 0
    for row in one.rows:
        name = "late_readings" if row.slot < closing else "readings"
        (n,) = connection.execute(_NEXT[name], (row.slot, row.series, row.ms)).fetchone()
        execute_rows(connection, _INSERT[name], _GIVEN, [row._replace(n=n)])


def first_unmet(connection: sqlite3.Connection, demands: Sequence[EmptyFields]) -> str | None:
    """The id of a document that does not meet one of these demands."""
    ids: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for demand in demands:
        ids.setdefault((demand.collection, demand.fields), []).append(demand.id)
    for (collection, fields), some in ids.items():
        filled = " OR ".join(f"ifnull({value(field)}, 0) NOT IN ('', 0)" for field in fields)
        found = connection.execute(
            f"SELECT id FROM {table(collection)} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
            f" AND ({filled}) LIMIT 1",
            (msgspec.json.encode(some).decode(),),
        ).fetchone()
        if found is not None:
            return str(found[0])
    return None


def closing_slot(connection: sqlite3.Connection) -> int:
    """The slot before which readings are late."""
    found = connection.execute(_LATE_BEFORE).fetchone()
    closing: int = found[0]
    return closing


def live_periods(connection: sqlite3.Connection) -> list[int]:
    """The periods of which a key is remembered: about five."""
    return [period for (period,) in connection.execute(_PERIODS).fetchall()]


def any_known(connection: sqlite3.Connection, keys: Sequence[NewKey]) -> bool:
    """Whether any of the keys is remembered, or is that of a reading that is still a document."""
    periods = live_periods(connection)
    marks = ",".join("?" * len(periods))
    for start in range(0, len(keys), 500):
        some = [key.key.key for key in keys[start : start + 500]]
        found = connection.execute(
            f"SELECT 1 FROM reading_keys WHERE period IN ({marks})"  # noqa: S608 - marks only
            f" AND key IN ({','.join('?' * len(some))}) LIMIT 1",
            [*periods, *some],
        ).fetchone()
        if found:
            return True
    if not has_old_readings(connection):
        return False
    ids = [key.row_id for key in keys]
    statements = [
        queries.select_ids(OLD_READINGS, ids[start : start + 500])
        for start in range(0, len(ids), 500)
    ]
    return any(from_rows(connection.execute(*one).fetchone()[0]) for one in statements)


def _add_keys(connection: sqlite3.Connection, keys: Sequence[NewKey]) -> int:
    rows = [
        (key.period, key.key, key.digest, series, key.time, key.received, key.content)
        for key, series, _ in keys
    ]
    return execute_rows(connection, _KEYS, _GIVEN, rows)


def numbers_of(connection: sqlite3.Connection, owners: Sequence[Owner]) -> list[int]:
    """The number of each device in the tables; a new device gets one."""
    numbers = []
    for owner in owners:
        connection.execute(
            "INSERT INTO reading_series (tenant_id, device_id) VALUES (?, ?)"
            " ON CONFLICT DO NOTHING",
            owner,
        )
        (number,) = connection.execute(
            "SELECT id FROM reading_series WHERE tenant_id = ? AND device_id = ?", owner
        ).fetchone()
        numbers.append(number)
    return numbers
