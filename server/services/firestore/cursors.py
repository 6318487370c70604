"""Where a page ended: a place in a query's order as opaque text, the same for every store; pure."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import msgspec

from server.errors import Invalid
from server.services.firestore.base import Document, Query
from server.services.firestore.values import check, is_id

_ordered_place = msgspec.json.Decoder(tuple[Any, str])
_plain_place = msgspec.json.Decoder(tuple[str])


class Place(NamedTuple):
    """The document behind which a page begins; `value` is its ordered field's, None without one."""

    value: Any
    doc_id: str


def encode_cursor(query: Query, last: Document) -> str:
    """The place of a document in a query's order, of letters, digits, `-` and `_` only."""
    place = () if query.order_by is None else (last.fields[query.order_by],)
    return _pack((*place, last.id))


def decode_cursor(query: Query, cursor: str) -> Place:
    """The place a cursor stands for; Invalid if it is not one of such a query."""
    decoder = _plain_place if query.order_by is None else _ordered_place
    try:
        place = decoder.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        check(place[0])
        genuine = is_id(place[-1]) and _pack(place) == cursor
    except (ValueError, TypeError, RecursionError, msgspec.DecodeError):
        genuine = False
    if not genuine:
        raise Invalid("Invalid cursor", code="INVALID_CURSOR")
    return Place(place[0] if len(place) > 1 else None, place[-1])


def _pack(place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")
