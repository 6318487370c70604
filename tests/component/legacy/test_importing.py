"""Changes during an import: new rows, lost readings, and a second import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from bas_server import Base, open_base
from server.config.config import ServerConfig
from server.legacy.account_names import AccountNames
from server.legacy.convert_rows import Conversion
from server.legacy.database import LegacyDatabase
from server.legacy.import_rows import ReadingTarget, TableImport
from server.services.firestore.document_history import DocumentHistory
from server.services.firestore.models import DAY_MS
from server.services.ports.documents import Write
from server.services.ports.readings import NewRow, ReadingHistory
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
    old: LegacyDatabase, base: Base, history: ReadingHistory | None = None
) -> TableImport:
    names = AccountNames({"anna"}, str.upper)
    conversion = Conversion(base.stores.audit, base.clock.now_ms(), 90, names)
    target = ReadingTarget(history or base.stores.telemetry.history)
    return TableImport(old, "telemetry", conversion, target, base.clock, 1)


async def test_rows_added_after_the_import_do_not_count_as_missing(
    path: Path, old: LegacyDatabase, base: Base, clock: ManualClock
) -> None:
    work = new_import(old, base)
    assert [rows async for rows in work.run()] == [500, ROWS]
    legacy.insert(path, "telemetry", [legacy.reading(float(clock.now_ms()))])
    assert [rows async for rows in work.check()] == [500, ROWS]
    assert (work.expected, work.found, work.written) == (ROWS, ROWS, ROWS)


async def test_readings_that_expire_after_the_import_do_not_count_as_missing(
    old: LegacyDatabase, base: Base, clock: ManualClock
) -> None:
    work = new_import(old, base)
    async for _ in work.run():
        pass
    clock.ms += 90 * DAY_MS - 99
    async for _ in work.check():
        pass
    assert work.found == work.expected == 99


async def test_readings_that_are_lost_after_the_import_count_as_missing(
    old: LegacyDatabase, base: Base
) -> None:
    work = new_import(old, base, Forgetful(base.stores.telemetry.history))
    async for _ in work.run():
        pass
    async for _ in work.check():
        pass
    assert (work.expected, work.found) == (ROWS, ROWS - 1)


class Passing(ReadingHistory):
    """Passes the calls of an import on to a history."""

    def __init__(self, history: ReadingHistory) -> None:
        self._history = history

    async def write(self, documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
        return await self._history.write(documents, rows)

    async def missing(self, rows: Sequence[NewRow]) -> list[NewRow]:
        return await self._history.missing(rows)


class Forgetful(Passing):
    """A history that loses the first reading of all."""

    def __init__(self, history: ReadingHistory) -> None:
        super().__init__(history)
        self._lose = 1

    async def write(self, documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
        kept = rows[self._lose :]
        self._lose = 0
        return await super().write(documents, kept)


class Overtaken(Passing):
    """A history whose every read is followed by another import's write of the same rows."""

    def __init__(self, history: ReadingHistory, other: TableImport) -> None:
        super().__init__(history)
        self._other = other.run()

    async def missing(self, rows: Sequence[NewRow]) -> list[NewRow]:
        found = await super().missing(rows)
        await anext(self._other, None)
        return found


async def test_two_simultaneous_imports_write_every_row_once(
    old: LegacyDatabase, base: Base
) -> None:
    """Of documents; a database file takes one import at a time."""
    history = DocumentHistory(base.client, 90)
    other = new_import(old, base, history)
    work = new_import(old, base, Overtaken(history, other))
    assert [rows async for rows in work.run()] == [500, ROWS]
    assert (other.written, work.written, work.there.count) == (ROWS, 0, ROWS)
    assert await history.count() == ROWS
