"""Builds the SQL that creates the tables and indexes of the embedded store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from server.services.ports.indexes import Index
from server.services.ports.values import check_collection, check_field

# Minus infinity: less than every number that can be stored.
NULL_FIRST = "-9e999"
# Nearly every document has the same value in these fields. An index on them would cost each write
# more than it saves a read.
NOT_INDEXED = frozenset({"sensor_ok"})


def table(collection: str) -> str:
    """The quoted table name of a collection; ValueError for an invalid name."""
    check_collection(collection)
    return f'"{collection}"'


def path(field: str) -> str:
    """The quoted JSON path of a top-level field; ValueError for an invalid name."""
    check_field(field)
    return f"'$.{field}'"


def value(field: str) -> str:
    """The SQL expression for a field's value: NULL when it is missing."""
    return f"json_extract(body, {path(field)})"


def order_key(field: str) -> str:
    """The SQL expression that orders a query. JSON's null comes first, as in Firestore.

    It is never NULL, so one comparison finds the documents after a cursor.
    """
    return f"ifnull({value(field)}, {NULL_FIRST})"


def own_index(index: Index) -> Index:
    """The index of this database for the queries of a declared index."""
    equal = tuple(field for field in index.equal if field not in NOT_INDEXED)
    return msgspec.structs.replace(index, equal=equal)


def create_statements(collection: str, indexes: Iterable[Index]) -> Iterator[str]:
    """The statements that create a collection's missing table and indexes.

    They also drop indexes of earlier versions that no query uses any more.
    """
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
        # An index with a second order serves Firestore's figures; SQLite needs no such index.
        if index.collection != collection or index.then is not None:
            continue
        own = own_index(index)
        if own != index:
            yield f'DROP INDEX IF EXISTS "{index.name}"'
        keys = [value(field) for field in own.equal]
        keys += [f"{key} {own.direction}" for key in (order_key(own.order_by), "id")]
        yield f'CREATE INDEX IF NOT EXISTS "{own.name}" ON {name} ({", ".join(keys)})'


# Lists the collections: each has an index of this name.
COLLECTIONS = "SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name GLOB '*.expire_at'"


def delete_expired_statement(collection: str) -> str:
    """Delete documents that expired before parameter 1 (Unix ms), at most parameter 2 of them.

    A document that was dated on the time line of parameter 3, where it is now parameter 4, stays
    until it has expired on that line as well: see `leap_ms` of `common/clock.py`.
    """
    name = table(collection)
    own = f"{value('boot')} IS ?3 AND {value('expire_at')} >= {value('booted_ms')} + ?4"
    return (
        f"DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM {name}"  # noqa: S608
        f" WHERE {value('expire_at')} < ?1 AND json_type(body, {path('expire_at')}) = 'integer'"
        f" AND ifnull(NOT ({own}), TRUE) LIMIT ?2)"
    )
