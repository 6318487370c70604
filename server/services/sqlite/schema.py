"""Builds the SQL that creates the tables and indexes of the embedded store."""

# `table` and `path` check the names in the SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from server.services.ports.documents import Filter, Query
from server.services.ports.indexes import Index
from server.services.ports.values import check_collection, check_field

# Minus infinity: less than every number that can be stored.
NULL_FIRST = "-9e999"
# Nearly every document has the same value in these fields. An index on them would cost each write
# more than it saves a read.
NOT_INDEXED = frozenset({"sensor_ok"})
# Each post writes its zone with a new time of expiry. An index on that costs a third of the write,
# and one page of four; retention reads the few zones instead.
EXPIRY_NOT_INDEXED = frozenset({"zones"})
# The same for the time of its last post. An index on its tenant alone would be written as well:
# SQLite before 3.54 writes an index on a part of a document although that part stays the same.
# So a table of its own says whose each zone is, and the few zones of a tenant are sorted.
_POSTED = "zones"
OWNED = "id IN (SELECT id FROM zone_tenants WHERE tenant_id = json_extract(?, '$'))"
_OWNERS = """CREATE TABLE IF NOT EXISTS zone_tenants
    (tenant_id NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tenant_id, id)) WITHOUT ROWID"""


def owned(query: Query) -> Filter | None:
    """The filter by tenant of a query whose documents `OWNED` finds; else None."""
    if query.collection != _POSTED:
        return None
    return next((one for one in query.filters if (one.field, one.op) == ("tenant_id", "==")), None)


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
    if collection in EXPIRY_NOT_INDEXED:
        yield f'DROP INDEX IF EXISTS "{collection}.expire_at"'
    else:
        yield (
            f'CREATE INDEX IF NOT EXISTS "{collection}.expire_at" ON {name} ({expiry})'
            f" WHERE {expiry} IS NOT NULL"
        )
    if collection == _POSTED:
        yield from _owners(name)
    for index in indexes:
        # An index with a second order serves Firestore's figures; SQLite needs no such index.
        if index.collection != collection or index.then is not None:
            continue
        own = own_index(index)
        if collection == _POSTED and own.equal == ("tenant_id",):
            # An existing file keeps it: a server of an earlier version that still runs asks by it.
            continue
        if own != index:
            yield f'DROP INDEX IF EXISTS "{index.name}"'
        keys = [value(field) for field in own.equal]
        keys += [f"{key} {own.direction}" for key in (order_key(own.order_by), "id")]
        yield f'CREATE INDEX IF NOT EXISTS "{own.name}" ON {name} ({", ".join(keys)})'


def _owners(name: str) -> Iterator[str]:
    """The statements for the table of tenants, and for the triggers that keep it up to date."""
    old, new = (f"json_extract({row}.body, '$.tenant_id')" for row in ("OLD", "NEW"))
    add = f"INSERT OR IGNORE INTO zone_tenants SELECT {new}, NEW.id WHERE {new} IS NOT NULL"
    drop = f"DELETE FROM zone_tenants WHERE tenant_id = {old} AND id = OLD.id"
    yield _OWNERS
    key = value("tenant_id")
    # Once, for the zones of an earlier version: a damaged page of them must not end each start.
    is_there = "SELECT 1 FROM sqlite_schema WHERE name = 'zone_tenants.INSERT'"
    yield (
        f"INSERT OR IGNORE INTO zone_tenants SELECT {key}, id"
        f" FROM (SELECT 1 WHERE NOT EXISTS ({is_there})) CROSS JOIN {name} WHERE {key} IS NOT NULL"
    )
    for event, when, steps in (
        ("UPDATE", f"{new} IS NOT {old}", f"{drop}; {add}"),
        ("DELETE", "TRUE", drop),
        ("INSERT", "TRUE", add),
    ):
        yield (
            f'CREATE TRIGGER IF NOT EXISTS "zone_tenants.{event}" AFTER {event} ON {name}'
            f" WHEN {when} BEGIN {steps}; END"
        )
