"""Copies collections from one DocumentClient to another, and counts the copied documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from server.services.firestore.copy_progress import CopyPosition
from server.services.firestore.patience import Patience
from server.services.ports.documents import (
    BATCH_MAX,
    DocumentClient,
    Fields,
    Page,
    Put,
    Query,
    StoreUnavailable,
)
from server.services.ports.readings import NewRow, ReadingHistory, ScanPage

T = TypeVar("T")

# Documents in these collections never change, so a copy may continue at a cursor. In another
# collection, it would miss changes of documents before the cursor.
READINGS = "telemetry"
WRITTEN_ONCE = (READINGS, "audit_log")

# A commit this small ends in time even on a slow store; after failures it is smaller still.
WRITES_AT_ONCE, LEAST_AT_ONCE = 100, 10
# A page after failures.
LEAST_PAGE = 25
# An emulator sorts the whole collection for each page: after a page that took so many seconds, the
# next one is twice as large, up to so many pages at once.
SLOW_PAGE_S, PAGES_AT_ONCE = 1.0, 10

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(dict[str, Any])


class Progress(msgspec.Struct, frozen=True):
    """The progress of a collection's copy: documents seen, and documents written by this run.

    A later copy may continue at `position`; None after the last page.
    """

    seen: int
    written: int
    position: CopyPosition | None = None


class Count(msgspec.Struct, frozen=True):
    """The number of documents in the source, and how many of their ids the target has."""

    source: int
    found: int


async def copy(
    source: DocumentClient,
    target: DocumentClient,
    collection: str,
    position: CopyPosition | None = None,
) -> AsyncGenerator[Progress, None]:
    """Write each document that is missing or different in the target; yield progress at each page.

    The copy may be stopped at any time and started again, from the beginning or from a
    `position`; the documents before it count as seen. Other documents of the target stay as they
    are.
    """
    seen, written = position.seen if position else 0, 0
    async for page in _pages(source, collection, position.cursor if position else None):
        ids = [document.id for document in page.documents]
        there = await Patience().call(partial(target.get_many, collection, ids))
        puts = [
            Put(collection, document.id, _storable(document.fields))
            for document in page.documents
            if document.id not in there or not _same(document.fields, there[document.id].fields)
        ]
        await patiently(puts, target.write)
        seen += len(page.documents)
        written += len(puts)
        yield Progress(
            seen, written, CopyPosition(page.next_cursor, seen) if page.next_cursor else None
        )


async def patiently(writes: Sequence[T], write: Callable[[Sequence[T]], Awaitable[object]]) -> None:
    """Apply writes in small commits, with retries for minutes while the store does not answer.

    Raises the errors of `write`. A retry may fail because the attempt before it succeeded.
    """
    start, patience = 0, Patience(WRITES_AT_ONCE, LEAST_AT_ONCE)

    async def write_some() -> int:
        some = writes[start : start + patience.size]
        await write(some)
        return len(some)

    while start < len(writes):
        start += await patience.call(write_some)


async def write_readings(
    history: ReadingHistory, rows: Sequence[NewRow], page: Sequence[NewRow]
) -> None:
    """Store those `rows` of a page that are missing, in small commits like `patiently`.

    None is stored twice, and each of several equal ones is stored.
    """
    doubted = False

    async def write(some: Sequence[NewRow]) -> None:
        nonlocal doubted
        if doubted:
            # The attempt that failed may have taken effect, and may have been for more rows than
            # these. Equal rows can only be counted all together.
            missing = {row.id for row in await history.missing(page)}
            some = [row for row in some if row.id in missing]
        try:
            if some:
                await history.write([], some)
        except StoreUnavailable:
            doubted = True
            raise

    await patiently(rows, write)


class _Page(NamedTuple):
    """A page of a source of readings.

    `before` are rows of the page before that have the time of one of these: they are stored
    already, and a row that is equal to one of them is another reading.
    """

    rows: list[NewRow]
    before: list[NewRow]
    next_cursor: str | None

    async def missing(self, history: ReadingHistory) -> list[NewRow]:
        """The rows that a history does not have, if it has those before."""
        stored = {row.id for row in self.before}
        found = await Patience().call(partial(history.missing, self.all))
        return [row for row in found if row.id not in stored]

    @property
    def all(self) -> list[NewRow]:
        return [*self.before, *self.rows]


async def _reading_pages(history: ReadingHistory, cursor: str | None) -> AsyncIterator[_Page]:
    """All readings from a cursor on; an empty page is left out.

    Only the last page of those that were read at once has a cursor.
    """
    last: list[NewRow] = []
    patience, at_once = Patience(BATCH_MAX, LEAST_PAGE), 1
    monotonic = asyncio.get_running_loop().time

    async def scan() -> ScanPage:
        whole = patience.size == BATCH_MAX
        return await history.scan(patience.size * at_once if whole else patience.size, cursor)

    while True:
        began = monotonic()
        found, cursor = await patience.call(scan)
        if patience.size < BATCH_MAX:
            at_once = 1
        elif monotonic() - began > SLOW_PAGE_S:
            at_once = min(2 * at_once, PAGES_AT_ONCE)
        for start in range(0, len(found), BATCH_MAX):
            rows = found[start : start + BATCH_MAX]
            times = {_moment(row) for row in rows}
            before = [row for row in last if _moment(row) in times]
            yield _Page(rows, before, cursor if start + BATCH_MAX >= len(found) else None)
            last = rows
        if cursor is None:
            return


def _moment(row: NewRow) -> tuple[str, str, int]:
    return row.reading.tenant_id, row.reading.device_id, row.reading.timestamp_ms


async def copy_readings(
    source: ReadingHistory, target: ReadingHistory, position: CopyPosition | None = None
) -> AsyncGenerator[Progress, None]:
    """Store each reading that the target does not have; yield progress at each page, as `copy`."""
    seen, written = position.seen if position else 0, 0
    async for page in _reading_pages(source, position.cursor if position else None):
        missing = await page.missing(target)
        await write_readings(target, missing, page.all)
        seen += len(page.rows)
        written += len(missing)
        cursor = page.next_cursor
        yield Progress(seen, written, CopyPosition(cursor, seen) if cursor else None)


async def count_readings(source: ReadingHistory, target: ReadingHistory) -> Count:
    """Count the source's readings, and how many of them the target has."""
    total = found = 0
    async for page in _reading_pages(source, None):
        total += len(page.rows)
        found += len(page.rows) - len(await page.missing(target))
    return Count(total, found)


async def count(source: DocumentClient, target: DocumentClient, collection: str) -> Count:
    """Count the source's documents, and how many of their ids the target has."""
    total = found = 0
    async for page in _pages(source, collection):
        ids = [document.id for document in page.documents]
        total += len(ids)
        found += len(await Patience().call(partial(target.get_many, collection, ids)))
    return Count(total, found)


async def total_of(client: DocumentClient, collection: str) -> int:
    """The number of documents in a collection. Raises StoreUnavailable if that takes too long."""
    return (await client.aggregate(Query(collection))).count


async def _pages(
    client: DocumentClient, collection: str, cursor: str | None = None
) -> AsyncIterator[Page]:
    """All documents in the order of their ids, in pages of a batch; an empty page is left out."""
    page = Page([], cursor or "")
    patience = Patience(BATCH_MAX, LEAST_PAGE)

    async def next_page() -> Page:
        return await client.query(Query(collection), patience.size, page.next_cursor or None)

    while page.next_cursor is not None:
        page = await patience.call(next_page)
        if page.documents:
            yield page


def _storable(fields: Fields) -> Fields:
    """The fields in a form that every store takes.

    NaN and infinity, which Firestore may hold and JSON cannot express, become null, as in `_same`.
    """
    return _decoder.decode(_encoder.encode(fields))


def _same(one: Fields, other: Fields) -> bool:
    """Whether two documents are equal; 1, 1.0 and True differ."""
    return _encoder.encode(one) == _encoder.encode(other)
