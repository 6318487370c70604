"""Copying collections from one DocumentClient to another, and counting what arrived."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from server.services.firestore.base import (
    BATCH_MAX,
    Document,
    DocumentClient,
    Fields,
    Page,
    Put,
    Query,
)

_encoder = msgspec.json.Encoder(order="deterministic")


class Progress(msgspec.Struct, frozen=True):
    """How far the copy of a collection is: documents seen, and those of them that were written."""

    seen: int
    written: int


class Count(msgspec.Struct, frozen=True):
    """Documents that the source counts, and those of its ids that the target has."""

    source: int
    found: int


async def copy(
    source: DocumentClient, target: DocumentClient, collection: str
) -> AsyncGenerator[Progress, None]:
    """Put each document that is not the same in the target there; its progress with every page.

    It may be given up and begun anew at any time. Other documents of the target stay as they are.
    """
    seen = written = 0
    async for page in _pages(source, collection):
        there = await target.get_many(collection, [document.id for document in page])
        puts = [
            Put(collection, document.id, document.fields)
            for document in page
            if document.id not in there or not _same(document.fields, there[document.id].fields)
        ]
        if puts:
            await target.write(puts)
        seen += len(page)
        written += len(puts)
        yield Progress(seen, written)


async def count(source: DocumentClient, target: DocumentClient, collection: str) -> Count:
    """Ask the source how many documents it has, and the target for each of their ids."""
    found = 0
    async for page in _pages(source, collection):
        found += len(await target.get_many(collection, [document.id for document in page]))
    return Count((await source.aggregate(Query(collection))).count, found)


async def _pages(client: DocumentClient, collection: str) -> AsyncIterator[list[Document]]:
    """All documents by their ids, in pages as large as a batch; an empty one is left out."""
    cursor, page = None, Page([], "")
    while page.next_cursor is not None:
        page = await client.query(Query(collection), BATCH_MAX, cursor)
        if page.documents:
            yield page.documents
        cursor = page.next_cursor


def _same(one: Fields, other: Fields) -> bool:
    """Whether two documents are equal, with 1, 1.0 and True apart."""
    return _encoder.encode(one) == _encoder.encode(other)
