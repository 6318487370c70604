"""Imports the existing server's rows into the stores, page by page, and checks the result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Protocol

from server.common.clock import Clock
from server.legacy.convert_rows import Conversion, Converted, LegacyRow, RefusedRow
from server.services.firestore.copy import patiently, write_readings
from server.services.ports.documents import (
    BATCH_MAX,
    AlreadyExists,
    Create,
    DocumentClient,
)
from server.services.ports.readings import NewRow, ReadingHistory

# How often a page is retried because another import of the same file wrote some of its rows first.
CHANGES_MAX = 10


class LegacyRows(Protocol):
    """The existing server's database; its calls block for a moment and raise OSError."""

    @property
    def tables(self) -> Sequence[str]: ...
    def count(self, table: str) -> int: ...
    def page(self, table: str, after: int | None, limit: int) -> Sequence[LegacyRow]: ...
    def newest(self, table: str, limit: int) -> Sequence[LegacyRow]: ...


class Tally:
    """Counts items and keeps the first few, so that a report stays short for millions of rows."""

    def __init__(self, examples_max: int) -> None:
        self._examples_max = examples_max
        self.count = 0
        self.examples: list[str] = []

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < self._examples_max:
            self.examples.append(example)


class ImportTarget(Protocol):
    """Where the rows of a table go."""

    async def missing(self, items: Mapping[str, Converted]) -> list[str]:
        """The ids of those items that are not stored yet."""

    async def write(self, items: Sequence[Converted]) -> None:
        """Store items; raises AlreadyExists if another process wrote one of them first."""


class DocumentTarget(ImportTarget):
    """A collection of documents."""

    def __init__(self, client: DocumentClient, collection: str) -> None:
        self._client = client
        self._collection = collection

    async def missing(self, items: Mapping[str, Converted]) -> list[str]:
        there = await self._client.get_many(self._collection, list(items))
        return [doc_id for doc_id in items if doc_id not in there]

    async def write(self, items: Sequence[Converted]) -> None:
        creates = [one.item for one in items if isinstance(one.item, Create)]
        await patiently(creates, self._client.write)


class ReadingTarget(ImportTarget):
    """The history of readings."""

    def __init__(self, history: ReadingHistory) -> None:
        self._history = history
        # All rows of the page, some of which are missing.
        self._page: list[NewRow] = []

    async def missing(self, items: Mapping[str, Converted]) -> list[str]:
        self._page = [one.item for one in items.values() if isinstance(one.item, NewRow)]
        return [row.id for row in await self._history.missing(self._page)]

    async def write(self, items: Sequence[Converted]) -> None:
        rows = [one.item for one in items if isinstance(one.item, NewRow)]
        await write_readings(self._history, rows, self._page)


class TableImport:
    """The import of one table, which may be stopped at any time and started again.

    A stored row is left as it is. A row's document has the same id in every import.
    """

    def __init__(
        self,
        source: LegacyRows,
        table: str,
        conversion: Conversion,
        target: ImportTarget,
        clock: Clock,
        examples_max: int,
    ) -> None:
        self._source = source
        self._table = table
        self._conversion = conversion
        self._target = target
        self._clock = clock
        self._examples_max = examples_max
        self._last = -(2**63)
        self.rows = self.written = 0
        self.there = Tally(examples_max)
        self.refused: dict[str, Tally] = {}
        self.noted: dict[str, Tally] = {}
        self.expected = self.found = 0

    async def run(self) -> AsyncGenerator[int, None]:
        """Store the missing rows; yield the number of rows read so far after each page."""
        for page in self._pages():
            items = {}
            for row in page:
                converted = self._conversion.convert(self._table, row)
                if isinstance(converted, RefusedRow):
                    self._count(self.refused, converted.why, converted.example)
                else:
                    items[converted.item.id] = converted
            if items:
                await self._write(items)
            self.rows += len(page)
            self._last = _rowid(page[-1])
            yield self.rows

    async def check(self) -> AsyncGenerator[int, None]:
        """Read the rows again and look up each one; yield the number of rows so far.

        Rows that have expired since may have been deleted, and are not looked up.
        """
        rows = 0
        for whole_page in self._pages():
            page = [row for row in whole_page if _rowid(row) <= self._last]
            if not page:
                return
            items = {}
            for row in page:
                converted = self._conversion.convert(self._table, row)
                if isinstance(converted, Converted) and self._kept(converted):
                    items[converted.item.id] = converted
            self.expected += len(items)
            self.found += len(items) - len(await self._target.missing(items)) if items else 0
            rows += len(page)
            yield rows

    def _pages(self) -> Iterator[Sequence[LegacyRow]]:
        last = None
        while page := self._source.page(self._table, last, BATCH_MAX):
            yield page
            last = _rowid(page[-1])

    async def _write(self, items: Mapping[str, Converted]) -> None:
        for _ in range(CHANGES_MAX):
            missing = await self._target.missing(items)
            try:
                await self._target.write([items[doc_id] for doc_id in missing])
            except AlreadyExists:
                continue  # another process wrote one of them first
            break
        else:
            raise OSError(f"{self._table}: another process keeps writing the same rows")
        self.written += len(missing)
        new = set(missing)
        for doc_id, one in items.items():
            if doc_id not in new:
                self.there.add(one.name)
                continue
            for note in one.notes:
                self._count(self.noted, note, one.name)

    def _kept(self, converted: Converted) -> bool:
        return converted.expire_at > self._clock.now_ms()

    def _count(self, tallies: dict[str, Tally], why: str, example: str) -> None:
        tallies.setdefault(why, Tally(self._examples_max)).add(example)


def _rowid(row: LegacyRow) -> int:
    rowid = row["rowid"]
    assert isinstance(rowid, int)
    return rowid
