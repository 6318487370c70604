"""Which indexes there are, which a query needs, and whether it may be asked at all; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from server.services.firestore.base import (
    PAGE_MAX,
    Direction,
    MissingIndex,
    Query,
    required_index,
)
from server.services.firestore.values import check, check_collection, check_field

# Fields that aggregates take figures of: in the index file they tell where an order begins.
FIGURES = frozenset({"temp_tenths"})
# Stored as a time, for Firestore's TTL, which has no average.
EXPIRY = "expire_at"
OPERATORS = ("==", "<", "<=", ">", ">=")


class Index(msgspec.Struct, frozen=True):
    """A composite index: equality on `equal` (sorted), then `order_by` in one direction.

    `then` is a second order, which only figures over a range of another field need.
    """

    collection: str
    equal: tuple[str, ...]
    order_by: str
    direction: Direction
    then: tuple[str, Direction] | None = None

    @property
    def name(self) -> str:
        """The same for the same declaration."""
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
    """Read Firestore's index file. OSError or msgspec.DecodeError when it cannot be read."""
    declared = msgspec.json.decode(path.read_bytes(), type=_File).indexes
    return [_index(one.collection_group, one.fields) for one in declared]


def _index(collection: str, fields: list[_Field]) -> Index:
    """The last field is the order; of an index for figures, the last two are."""
    places: list[tuple[str, Direction]] = [
        (one.field_path, "asc" if one.order == "ASCENDING" else "desc") for one in fields
    ]
    then = places.pop() if FIGURES & {name for name, _ in places} else None
    order_by, direction = places.pop()
    return Index(collection, tuple(sorted(name for name, _ in places)), order_by, direction, then)


def check_query(query: Query, declared: Collection[Index]) -> None:
    """ValueError for a query that is none; MissingIndex for one without its index."""
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
    """ValueError for a page of an impossible size."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"A limit is 1 to {PAGE_MAX}, not {limit}")


def check_figures(query: Query, field: str, declared: Collection[Index]) -> None:
    """ValueError for a field without figures; MissingIndex where theirs are not declared."""
    check_field(field)
    if field == EXPIRY:
        raise ValueError(f"There are no figures of the field {EXPIRY}")
    for needed in figures_indexes(query, field):
        _demand(needed, declared)


def _demand(needed: Index, declared: Collection[Index]) -> None:
    if needed not in declared:
        raise MissingIndex(needed.name)


def needed_index(query: Query) -> Index | None:
    """The composite index of a query, or None if it needs none."""
    needed = required_index(query)
    return needed and Index(query.collection, needed[0], *needed[1])


def figures_indexes(query: Query, field: str) -> Iterator[Index]:
    """The composite indexes that Firestore needs for a field's average, minimum and maximum.

    The average reads the query's own range. An extreme is the first document in the field's order,
    either way; a range on another field is checked along that order.
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
