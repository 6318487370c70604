"""Retention deletes in small batches, beside the writes, and survives a failing store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.embedded.retention import RetentionTask
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import Create, Query, Retention, StoreUnavailable

BOUND_S = 10.0


class Watched(Retention):
    """The store's own retention, with what each of its batches came to."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self.outcomes: asyncio.Queue[int | StoreUnavailable] = asyncio.Queue()

    async def delete_expired(self, now_ms: int, limit: int) -> int:
        try:
            deleted = await self._retention.delete_expired(now_ms, limit)
        except StoreUnavailable as error:
            self.outcomes.put_nowait(error)
            raise
        self.outcomes.put_nowait(deleted)
        return deleted

    async def next(self) -> int | StoreUnavailable:
        return await asyncio.wait_for(self.outcomes.get(), BOUND_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(path: Path, metrics: Metrics) -> AsyncIterator[SqliteClient]:
    client = SqliteClient(path, [], SystemClock(), metrics, write_timeout_s=0.5)
    await client.open()
    yield client
    await client.close()


async def test_expired_documents_go_in_batches_while_writes_go_on(
    client: SqliteClient, metrics: Metrics
) -> None:
    clock = SystemClock()
    later = clock.now_ms() + 3_600_000
    await client.write([Create("old", f"o{n}", {"expire_at": 1}) for n in range(220)])
    await client.write([Create("old", f"kept{n}", {"expire_at": later}) for n in range(5)])
    watched = Watched(client)
    task = RetentionTask(watched, clock, metrics, batch=50, pause_s=0.001)
    task.start()
    for n in range(200):
        await client.write([Create("new", f"n{n}", {"expire_at": later})])
    assert [await watched.next() for _ in range(5)] == [50, 50, 50, 50, 20]
    await task.stop()
    assert (await client.aggregate(Query("old"))).count == 5
    assert (await client.aggregate(Query("new"))).count == 200
    assert metrics.registry.get_sample_value("bas_documents_expired_total") == 220


async def test_what_expires_later_goes_in_a_later_round(client: SqliteClient) -> None:
    watched = Watched(client)
    task = RetentionTask(watched, SystemClock(), Metrics(), every_s=0.01)
    task.start()
    assert await watched.next() == 0
    await client.write([Create("old", "a", {"expire_at": 1})])
    async with asyncio.timeout(BOUND_S):
        while await watched.next() == 0:
            pass
    await task.stop()
    assert await client.get("old", "a") is None


async def test_a_store_that_fails_is_tried_again_in_the_next_round(
    client: SqliteClient, path: Path
) -> None:
    await client.write([Create("old", "a", {"expire_at": 1})])
    watched = Watched(client)
    task = RetentionTask(watched, SystemClock(), Metrics(), every_s=0.01)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        task.start()
        assert isinstance(await watched.next(), StoreUnavailable)
        foreign.execute("ROLLBACK")
    async with asyncio.timeout(BOUND_S):
        while await watched.next() != 1:
            pass
    await task.stop()
    assert await client.get("old", "a") is None


@pytest.mark.parametrize("pause_s", [0.0, 3600.0])
async def test_stop_does_not_wait_for_a_pause_to_end(client: SqliteClient, pause_s: float) -> None:
    await client.write([Create("old", f"o{n}", {"expire_at": 1}) for n in range(3)])
    watched = Watched(client)
    task = RetentionTask(
        watched, SystemClock(), Metrics(), batch=1, pause_s=pause_s, every_s=3600.0
    )
    task.start()
    assert await watched.next() == 1
    await asyncio.wait_for(task.stop(), BOUND_S)


async def test_a_task_that_never_started_stops() -> None:
    client = SqliteClient(Path("unused.db"), [], SystemClock(), Metrics())
    await RetentionTask(client, SystemClock(), Metrics()).stop()
