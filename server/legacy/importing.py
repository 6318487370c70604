"""Writes the existing server's rows into the stores, a page at a time, and counts what is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from server.clock import Clock
from server.legacy.conversion import Conversion, Converted, Refused, Row
from server.services.firestore.base import (
    BATCH_MAX,
    AlreadyExists,
    Create,
    Document,
    DocumentClient,
)
from server.services.firestore.copying import write_patiently

# As often may another import of the same file be ahead with the same page.
CHANGES_MAX = 10


class LegacyRows(Protocol):
    """The existing server's database; its calls block for a moment and raise OSError."""

    @property
    def tables(self) -> Sequence[str]: ...
    def count(self, table: str) -> int: ...
    def page(self, table: str, after: int | None, limit: int) -> Sequence[Row]: ...


class Tally:
    """How many, and the first few of them: the same few lines for one row as for millions."""

    def __init__(self, examples_max: int) -> None:
        self._examples_max = examples_max
        self.count = 0
        self.examples: list[str] = []

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < self._examples_max:
            self.examples.append(example)


class TableImport:
    """The import of one table. It may be given up at any time and begun anew: a row's document has
    the same id in every run, and one that is there is left as it is.
    """

    def __init__(
        self,
        source: LegacyRows,
        table: str,
        conversion: Conversion,
        client: DocumentClient,
        clock: Clock,
        examples_max: int,
    ) -> None:
        self._source = source
        self._table = table
        self._conversion = conversion
        self._client = client
        self._clock = clock
        self._examples_max = examples_max
        self._last = -(2**63)
        self.rows = self.written = 0
        self.there = Tally(examples_max)
        self.refused: dict[str, Tally] = {}
        self.noted: dict[str, Tally] = {}
        self.expected = self.found = 0

    async def run(self) -> AsyncGenerator[int, None]:
        """Write what is missing; the number of rows seen so far, with every page."""
        for page in self._pages():
            creates = {}
            for row in page:
                converted = self._conversion.convert(self._table, row)
                if isinstance(converted, Refused):
                    self._count(self.refused, converted.why, converted.example)
                else:
                    creates[converted.create.id] = converted
            if creates:
                await self._write(creates)
            self.rows += len(page)
            self._last = _rowid(page[-1])
            yield self.rows

    async def check(self) -> AsyncGenerator[int, None]:
        """Read all that was seen once more, and ask for each document; the number of rows so far.

        What expired meanwhile may have been deleted, and is not asked for.
        """
        rows = 0
        for whole_page in self._pages():
            page = [row for row in whole_page if _rowid(row) <= self._last]
            if not page:
                return
            ids = set()
            for row in page:
                converted = self._conversion.convert(self._table, row)
                if isinstance(converted, Converted) and self._kept(converted.create):
                    ids.add(converted.create.id)
            self.expected += len(ids)
            self.found += len(await self._stored(ids)) if ids else 0
            rows += len(page)
            yield rows

    def _pages(self) -> Iterator[Sequence[Row]]:
        last = None
        while page := self._source.page(self._table, last, BATCH_MAX):
            yield page
            last = _rowid(page[-1])

    async def _write(self, converted: Mapping[str, Converted]) -> None:
        for _ in range(CHANGES_MAX):
            there = await self._stored(converted)
            new = [one for doc_id, one in converted.items() if doc_id not in there]
            try:
                await write_patiently(self._client, [one.create for one in new])
            except AlreadyExists:
                continue  # another process was faster with one of them
            break
        else:
            raise OSError(f"{self._table}: another process keeps writing the same documents")
        self.written += len(new)
        for doc_id, one in converted.items():
            if doc_id in there:
                self.there.add(one.name)
        for one in new:
            for note in one.notes:
                self._count(self.noted, note, one.name)

    async def _stored(self, ids: Collection[str]) -> Mapping[str, Document]:
        # The existing server's tables have the names of the collections here.
        return await self._client.get_many(self._table, list(ids))

    def _kept(self, create: Create) -> bool:
        return bool(create.fields.get("expire_at", float("inf")) > self._clock.now_ms())

    def _count(self, tallies: dict[str, Tally], why: str, example: str) -> None:
        tallies.setdefault(why, Tally(self._examples_max)).add(example)


def _rowid(row: Row) -> int:
    rowid = row["rowid"]
    assert isinstance(rowid, int)
    return rowid
