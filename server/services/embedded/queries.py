"""Queries, and the cursors between their pages, as SQL; pure, no database in it."""

# Names in the SQL pass schema.table or schema.path; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from server.errors import Invalid
from server.services.embedded.documents import check, is_id, to_json
from server.services.embedded.schema import (
    NULL_FIRST,
    Index,
    index_name,
    order_key,
    path,
    table,
    value,
)
from server.services.firestore.base import (
    PAGE_MAX,
    Document,
    Filter,
    MissingIndex,
    Query,
    required_index,
)

_OPS = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_NUMBERS = "('integer', 'real')"
_ordered_place = msgspec.json.Decoder(tuple[Any, str])
_plain_place = msgspec.json.Decoder(tuple[str])

Parameter = int | str


class Statement(NamedTuple):
    """One SQL statement and its bound parameters."""

    sql: str
    parameters: tuple[Parameter, ...]


def check_query(query: Query, declared: Collection[Index]) -> None:
    """ValueError for a query that is none; MissingIndex for one without its index."""
    if query.direction not in ("asc", "desc"):
        raise ValueError(f"Not a direction: {query.direction!r}")
    for one in query.filters:
        if one.op not in _OPS:
            raise ValueError(f"Not an operator: {one.op!r}")
        if one.op != "==" and one.field != query.order_by:
            raise ValueError(f"A range on {one.field} needs order_by={one.field!r}")
    needed = _needed(query)
    if needed is not None and needed not in declared:
        raise MissingIndex(index_name(needed))


def _needed(query: Query) -> Index | None:
    needed = required_index(query)
    return needed and Index(query.collection, needed[0], *needed[1])


def select_ids(collection: str, doc_ids: Sequence[str]) -> Statement:
    """Those of the ids that exist, as `select` gives them."""
    known = tuple(doc_id for doc_id in doc_ids if is_id(doc_id))
    places = ", ".join("?" * len(known))
    return Statement(_one_row(f"{table(collection)} WHERE id IN ({places})"), known)


def select(query: Query, limit: int, cursor: str | None) -> Statement:
    """One page, of `limit + 1` documents if there is more: one row with a JSON array of them."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"A limit is 1 to {PAGE_MAX}, not {limit}")
    where, parameters = _where(query, cursor)
    order = "id"
    if query.order_by is not None:
        order = f"{order_key(query.order_by)} {query.direction}, id {query.direction}"
    source = f"{_source(query)} WHERE {where} ORDER BY {order} LIMIT ?"
    return Statement(_one_row(source), (*parameters, limit + 1))


def _one_row(source: str) -> str:
    """All documents of a source in one row: each row would cost a wait for Python's lock."""
    document = (
        """'{"id":' || json_quote(id) || ',"version":"' || version"""
        """ || '","fields":' || body || '}'"""
    )
    return (
        f"SELECT '[' || ifnull(group_concat({document}), '') || ']'"
        f" FROM (SELECT id, version, body FROM {source})"
    )


def aggregate(query: Query, field: str | None) -> Statement:
    """One row of (count, average, minimum, maximum); only numbers count for the last three."""
    where, parameters = _where(query, None)
    number = "NULL"
    if field is not None:
        number = f"CASE WHEN json_type(body, {path(field)}) IN {_NUMBERS} THEN {value(field)} END"
    return Statement(
        "SELECT count(*), avg(x), min(x), max(x)"
        f" FROM (SELECT {number} AS x FROM {_source(query)} WHERE {where})",
        parameters,
    )


def _source(query: Query) -> str:
    """The table, read by the query's declared index: SQLite's own choice is a guess."""
    needed = _needed(query)
    hint = "" if needed is None else f' INDEXED BY "{index_name(needed)}"'
    return table(query.collection) + hint


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
            key, bound = order_key(query.order_by), f"ifnull(json_extract(?, '$'), {NULL_FIRST})"
            terms.append(f"{key} {after}= {bound} AND ({key} {after} {bound} OR id {after} ?)")
            text = to_json(place[0])
            parameters += (text, text, doc_id)
    return " AND ".join(terms), parameters


def _condition(one: Filter, *, hidden: bool) -> tuple[str, tuple[Parameter, ...]]:
    """A filter as SQL: an indexable comparison of values, and one of types beside it.

    The parameter goes through json_extract as the stored value does, so that both are read alike
    (its strings end at a NUL, which is why equal strings are compared as JSON once more).
    """
    text = to_json(one.value)
    key = value(one.field) if one.op == "==" else order_key(one.field)
    term = f"{'+' if hidden else ''}{key} {_OPS[one.op]} json_extract(?, '$')"
    match one.value:
        case bool() | str() if one.op == "==":
            return f"{term} AND body -> {path(one.field)} = ?", (text, text)
        case bool():
            types = "('true', 'false')"
        case str():
            types = "('text')"
        case _:
            types = _NUMBERS
    return f"{term} AND json_type(body, {path(one.field)}) IN {types}", (text,)


def encode_cursor(query: Query, last: Document) -> str:
    """The place of a document in a query's order, of letters, digits, `-` and `_` only."""
    place = () if query.order_by is None else (last.fields[query.order_by],)
    return _pack((*place, last.id))


def _pack(place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode_cursor(cursor: str, *, ordered: bool) -> tuple[Any, ...]:
    decoder = _ordered_place if ordered else _plain_place
    try:
        place = decoder.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        check(place[0])
        genuine = is_id(place[-1]) and _pack(place) == cursor
    except (ValueError, TypeError, RecursionError, msgspec.DecodeError):
        genuine = False
    if not genuine:
        raise Invalid("Invalid cursor", code="INVALID_CURSOR")
    return place
