"""Copying collections from one DocumentClient to another, and counting what arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import msgspec

from server.services.firestore.base import (
    BATCH_MAX,
    DocumentClient,
    Fields,
    Page,
    Put,
    Query,
    StoreUnavailable,
    Write,
)
from server.services.firestore.places import Place

# Their documents never change. A place in another collection would hide what changed before it.
WRITTEN_ONCE = ("telemetry", "audit_log")

# A commit this small ends in time on a store that is slow today.
WRITES_AT_ONCE = 100
# Who copies a whole database can wait where a request cannot.
PAUSES_S = (0.5, 1.0, 2.0, 4.0)

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(dict[str, Any])


class Progress(msgspec.Struct, frozen=True):
    """How far the copy of a collection is: documents seen, those of them that were written now, and
    where a later copy may go on (None: the last page is behind)."""

    seen: int
    written: int
    place: Place | None = None


class Count(msgspec.Struct, frozen=True):
    """Documents that the source counts, and those of its ids that the target has."""

    source: int
    found: int


async def copy(
    source: DocumentClient, target: DocumentClient, collection: str, place: Place | None = None
) -> AsyncGenerator[Progress, None]:
    """Put each document that is not the same in the target there; its progress with every page.

    It may be given up and begun anew at any time, from the start or from a place; what lies before
    a place counts as seen. Other documents of the target stay as they are.
    """
    seen, written = place.seen if place else 0, 0
    async for page in _pages(source, collection, place.cursor if place else None):
        there = await target.get_many(collection, [document.id for document in page.documents])
        puts = [
            Put(collection, document.id, _storable(document.fields))
            for document in page.documents
            if document.id not in there or not _same(document.fields, there[document.id].fields)
        ]
        await write_patiently(target, puts)
        seen += len(page.documents)
        written += len(puts)
        yield Progress(seen, written, Place(page.next_cursor, seen) if page.next_cursor else None)


async def write_patiently(target: DocumentClient, writes: Sequence[Write]) -> None:
    """Apply writes a few at a time, tried again after PAUSES_S while the store does not answer.

    Raises what `write` raises; a write that was tried again may meet its own earlier success.
    """
    for start in range(0, len(writes), WRITES_AT_ONCE):
        some = writes[start : start + WRITES_AT_ONCE]
        for pause_s in PAUSES_S:
            try:
                await target.write(some)
            except StoreUnavailable:
                await asyncio.sleep(pause_s)
            else:
                break
        else:
            await target.write(some)


async def count(source: DocumentClient, target: DocumentClient, collection: str) -> Count:
    """Ask the source how many documents it has, and the target for each of their ids."""
    found = 0
    async for page in _pages(source, collection):
        ids = [document.id for document in page.documents]
        found += len(await target.get_many(collection, ids))
    return Count(await size(source, collection), found)


async def size(client: DocumentClient, collection: str) -> int:
    """How many documents there are now."""
    return (await client.aggregate(Query(collection))).count


async def _pages(
    client: DocumentClient, collection: str, cursor: str | None = None
) -> AsyncIterator[Page]:
    """All documents by their ids, in pages as large as a batch; an empty one is left out."""
    page = Page([], cursor or "")
    while page.next_cursor is not None:
        page = await client.query(Query(collection), BATCH_MAX, page.next_cursor or None)
        if page.documents:
            yield page


def _storable(fields: Fields) -> Fields:
    """The fields as every store takes them: NaN and infinity, which Firestore may hold and JSON has
    no words for, become null, as `_same` reads them."""
    return _decoder.decode(_encoder.encode(fields))


def _same(one: Fields, other: Fields) -> bool:
    """Whether two documents are equal, with 1, 1.0 and True apart."""
    return _encoder.encode(one) == _encoder.encode(other)
