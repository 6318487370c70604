"""The tables and indexes of the embedded store: the SQL that makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from server.services.firestore.indexes import Index
from server.services.firestore.values import check_collection, check_field

# Minus infinity: less than every number that can be stored.
NULL_FIRST = "-9e999"
# Nearly every document has the same value: an index that begins with the field as well would cost
# each write more than it spares a read.
NOT_INDEXED = frozenset({"sensor_ok"})


def table(collection: str) -> str:
    """The quoted table of a collection; ValueError for a name that cannot be one."""
    check_collection(collection)
    return f'"{collection}"'


def path(field: str) -> str:
    """The quoted JSON path of a top-level field; ValueError for a name that cannot be in one."""
    check_field(field)
    return f"'$.{field}'"


def value(field: str) -> str:
    """The SQL expression for a field's value: NULL when it is missing."""
    return f"json_extract(body, {path(field)})"


def order_key(field: str) -> str:
    """The SQL expression a query is ordered by. JSON's null comes first, as in Firestore.

    It is never NULL, so one comparison finds what follows a cursor.
    """
    return f"ifnull({value(field)}, {NULL_FIRST})"


def own_index(index: Index) -> Index:
    """The index of this database that serves the queries of a declared one."""
    equal = tuple(field for field in index.equal if field not in NOT_INDEXED)
    return msgspec.structs.replace(index, equal=equal)


def create_statements(collection: str, indexes: Iterable[Index]) -> Iterator[str]:
    """The statements that make a collection's table and indexes where they are missing, and drop
    those that an earlier version made and no query is served by."""
    name = table(collection)
    yield (
        f"CREATE TABLE IF NOT EXISTS {name}"
        " (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL)"
    )
    expiry = value("expire_at")
    yield (
        f'CREATE INDEX IF NOT EXISTS "{collection}.expire_at" ON {name} ({expiry})'
        f" WHERE {expiry} IS NOT NULL"
    )
    for index in indexes:
        # Firestore needs a second order for the figures; SQLite reads them by the first.
        if index.collection != collection or index.then is not None:
            continue
        own = own_index(index)
        if own != index:
            yield f'DROP INDEX IF EXISTS "{index.name}"'
        keys = [value(field) for field in own.equal]
        keys += [f"{key} {own.direction}" for key in (order_key(own.order_by), "id")]
        yield f'CREATE INDEX IF NOT EXISTS "{own.name}" ON {name} ({", ".join(keys)})'


# Every collection has an index of this name, so these are the collections.
COLLECTIONS = "SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name GLOB '*.expire_at'"


def delete_expired_statement(collection: str) -> str:
    """Deletes what expired before parameter 1 (Unix ms), at most parameter 2 documents."""
    name = table(collection)
    return (
        f"DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM {name}"  # noqa: S608
        f" WHERE {value('expire_at')} < ? AND json_type(body, {path('expire_at')}) = 'integer'"
        " LIMIT ?)"
    )
