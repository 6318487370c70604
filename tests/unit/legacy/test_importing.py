"""What happens beside an import: rows that come, documents that go, and another import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from bas_server import Base, open_base
from server.config.config import ServerConfig
from server.legacy.conversion import Conversion
from server.legacy.importing import TableImport
from server.services.embedded.legacy_database import LegacyDatabase
from server.services.firestore.base import Delete, Document, DocumentClient, Query
from server.services.firestore.models import DAY_MS
from tests.support import legacy
from tests.support.clock import ManualClock

ROWS = 700


@pytest.fixture
def path(tmp_path: Path, clock: ManualClock) -> Path:
    path = legacy.empty(tmp_path / "old.db")
    rows = (legacy.reading(float(clock.now_ms() - back)) for back in range(ROWS))
    legacy.insert(path, "telemetry", rows)
    return path


@pytest.fixture
def old(path: Path) -> Iterator[LegacyDatabase]:
    with LegacyDatabase(path) as database:
        yield database


@pytest.fixture
async def base(config: ServerConfig, clock: ManualClock) -> AsyncIterator[Base]:
    async with open_base(config, clock) as opened:
        yield opened


def new_import(
    old: LegacyDatabase, base: Base, client: DocumentClient | None = None
) -> TableImport:
    conversion = Conversion(base.stores.audit, base.clock.now_ms(), 90)
    return TableImport(old, "telemetry", conversion, client or base.client, base.clock, 1)


async def test_rows_that_come_after_the_import_are_not_missed_by_its_count(
    path: Path, old: LegacyDatabase, base: Base, clock: ManualClock
) -> None:
    work = new_import(old, base)
    assert [rows async for rows in work.run()] == [500, ROWS]
    legacy.insert(path, "telemetry", [legacy.reading(float(clock.now_ms()))])
    assert [rows async for rows in work.check()] == [500, ROWS]
    assert (work.expected, work.found, work.written) == (ROWS, ROWS, ROWS)


async def test_what_expired_meanwhile_is_not_missed_by_the_count(
    old: LegacyDatabase, base: Base, clock: ManualClock
) -> None:
    work = new_import(old, base)
    async for _ in work.run():
        pass
    clock.ms += 90 * DAY_MS - 99
    assert await base.expiring.delete_expired(clock.now_ms(), ROWS) > 0
    async for _ in work.check():
        pass
    assert work.found == work.expected == 99


async def test_what_was_lost_meanwhile_is_missed_by_the_count(
    old: LegacyDatabase, base: Base
) -> None:
    work = new_import(old, base)
    async for _ in work.run():
        pass
    (reading,) = (await base.client.query(Query("telemetry"), 1)).documents
    await base.client.write([Delete("telemetry", reading.id)])
    async for _ in work.check():
        pass
    assert (work.expected, work.found) == (ROWS, ROWS - 1)


class Overtaken:
    """A client that looks, and before it can write another import has written the same."""

    def __init__(self, client: DocumentClient, other: TableImport) -> None:
        self._client = client
        self._other = other.run()
        self.write = client.write

    async def get_many(self, collection: str, ids: Sequence[str]) -> Mapping[str, Document]:
        found = await self._client.get_many(collection, ids)
        await anext(self._other, None)
        return found


async def test_two_imports_at_once_write_every_row_once(old: LegacyDatabase, base: Base) -> None:
    other = new_import(old, base)
    work = new_import(old, base, Overtaken(base.client, other))  # type: ignore[arg-type]
    assert [rows async for rows in work.run()] == [500, ROWS]
    assert (other.written, work.written, work.there.count) == (ROWS, 0, ROWS)
    assert (await base.client.aggregate(Query("telemetry"))).count == ROWS
