"""Reads the index file and checks that each query is valid and has its index."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from server.services.ports.documents import PAGE_MAX, Direction, MissingIndex, Query
from server.services.ports.values import check, check_collection, check_field

# Fields that aggregates average. In the index file they mark an index with two order fields.
FIGURES = frozenset({"temp_tenths"})
# Firestore stores this field as a time, for its TTL; a time has no average.
EXPIRY = "expire_at"
OPERATORS = ("==", "<", "<=", ">", ">=")


class Index(msgspec.Struct, frozen=True):
    """A composite index: equality on `equal` (sorted), then `order_by` in one direction.

    `then` is a second order; only figures over a range of another field need it.
    """

    collection: str
    equal: tuple[str, ...]
    order_by: str
    direction: Direction
    then: tuple[str, Direction] | None = None

    @property
    def name(self) -> str:
        """A name that is the same for equal declarations."""
        return ".".join(
            (self.collection, *self.equal, self.order_by, self.direction, *(self.then or ()))
        )


class _Field(msgspec.Struct, rename="camel"):
    field_path: str
    order: Literal["ASCENDING", "DESCENDING"]


class _Declared(msgspec.Struct, rename="camel"):
    collection_group: str
    fields: list[_Field]


class _File(msgspec.Struct):
    indexes: list[_Declared]


def load_indexes(path: Path) -> list[Index]:
    """Read Firestore's index file. Raises OSError or msgspec.DecodeError if it cannot be read."""
    declared = msgspec.json.decode(path.read_bytes(), type=_File).indexes
    return [_index(one.collection_group, one.fields) for one in declared]


def _index(collection: str, fields: list[_Field]) -> Index:
    """Convert a declaration: its last field is the order; an index for figures has two."""
    columns: list[tuple[str, Direction]] = [
        (one.field_path, "asc" if one.order == "ASCENDING" else "desc") for one in fields
    ]
    then = columns.pop() if FIGURES & {name for name, _ in columns} else None
    order_by, direction = columns.pop()
    return Index(collection, tuple(sorted(name for name, _ in columns)), order_by, direction, then)


def check_query(query: Query, declared: Collection[Index]) -> None:
    """Raise ValueError for an invalid query, MissingIndex for a query without its index."""
    check_collection(query.collection)
    if query.direction not in ("asc", "desc"):
        raise ValueError(f"Not a direction: {query.direction!r}")
    for one in query.filters:
        check_field(one.field)
        check(one.value)
        if one.op not in OPERATORS:
            raise ValueError(f"Not an operator: {one.op!r}")
        if one.op != "==" and one.field != query.order_by:
            raise ValueError(f"A range on {one.field} needs order_by={one.field!r}")
    if query.order_by is not None:
        check_field(query.order_by)
    needed = needed_index(query)
    if needed is not None:
        _demand(needed, declared)


def check_limit(limit: int) -> None:
    """Raise ValueError for an impossible page size."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"A limit is 1 to {PAGE_MAX}, not {limit}")


def check_figures(query: Query, field: str, declared: Collection[Index]) -> None:
    """Raise ValueError for a field that cannot be averaged, MissingIndex without its indexes."""
    check_field(field)
    if field == EXPIRY:
        raise ValueError(f"There are no figures of the field {EXPIRY}")
    for needed in figures_indexes(query, field):
        _demand(needed, declared)


def _demand(needed: Index, declared: Collection[Index]) -> None:
    if needed not in declared:
        raise MissingIndex(needed.name)


def needed_index(query: Query) -> Index | None:
    """The composite index that Firestore needs for a query; None if single-field indexes suffice.

    Source: https://firebase.google.com/docs/firestore/query-data/index-overview
    """
    equal = tuple(sorted({one.field for one in query.filters if one.op == "=="}))
    if not equal or query.order_by is None:
        return None
    return Index(query.collection, equal, query.order_by, query.direction)


def figures_indexes(query: Query, field: str) -> Iterator[Index]:
    """The composite indexes that Firestore needs for a field's average, minimum and maximum.

    The average reads the query's range. The minimum and the maximum are the first document in the
    field's ascending and descending order; a range on another field is checked along that order.
    Source: https://firebase.google.com/docs/firestore/query-data/multiple-range-fields
    """
    equal = tuple(sorted({one.field for one in query.filters if one.op == "=="}))
    if field in equal:
        return
    along = query.order_by
    if along is None or along == field:
        if equal:
            yield Index(query.collection, equal, field, "asc")
            yield Index(query.collection, equal, field, "desc")
        return
    yield Index(query.collection, equal, along, query.direction, (field, query.direction))
    yield Index(query.collection, equal, field, "asc", (along, "asc"))
    yield Index(query.collection, equal, field, "desc", (along, "desc"))
