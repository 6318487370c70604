"""Changes during an import: new rows, lost readings, and a second import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from bas_server import Base, open_base
from server.config.config import ServerConfig
from server.legacy.account_names import AccountNames
from server.legacy.convert_rows import BETWEEN, UNDATED, Conversion
from server.legacy.database import LegacyDatabase
from server.legacy.estimated_times import APART_MS, EstimatedTimes
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
    rows = EstimatedTimes(old, base.clock.now_ms())
    return TableImport(rows, "telemetry", conversion, target, base.clock, 1)


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


async def imported(path: Path, base: Base) -> TableImport:
    with LegacyDatabase(path) as old:
        work = new_import(old, base)
        async for _ in work.run():
            pass
        async for _ in work.check():
            pass
    assert work.expected == work.found
    return work


async def test_undated_readings_get_their_share_of_the_time_between_dated_neighbours(
    tmp_path: Path, base: Base, clock: ManualClock
) -> None:
    """Also over the border of a page of 500 rows, and once only, however often it is imported."""
    path, now = legacy.empty(tmp_path / "ticks.db"), clock.now_ms()
    start, rows = now - 2_000_000, 999
    times = [None, float(start), *(1000.0 * n for n in range(1, rows)), start + 1000.0 * rows, 7.0]
    legacy.insert(path, "telemetry", [legacy.reading(time) for time in times])
    work = await imported(path, base)
    assert work.written == rows + 1
    assert {why: tally.count for why, tally in work.noted.items()} == {BETWEEN: rows - 1}
    assert {why: tally.count for why, tally in work.refused.items()} == {UNDATED: 2}
    readings = await base.stores.telemetry.query_recent("default", "unknown", 1000)
    assert [one.timestamp_ms - start for one in readings] == [
        1000 * number for number in range(rows, -1, -1)
    ]
    assert readings[1].device_ticks_ms == 1000 * (rows - 1)
    # The last row has a neighbour behind it now.
    legacy.insert(path, "telemetry", [legacy.reading(start + 1000.0 * rows + 500)])
    assert (await imported(path, base)).written == 2


@pytest.mark.parametrize("apart_ms", [-1, APART_MS + 1])
async def test_neighbours_out_of_order_or_far_apart_tell_no_time(
    tmp_path: Path, base: Base, clock: ManualClock, apart_ms: int
) -> None:
    path, start = legacy.empty(tmp_path / "ticks.db"), float(clock.now_ms() - 2 * APART_MS)
    times = [start, 5.0, start + apart_ms]
    legacy.insert(path, "telemetry", [legacy.reading(time) for time in times])
    assert (await imported(path, base)).written == 2


async def test_rows_that_come_during_an_import_are_no_neighbours_in_its_check(
    tmp_path: Path, base: Base, clock: ManualClock
) -> None:
    path, now = legacy.empty(tmp_path / "ticks.db"), float(clock.now_ms())
    legacy.insert(path, "telemetry", [legacy.reading(now - 9000), legacy.reading(5.0)])
    with LegacyDatabase(path) as old:
        work = new_import(old, base)
        async for rows in work.run():
            if rows == 2:
                legacy.insert(path, "telemetry", [legacy.reading(now)])
        async for _ in work.check():
            pass
    assert (work.written, work.expected, work.found) == (2, 2, 2)
