"""The tables and indexes of the embedded store: their declaration, and the SQL that makes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from server.services.firestore.base import Direction

_COLLECTION = re.compile(r"(?!sqlite_)[a-z_]+")
_FIELD = re.compile(r"[a-z_][a-z0-9_]*")


# Minus infinity: less than every number that can be stored.
NULL_FIRST = "-9e999"


class Index(msgspec.Struct, frozen=True):
    """A composite index: equality on `equal` (sorted), then `order_by` in one direction."""

    collection: str
    equal: tuple[str, ...]
    order_by: str
    direction: Direction


class _Field(msgspec.Struct, rename="camel"):
    field_path: str
    order: Literal["ASCENDING", "DESCENDING"]


class _Declared(msgspec.Struct, rename="camel"):
    collection_group: str
    fields: list[_Field]


class _File(msgspec.Struct):
    indexes: list[_Declared]


def load_indexes(path: Path) -> list[Index]:
    """Read Firestore's index file. OSError or msgspec.DecodeError when it cannot be read."""
    declared = msgspec.json.decode(path.read_bytes(), type=_File).indexes
    return [
        Index(
            collection=one.collection_group,
            equal=tuple(sorted(field.field_path for field in one.fields[:-1])),
            order_by=one.fields[-1].field_path,
            direction="asc" if one.fields[-1].order == "ASCENDING" else "desc",
        )
        for one in declared
    ]


def table(collection: str) -> str:
    """The quoted table of a collection; ValueError for a name that cannot be one."""
    if not _COLLECTION.fullmatch(collection):
        raise ValueError(f"Not a collection name: {collection!r}")
    return f'"{collection}"'


def path(field: str) -> str:
    """The quoted JSON path of a top-level field; ValueError for a name that cannot be in one."""
    if not _FIELD.fullmatch(field):
        raise ValueError(f"Not a field name: {field!r}")
    return f"'$.{field}'"


def value(field: str) -> str:
    """The SQL expression for a field's value: NULL when it is missing."""
    return f"json_extract(body, {path(field)})"


def order_key(field: str) -> str:
    """The SQL expression a query is ordered by. JSON's null comes first, as in Firestore.

    It is never NULL, so one comparison finds what follows a cursor.
    """
    return f"ifnull({value(field)}, {NULL_FIRST})"


def create_statements(collection: str, indexes: Iterable[Index]) -> Iterator[str]:
    """The statements that make a collection's table and indexes where they are missing."""
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
        if index.collection != collection:
            continue
        keys = [value(field) for field in index.equal]
        keys += [f"{key} {index.direction}" for key in (order_key(index.order_by), "id")]
        yield (f'CREATE INDEX IF NOT EXISTS "{index_name(index)}" ON {name} ({", ".join(keys)})')


def index_name(index: Index) -> str:
    """An index's name in the database, the same for the same declaration."""
    return ".".join((index.collection, *index.equal, index.order_by, index.direction))


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
