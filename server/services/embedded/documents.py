"""What may be stored: ids and JSON values, by Firestore's limits, to and from their text."""

from __future__ import annotations

import math
import re

import msgspec

from server.services.firestore.base import Document

# https://firebase.google.com/docs/firestore/quotas
DEPTH_MAX = 20
ID_BYTES_MAX = 1500
_NO_ID = re.compile(r"\.|\.\.|__.*__|.*[/\0].*", re.DOTALL)

_encoder = msgspec.json.Encoder()
_documents = msgspec.json.Decoder(list[Document])


def is_id(doc_id: str) -> bool:
    """Whether a document may have this id, by Firestore's rules and without a NUL."""
    try:
        size = len(doc_id.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= ID_BYTES_MAX and not _NO_ID.fullmatch(doc_id)


def to_json(value: object) -> str:
    """JSON text of a value; ValueError for what JSON, or 64-bit integers, cannot hold exactly."""
    check(value)
    return _encoder.encode(value).decode()


def from_rows(text: str) -> list[Document]:
    """Documents out of the JSON array that `queries.select` asks for."""
    return _documents.decode(text)


def check(value: object, depth: int = 0) -> None:
    """ValueError if a value is not JSON of at most DEPTH_MAX levels."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if isinstance(value, int) and kind is int:
        if not -(2**63) <= value < 2**63:
            raise ValueError("An integer does not fit into 64 bits")
    elif isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise ValueError("A number is not finite")
    elif depth >= DEPTH_MAX:
        raise ValueError("A value is nested too deeply")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if type(key) is not str:
                raise ValueError(f"Not a field name: {key!r}")
            check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check(inner, depth + 1)
    else:
        raise ValueError(f"Not a JSON value: {kind.__name__}")
