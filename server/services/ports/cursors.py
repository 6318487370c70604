"""Encodes the end of a query's page as an opaque cursor, the same for every store; pure."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import msgspec

from server.common.errors import Invalid
from server.services.ports.documents import Document, Query
from server.services.ports.values import check, is_id

_ordered_decoder = msgspec.json.Decoder(tuple[Any, str])
_unordered_decoder = msgspec.json.Decoder(tuple[str])


class CursorPosition(NamedTuple):
    """The document after which a page begins; `value` is that of `order_by`, None without one."""

    value: Any
    doc_id: str


def encode_cursor(query: Query, last: Document) -> str:
    """The cursor after a document of the query, made of letters, digits, `-` and `_`."""
    key = () if query.order_by is None else (last.fields[query.order_by],)
    return _pack((*key, last.id))


def decode_cursor(query: Query, cursor: str) -> CursorPosition:
    """The position that a cursor means; Invalid if it is not a cursor of such a query."""
    decoder = _unordered_decoder if query.order_by is None else _ordered_decoder
    try:
        key = decoder.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        check(key[0])
        genuine = is_id(key[-1]) and _pack(key) == cursor
    except (ValueError, TypeError, RecursionError, msgspec.DecodeError):
        genuine = False
    if not genuine:
        raise Invalid("Invalid cursor", code="INVALID_CURSOR")
    return CursorPosition(key[0] if len(key) > 1 else None, key[-1])


def _pack(key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")
