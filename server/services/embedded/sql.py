"""Documents, writes, queries and cursors as SQL and parameters; pure, no database in it.

Names in the SQL pass `schema.table` or `schema.path`; every value is a bound parameter.
"""

# ruff: noqa: S608

from __future__ import annotations

import base64
import math
import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from server.errors import Invalid
from server.services.embedded.schema import Index, order_key, path, table, value
from server.services.firestore.base import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    Delete,
    Document,
    Fields,
    Filter,
    MissingIndex,
    Put,
    Query,
    Update,
    VersionConflict,
    Write,
    required_index,
)

# Firestore's limits, kept here too: https://firebase.google.com/docs/firestore/quotas
DEPTH_MAX = 20
ID_BYTES_MAX = 1500
_RESERVED_ID = re.compile(r"\.|\.\.|__.*__", re.DOTALL)

_OPS = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
# json_set takes at most 127 arguments in SQLite's default build: the body, then two a field.
_FIELDS_PER_SET = 60
_NUMBERS = "('integer', 'real')"

_encoder = msgspec.json.Encoder()
_fields_decoder = msgspec.json.Decoder(dict[str, Any])
_ordered_cursor = msgspec.json.Decoder(tuple[int | float | str | None, str])
_plain_cursor = msgspec.json.Decoder(tuple[str])

Parameter = int | float | str
Conflicts = type[AlreadyExists] | type[VersionConflict] | None


class Statement(NamedTuple):
    """One SQL statement and its bound parameters."""

    sql: str
    parameters: tuple[Parameter, ...]


class Step(NamedTuple):
    """One write. Its statement changes one row, or `conflict` is raised (None: all is well)."""

    statement: Statement
    version: str
    conflict: Conflicts
    collection: str
    id: str


def is_id(doc_id: str) -> bool:
    """Whether a document may have this id, by Firestore's rules. No other id is ever found."""
    try:
        size = len(doc_id.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= ID_BYTES_MAX and "/" not in doc_id and not _RESERVED_ID.fullmatch(doc_id)


def to_json(fields: object) -> str:
    """JSON text of a value; ValueError for what JSON, or 64-bit integers, cannot hold exactly."""
    _check(fields, 0)
    return _encoder.encode(fields).decode()


def to_document(doc_id: str, version: int, body: str) -> Document:
    """A row as a document."""
    return Document(id=doc_id, version=str(version), fields=_fields_decoder.decode(body))


def to_step(write: Write) -> Step:
    """A write as its statement; ValueError for an impossible collection, id, field or value.

    Each write draws its version at random, so that a document that was deleted and created again
    never meets a version somebody still holds, and no counter is shared between processes.
    """
    name = table(write.collection)
    if not is_id(write.id):
        raise ValueError(f"Not a document id: {write.id!r}")
    version = secrets.randbits(63)
    where: tuple[Parameter, ...] = (write.id,)
    condition = "id = ?"
    conflict: Conflicts = VersionConflict
    if not isinstance(write, Create) and write.if_version is not None:
        # No token that was ever given out has other than ASCII in it.
        where += (write.if_version if write.if_version.isascii() else "",)
        condition += " AND version = ?"

    parameters: tuple[Parameter, ...]
    match write:
        case Create():
            text = f"INSERT INTO {name} VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            parameters = (write.id, version, to_json(write.fields))
            conflict = AlreadyExists
        case Put(if_version=None):
            text = (
                f"INSERT INTO {name} VALUES (?, ?, ?) ON CONFLICT (id)"
                " DO UPDATE SET version = excluded.version, body = excluded.body"
            )
            parameters = (write.id, version, to_json(write.fields))
        case Put():
            text = f"UPDATE {name} SET version = ?, body = ? WHERE {condition}"
            parameters = (version, to_json(write.fields), *where)
        case Update():
            setter, values = _setter(write.fields)
            text = f"UPDATE {name} SET version = ?, body = {setter} WHERE {condition}"
            parameters = (version, *values, *where)
        case Delete():
            text = f"DELETE FROM {name} WHERE {condition}"
            parameters = where
            conflict = VersionConflict if write.if_version is not None else None
    token = "" if isinstance(write, Delete) else str(version)
    return Step(Statement(text, parameters), token, conflict, write.collection, write.id)


def _setter(fields: Fields) -> tuple[str, list[Parameter]]:
    """An SQL expression for the body with these fields set, and its parameters."""
    expression = "body"
    names = list(fields)
    for start in range(0, len(names), _FIELDS_PER_SET):
        pairs = "".join(f", {path(n)}, json(?)" for n in names[start : start + _FIELDS_PER_SET])
        expression = f"json_set({expression}{pairs})"
    return expression, [to_json(fields[name]) for name in names]


def _check(item: object, depth: int) -> None:
    kind = type(item)
    if kind is str or kind is bool or item is None:
        return
    if isinstance(item, int) and kind is int:
        if not -(2**63) <= item < 2**63:
            raise ValueError("An integer does not fit into 64 bits")
    elif isinstance(item, float) and kind is float:
        if not math.isfinite(item):
            raise ValueError("A number is not finite")
    elif depth >= DEPTH_MAX:
        raise ValueError("A value is nested too deeply")
    elif isinstance(item, dict):
        for key, inner in item.items():
            if type(key) is not str:
                raise ValueError(f"Not a field name: {key!r}")
            _check(inner, depth + 1)
    elif isinstance(item, list):
        for inner in item:
            _check(inner, depth + 1)
    else:
        raise ValueError(f"Not a JSON value: {kind.__name__}")


def check_query(query: Query, declared: Collection[Index]) -> None:
    """ValueError for a query that is none; MissingIndex for one without its index."""
    if query.direction not in ("asc", "desc"):
        raise ValueError(f"Not a direction: {query.direction!r}")
    for one in query.filters:
        if one.op not in _OPS:
            raise ValueError(f"Not an operator: {one.op!r}")
        if one.op != "==" and one.field != query.order_by:
            raise ValueError(f"A range on {one.field} needs order_by={one.field!r}")
    needed = required_index(query)
    if needed and Index(query.collection, needed[0], *needed[1]) not in declared:
        raise MissingIndex(f"{query.collection}: {needed}")


def select_ids(collection: str, doc_ids: Sequence[str]) -> Statement:
    """Rows of (id, version, body) for those of the ids that exist."""
    known = tuple(doc_id for doc_id in doc_ids if is_id(doc_id))
    places = ", ".join("?" * len(known))
    return Statement(
        f"SELECT id, version, body FROM {table(collection)} WHERE id IN ({places})", known
    )


def select(query: Query, limit: int, cursor: str | None) -> Statement:
    """One page: rows of (id, version, body, order value); `limit + 1` of them if there is more."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"A limit is 1 to {PAGE_MAX}, not {limit}")
    where, parameters = _where(query, cursor)
    key, order = "NULL", "id"
    if query.order_by is not None:
        key = order_key(query.order_by)
        order = f"{key} {query.direction}, id {query.direction}"
    return Statement(
        f"SELECT id, version, body, {key} FROM {table(query.collection)}"
        f" WHERE {where} ORDER BY {order} LIMIT ?",
        (*parameters, limit + 1),
    )


def aggregate(query: Query, field: str | None) -> Statement:
    """One row of (count, average, minimum, maximum); only numbers count for the last three."""
    where, parameters = _where(query, None)
    number = "NULL"
    if field is not None:
        number = f"CASE WHEN json_type(body, {path(field)}) IN {_NUMBERS} THEN {value(field)} END"
    return Statement(
        f"SELECT count(*), avg(x), min(x), max(x)"
        f" FROM (SELECT {number} AS x FROM {table(query.collection)} WHERE {where})",
        parameters,
    )


def _where(query: Query, cursor: str | None) -> tuple[str, tuple[Parameter, ...]]:
    terms = ["TRUE"]
    parameters: tuple[Parameter, ...] = ()
    after = ">" if query.order_by is None or query.direction == "asc" else "<"
    for one in query.filters:
        # Only one bound can be the index's: behind a cursor that is the cursor, so `+` hides this.
        hidden = cursor is not None and one.op[0] == after
        term, values = _condition(one, hidden=hidden)
        terms.append(term)
        parameters += values
    if query.order_by is not None:
        terms.append(f"json_type(body, {path(query.order_by)}) IS NOT NULL")
    if cursor is not None:
        *place, doc_id = _decode_cursor(cursor, ordered=query.order_by is not None)
        if query.order_by is None:
            terms.append("id > ?")
            parameters += (doc_id,)
        else:
            key = order_key(query.order_by)
            terms.append(f"{key} {after}= ? AND ({key} {after} ? OR id {after} ?)")
            parameters += (*place, *place, doc_id)
    return " AND ".join(terms), parameters


def _condition(one: Filter, *, hidden: bool) -> tuple[str, tuple[Parameter, ...]]:
    """A filter as SQL: an indexable comparison of values, and one of types beside it.

    The parameter goes through json_extract as the stored value does, so that both are read alike
    (its strings end at a NUL, which is why equal strings are compared as JSON once more).
    """
    text = to_json(one.value)
    key = value(one.field) if one.op == "==" else order_key(one.field)
    term = f"{'+' if hidden else ''}{key} {_OPS[one.op]} json_extract(?, '$')"
    numeric = not isinstance(one.value, str | bool)
    if one.op == "==" and not numeric:
        return f"{term} AND body -> {path(one.field)} = ?", (text, text)
    types = (
        _NUMBERS if numeric else "('text')" if isinstance(one.value, str) else "('true', 'false')"
    )
    return f"{term} AND json_type(body, {path(one.field)}) IN {types}", (text,)


def encode_cursor(query: Query, order_value: Parameter, doc_id: str) -> str:
    """An opaque place in a query's order, of letters, digits, `-` and `_` only."""
    place: tuple[Parameter | None, ...] = ()
    if query.order_by is not None:
        place = (None if order_value == -math.inf else order_value,)
    return _pack((*place, doc_id))


def _pack(place: tuple[Parameter | None, ...]) -> str:
    return base64.urlsafe_b64encode(_encoder.encode(place)).decode().rstrip("=")


def _decode_cursor(cursor: str, *, ordered: bool) -> tuple[Any, ...]:
    decoder = _ordered_cursor if ordered else _plain_cursor
    try:
        place = decoder.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        _check(list(place), 0)
        genuine = _pack(place) == cursor
    except (ValueError, TypeError, msgspec.DecodeError):
        genuine = False
    if not genuine:
        raise Invalid("Invalid cursor", code="INVALID_CURSOR")
    return (-math.inf, *place[1:]) if place[0] is None else place
