"""What /metrics says of the disk, the files and the packing of readings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.common.metrics import Metrics
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.figures import FileFigures
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.reading_tables import SPAN_MS
from tests.support.clock import ManualClock
from tests.support.histories import reading, rows_of, write_all
from tests.support.history_stores import DECLARED

FIRST_MS = 250_000 * SPAN_MS
OLDER_MIN = 60


class Site:
    """A store, its figures and its clock."""

    def __init__(self, path: Path, client: SqliteClient, clock: ManualClock) -> None:
        self.path, self.clock, self.metrics = path, clock, Metrics()
        self.history = SqliteHistory(client)
        self.keeper = HistoryKeeper(client, path, clock, OLDER_MIN)
        self.figures = FileFigures(client, path, clock, self.metrics, OLDER_MIN)

    async def figure(self, name: str) -> float:
        await self.figures.measure()
        return self.metrics.registry.get_sample_value(name) or 0.0


@pytest.fixture
async def site(tmp_path):
    clock = ManualClock(FIRST_MS + SPAN_MS)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "store.db"
    async with SqliteClient(path, DECLARED, clock, Metrics()) as client:
        yield Site(path, client, clock)


async def test_the_room_of_the_disk_and_the_sizes_of_the_files_are_shown(site):
    await write_all(site.history, rows_of([reading(FIRST_MS, 1)]))
    disk = shutil.disk_usage(site.path.parent)
    assert await site.figure("bas_disk_bytes") == disk.total
    assert 0 < await site.figure("bas_disk_free_bytes") <= disk.total
    assert await site.figure("bas_store_file_bytes") == site.path.stat().st_size
    wal = site.path.with_name("store.db-wal").stat().st_size
    assert await site.figure("bas_store_wal_bytes") == wal > 0


async def test_readings_that_could_be_packed_for_an_hour_lag_by_an_hour(site):
    await write_all(site.history, rows_of([reading(FIRST_MS, 1)]))
    assert await site.figure("bas_seal_lag_seconds") == 0
    site.clock.advance(OLDER_MIN * 60)  # now their span can be packed
    assert await site.figure("bas_seal_lag_seconds") == 0
    site.clock.advance(3600)
    assert await site.figure("bas_seal_lag_seconds") == 3600
    async for _ in site.keeper.pack(OLDER_MIN * 60_000):
        pass
    assert await site.figure("bas_seal_lag_seconds") == 0


async def test_the_figures_stay_when_the_folder_is_gone_and_go_on_when_it_is_back(site):
    before = await site.figure("bas_disk_bytes")
    away = site.path.parent.rename(site.path.parent.with_name("away"))
    assert await site.figure("bas_disk_bytes") == before
    away.rename(site.path.parent)
    await write_all(site.history, rows_of([reading(FIRST_MS, 1)]))
    assert await site.figure("bas_store_wal_bytes") > 0
