"""Deletes expired documents, by an index on their expiry or by the ids that a reader found."""

# schema.table, schema.path and schema.value check the names in the SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from server.services.sqlite.schema import path, table, value

# Lists the collections whose expiry is indexed: each has an index of this name.
COLLECTIONS = "SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name GLOB '*.expire_at'"

# A document that was dated on the time line of parameter 2, where it is now parameter 3, stays
# until it has expired on that line as well: see `leap_ms` of `common/clock.py`.
_OWN = f"{value('boot')} IS ?2 AND {value('expire_at')} >= {value('booted_ms')} + ?3"
_IS_EXPIRED = (
    f"{value('expire_at')} < ?1 AND json_type(body, {path('expire_at')}) = 'integer'"
    f" AND ifnull(NOT ({_OWN}), TRUE)"
)


class Now(NamedTuple):
    """The time by the wall clock (Unix ms), and the boot with its uptime (ms)."""

    wall_ms: int
    boot: str
    uptime_ms: int


def find_expired(
    now: Now, limit: int, collections: Iterable[str], connection: sqlite3.Connection
) -> dict[str, str]:
    """For each collection the ids of at most `limit` expired documents, as a JSON array."""
    found = {}
    for name in collections:
        ids = f"SELECT id FROM {table(name)} WHERE {_IS_EXPIRED} LIMIT ?4"
        statement = f"SELECT json_group_array(id) FROM ({ids})"
        (found[name],) = connection.execute(statement, (*now, limit)).fetchone()
    return found


def delete_expired(
    now: Now, limit: int, found: Mapping[str, str], connection: sqlite3.Connection
) -> int:
    """Delete at most `limit` expired documents; return how many.

    `found` has the ids of `find_expired` for the collections without an index. A document that was
    written since then may not be expired any more, and stays.
    """
    deleted = 0
    indexed = [name for (name,) in connection.execute(COLLECTIONS).fetchall()]
    for name in (*indexed, *found):
        parameters = (*now, limit - deleted, *([found[name]] if name in found else []))
        statement = delete_statement(name, by_ids=name in found)
        deleted += connection.execute(statement, parameters).rowcount
        if deleted >= limit:
            break
    return deleted


def delete_statement(name: str, *, by_ids: bool = False) -> str:
    """The SQL that deletes expired documents of a collection, `by_ids` among those of parameter 5.

    Its other parameters are those of `Now`, and how many.
    """
    among = "id IN (SELECT value FROM json_each(?5))" if by_ids else "TRUE"
    rows = f"SELECT rowid FROM {table(name)} WHERE {among} AND {_IS_EXPIRED} LIMIT ?4"
    return f"DELETE FROM {table(name)} WHERE rowid IN ({rows})"
