"""Queries as SQL; pure, no database in it."""

# Names in the SQL pass schema.table or schema.path; values are bound.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from server.services.embedded.documents import to_json
from server.services.embedded.schema import NULL_FIRST, order_key, own_index, path, table, value
from server.services.firestore.base import Filter, Query
from server.services.firestore.cursors import decode_cursor
from server.services.firestore.indexes import needed_index
from server.services.firestore.values import is_id

_OPS = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_NUMBERS = "('integer', 'real')"
Parameter = int | str


class Statement(NamedTuple):
    """One SQL statement and its bound parameters."""

    sql: str
    parameters: tuple[Parameter, ...]


def select_ids(collection: str, doc_ids: Sequence[str]) -> Statement:
    """Those of the ids that exist, as `select` gives them."""
    known = tuple(doc_id for doc_id in doc_ids if is_id(doc_id))
    places = ", ".join("?" * len(known))
    return Statement(_one_row(f"{table(collection)} WHERE id IN ({places})"), known)


def select(query: Query, limit: int, cursor: str | None) -> Statement:
    """One page, of `limit + 1` documents if there is more: one row with a JSON array of them."""
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
    """The table, read by the index for the query: SQLite's own choice is a guess."""
    needed = needed_index(query)
    hint = "" if needed is None else f' INDEXED BY "{own_index(needed).name}"'
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
        place = decode_cursor(query, cursor)
        if query.order_by is None:
            terms.append("id > ?")
            parameters += (place.doc_id,)
        else:
            key, bound = order_key(query.order_by), f"ifnull(json_extract(?, '$'), {NULL_FIRST})"
            terms.append(f"{key} {after}= {bound} AND ({key} {after} {bound} OR id {after} ?)")
            text = to_json(place.value)
            parameters += (text, text, place.doc_id)
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
