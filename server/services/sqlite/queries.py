"""Builds the SQL of queries; pure, without a database."""

# schema.table and schema.path check the names in the SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from server.services.ports.cursors import decode_cursor
from server.services.ports.documents import Filter, Query
from server.services.ports.indexes import needed_index
from server.services.ports.values import is_id
from server.services.sqlite.documents import to_json
from server.services.sqlite.schema import (
    NULL_FIRST,
    OWNED,
    order_key,
    own_index,
    owned,
    path,
    table,
    value,
)

_OPS = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_NUMBERS = "('integer', 'real')"
Parameter = int | str


class Statement(NamedTuple):
    """One SQL statement and its bound parameters."""

    sql: str
    parameters: tuple[Parameter, ...]


def select_ids(collection: str, doc_ids: Sequence[str]) -> Statement:
    """Select the documents with these ids, in the form of `select`."""
    known = tuple(doc_id for doc_id in doc_ids if is_id(doc_id))
    placeholders = ", ".join("?" * len(known))
    return Statement(_one_row(f"{table(collection)} WHERE id IN ({placeholders})"), known)


def select(query: Query, limit: int, cursor: str | None) -> Statement:
    """Select a page as one row with a JSON array of documents: `limit + 1` if there are more."""
    where, parameters = _where(query, cursor)
    order = "id"
    if query.order_by is not None:
        order = f"{order_key(query.order_by)} {query.direction}, id {query.direction}"
    source = f"{_source(query)} WHERE {where} ORDER BY {order} LIMIT ?"
    return Statement(_one_row(source), (*parameters, limit + 1))


def select_last(query: Query) -> Statement:
    """Select the last document of an ordered query, in the form of `select`.

    The index of the query is read from its end: none is needed for the opposite direction.
    """
    assert query.order_by is not None
    where, parameters = _where(query, None)
    opposite = "desc" if query.direction == "asc" else "asc"
    order = f"{order_key(query.order_by)} {opposite}, id {opposite}"
    return Statement(
        _one_row(f"{_source(query)} WHERE {where} ORDER BY {order} LIMIT 1"), parameters
    )


def _one_row(source: str) -> str:
    """Select all documents of a source in one row: each row would cost a wait for Python's lock."""
    document = (
        """'{"id":' || json_quote(id) || ',"version":"' || version"""
        """ || '","fields":' || body || '}'"""
    )
    return (
        f"SELECT '[' || ifnull(group_concat({document}), '') || ']'"
        f" FROM (SELECT id, version, body FROM {source})"
    )


def aggregate(query: Query, field: str | None) -> Statement:
    """Select (count, average, minimum, maximum); the last three take only numbers."""
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
    """The table with the index for the query, because SQLite only guesses the best index."""
    needed = None if owned(query) else needed_index(query)
    hint = "" if needed is None else f' INDEXED BY "{own_index(needed).name}"'
    return table(query.collection) + hint


def _where(query: Query, cursor: str | None) -> tuple[str, tuple[Parameter, ...]]:
    terms = ["TRUE"]
    parameters: tuple[Parameter, ...] = ()
    if (tenant := owned(query)) is not None:
        terms, parameters = [OWNED], (to_json(tenant.value),)
    after = ">" if query.order_by is None or query.direction == "asc" else "<"
    for one in query.filters:
        # SQLite uses only one bound of the index on this side. It must use the cursor's, so `+`
        # hides the filter's.
        hidden = cursor is not None and one.op[0] == after
        term, values = _condition(one, hidden=hidden)
        terms.append(term)
        parameters += values
    if query.order_by is not None:
        terms.append(f"json_type(body, {path(query.order_by)}) IS NOT NULL")
    if cursor is not None:
        position = decode_cursor(query, cursor)
        if query.order_by is None:
            terms.append("id > ?")
            parameters += (position.doc_id,)
        else:
            key, bound = order_key(query.order_by), f"ifnull(json_extract(?, '$'), {NULL_FIRST})"
            terms.append(f"{key} {after}= {bound} AND ({key} {after} {bound} OR id {after} ?)")
            text = to_json(position.value)
            parameters += (text, text, position.doc_id)
    return " AND ".join(terms), parameters


def _condition(one: Filter, *, hidden: bool) -> tuple[str, tuple[Parameter, ...]]:
    """A filter as SQL: a comparison of values that can use an index, and one of types.

    The parameter goes through json_extract like the stored value, so that both are converted alike.
    json_extract cuts strings at a NUL, so equal strings are also compared as JSON.
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
