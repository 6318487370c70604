"""Builds Firestore's structured queries from queries and aggregates; pure, without calls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from google.cloud.firestore_v1 import types

from server.services.firestore.google.values import encode_field, field_path
from server.services.ports.cursors import CursorPosition
from server.services.ports.documents import Direction, Filter, Query

ID = "__name__"
COUNT, AVERAGE = "count", "average"

StructuredQuery = types.StructuredQuery.pb()
Aggregation = types.StructuredAggregationQuery.pb()
_OPS = {
    "==": types.StructuredQuery.FieldFilter.Operator.EQUAL,
    "<": types.StructuredQuery.FieldFilter.Operator.LESS_THAN,
    "<=": types.StructuredQuery.FieldFilter.Operator.LESS_THAN_OR_EQUAL,
    ">": types.StructuredQuery.FieldFilter.Operator.GREATER_THAN,
    ">=": types.StructuredQuery.FieldFilter.Operator.GREATER_THAN_OR_EQUAL,
}
_DIRECTIONS = {
    "asc": types.StructuredQuery.Direction.ASCENDING,
    "desc": types.StructuredQuery.Direction.DESCENDING,
}
_AND = types.StructuredQuery.CompositeFilter.Operator.AND


def page(query: Query, limit: int, position: CursorPosition | None, root: str) -> Any:
    """A query for the first `limit` documents after `position`; `root` is the root path."""
    asked = _asked(query, query.filters, _orders(query))
    asked.limit.value = limit
    if position is not None:
        cursor = asked.start_at  # `before` stays false: the page begins after the cursor
        if query.order_by is not None:
            encode_field(cursor.values.add(), query.order_by, position.value)
        cursor.values.add().reference_value = f"{root}/{query.collection}/{position.doc_id}"
    return asked


def count(query: Query) -> Any:
    """An aggregation that counts the query's documents.

    It is separate: together with an average, Firestore counts only documents that have the field.
    """
    asked = Aggregation()
    asked.structured_query.CopyFrom(_asked(query, query.filters, _orders(query)))
    one = asked.aggregations.add(alias=COUNT)
    one.count.SetInParent()
    return asked


def average(query: Query, field: str) -> Any:
    """An aggregation of a field's average, over the documents in which it is a number."""
    orders = _orders(query)
    if field != query.order_by:
        orders = [*orders, (field, query.direction)]
    asked = Aggregation()
    asked.structured_query.CopyFrom(_asked(query, _numbers(query, field), orders))
    asked.aggregations.add(alias=AVERAGE).avg.field.field_path = field_path(field)
    return asked


def extreme(query: Query, field: str, direction: Direction) -> Any:
    """A query for the document with a field's least ("asc") or greatest ("desc") number."""
    orders: list[tuple[str, Direction]] = [(field, direction)]
    if query.order_by not in (None, field):
        orders.append((query.order_by or "", direction))
    asked = _asked(query, _numbers(query, field), orders)
    asked.select.fields.add().field_path = field_path(field)
    asked.limit.value = 1
    return asked


def _orders(query: Query) -> list[tuple[str, Direction]]:
    return [] if query.order_by is None else [(query.order_by, query.direction)]


def _numbers(query: Query, field: str) -> tuple[Filter, ...]:
    """The query's filters and one for numbers: a number compares only with numbers."""
    return (*query.filters, Filter(field, ">=", -math.inf))


def _asked(query: Query, filters: Iterable[Filter], orders: list[tuple[str, Direction]]) -> Any:
    asked = StructuredQuery()
    asked.from_.add().collection_id = query.collection
    for one in filters:
        asked.where.composite_filter.op = _AND
        term = asked.where.composite_filter.filters.add().field_filter
        term.field.field_path = field_path(one.field)
        term.op = _OPS[one.op]
        encode_field(term.value, one.field, one.value)
    for name, direction in orders:
        _order(asked, field_path(name), direction)
    _order(asked, ID, orders[-1][1] if orders else "asc")
    return asked


def _order(asked: Any, path: str, direction: Direction) -> None:
    order = asked.order_by.add()
    order.field.field_path = path
    order.direction = _DIRECTIONS[direction]
