"""Converts documents to and from their stored JSON text."""

from __future__ import annotations

import msgspec

from server.services.ports.documents import Document
from server.services.ports.values import check

_encoder = msgspec.json.Encoder()
_documents = msgspec.json.Decoder(list[Document])


def to_json(value: object) -> str:
    """The JSON text of a value or a model.

    Raises ValueError for a value that JSON or a 64-bit integer cannot hold exactly.
    """
    if not isinstance(value, msgspec.Struct):  # the values of a model are already checked
        check(value)
    return _encoder.encode(value).decode()


def from_rows(text: str) -> list[Document]:
    """The documents in the JSON array that `queries.select` returns."""
    return _documents.decode(text)
