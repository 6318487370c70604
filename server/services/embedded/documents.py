"""Stored documents to and from their JSON text."""

from __future__ import annotations

import msgspec

from server.services.firestore.base import Document
from server.services.firestore.values import check

_encoder = msgspec.json.Encoder()
_documents = msgspec.json.Decoder(list[Document])


def to_json(value: object, *, checked: bool = False) -> str:
    """JSON text of a value; ValueError for what JSON, or 64-bit integers, cannot hold exactly,
    unless that was `checked`."""
    if not checked:
        check(value)
    return _encoder.encode(value).decode()


def from_rows(text: str) -> list[Document]:
    """Documents out of the JSON array that `queries.select` asks for."""
    return _documents.decode(text)
