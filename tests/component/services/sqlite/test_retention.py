"""Retention deletes in small batches, between writes; a failure or a wrong clock only delays it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.common.clock import Clock, SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.ports.documents import (
    Create,
    Document,
    Query,
    Retention,
    StoreUnavailable,
)
from server.services.ports.readings import NewRow
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.retention import RetentionTask
from server.services.sqlite.retention_guard import DAY_MS
from server.services.sqlite.span_retention import SpanRetention
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.histories import reading as at
from tests.support.http import Caller, reading, served
from tests.support.stream import eventually

BOUND_S = 60.0
KEEP_DAYS = 90


class Watched(Retention):
    """The store's retention, which records the result of each batch."""

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


def task_of(
    retention: Retention,
    client: SqliteClient,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    newest_ms: int | None = None,
    **settings: Any,
) -> RetentionTask:
    async def newest() -> int | None:
        return newest_ms

    parts = clock or SystemClock(), metrics or Metrics()
    spans = SpanRetention(client)
    return RetentionTask(retention, spans, KEEP_DAYS, client, newest, *parts, **settings)


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


@pytest.mark.parametrize("collection", ["old", "zones"])
async def test_expired_documents_are_deleted_in_batches_while_writes_continue(
    client: SqliteClient, metrics: Metrics, collection: str
) -> None:
    clock = SystemClock()
    later = clock.now_ms() + 3_600_000
    await client.write([Create(collection, f"o{n}", {"expire_at": 1}) for n in range(220)])
    await client.write([Create(collection, f"kept{n}", {"expire_at": later}) for n in range(5)])
    watched = Watched(client)
    task = task_of(watched, client, metrics=metrics, batch=50, pause_s=0.001)
    task.start()
    for n in range(200):
        await client.write([Create("new", f"n{n}", {"expire_at": later})])
    assert [await watched.next() for _ in range(5)] == [50, 50, 50, 50, 20]
    await task.stop()
    assert (await client.aggregate(Query(collection))).count == 5
    assert (await client.aggregate(Query("new"))).count == 200
    assert metrics.registry.get_sample_value("bas_documents_expired_total") == 220


async def test_a_document_that_expires_later_is_deleted_in_a_later_round(
    client: SqliteClient,
) -> None:
    watched = Watched(client)
    task = task_of(watched, client, every_s=0.01)
    task.start()
    assert await watched.next() == 0
    await client.write([Create("old", "a", {"expire_at": 1})])
    async with asyncio.timeout(BOUND_S):
        while await watched.next() == 0:
            pass
    await task.stop()
    assert await client.get("old", "a") is None


async def test_a_failed_deletion_is_retried_in_the_next_round(
    client: SqliteClient, path: Path
) -> None:
    watched = Watched(client)
    earlier, task = task_of(watched, client), task_of(watched, client, every_s=0.01)
    earlier.start()
    assert await watched.next() == 0
    await earlier.stop()
    await client.write([Create("old", "a", {"expire_at": 1})])
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
async def test_stop_does_not_wait_for_the_end_of_a_pause(
    client: SqliteClient, pause_s: float
) -> None:
    await client.write([Create("old", f"o{n}", {"expire_at": 1}) for n in range(3)])
    watched = Watched(client)
    task = task_of(watched, client, batch=1, pause_s=pause_s, every_s=3600.0)
    task.start()
    assert await watched.next() == 1
    await asyncio.wait_for(task.stop(), BOUND_S)


async def test_a_task_that_was_never_started_can_be_stopped() -> None:
    client = SqliteClient(Path("unused.db"), [], SystemClock(), Metrics())
    await task_of(client, client).stop()


class Server:
    """A process that has looked at the clock once; its rounds follow each other at once."""

    def __init__(
        self, client: SqliteClient, clock: ManualClock, newest_ms: int | None = None
    ) -> None:
        self.watched, self.metrics = Watched(client), Metrics()
        self.task = task_of(
            self.watched, client, clock, self.metrics, newest_ms, batch=1, pause_s=0, every_s=0.01
        )

    async def __aenter__(self) -> Server:
        self.task.start()
        await eventually(
            lambda: self._paused() == 1 or not self.watched.outcomes.empty(),
            "the server has looked at the clock",
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.task.stop()

    async def is_paused(self, paused: bool) -> None:
        await eventually(lambda: self._paused() == paused, "the server notices the clock")

    async def looks(self) -> None:
        """Wait until a round that began after this call has deleted what it may."""
        while not self.watched.outcomes.empty():
            self.watched.outcomes.get_nowait()
        for _ in range(2):
            await self.watched.next()

    def _paused(self) -> float | None:
        return self.metrics.registry.get_sample_value("bas_retention_paused")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


async def test_nothing_is_deleted_for_an_hour_after_a_leap_and_one_line_says_so(
    client: SqliteClient, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    expires_ms = clock.now_ms() + 24 * HOUR_MS
    async with Server(client, clock) as server:
        await client.write([Create("old", "a", {"expire_at": expires_ms})])
        clock.step_ms = 100 * 24 * HOUR_MS
        await server.is_paused(True)
        clock.advance(3599)
        await server.task.stop()
    assert await client.get("old", "a") is not None
    async with Server(client, clock) as server:
        await server.is_paused(True)
        assert warnings(caplog) == [
            "the machine's clock was set forward by 100 days: nothing is deleted for an hour. If"
            " the clock is wrong, correct it within this hour (`timedatectl` shows it). After it,"
            " the server deletes the sessions, audit entries and readings that are expired by the"
            " clock"
        ]
        assert await client.get("old", "a") is not None
        clock.advance(1)
        await server.is_paused(False)
        await eventually(_gone(client, "a"), "it is deleted after the hour")


async def test_nothing_is_deleted_after_a_start_far_ahead_of_the_newest_reading(
    client: SqliteClient, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    await client.write([Create("old", "a", {"expire_at": 1})])
    newest_ms = clock.now_ms() - 30 * 24 * HOUR_MS
    async with Server(client, clock, newest_ms) as one, Server(client, clock, newest_ms) as other:
        for server in (one, other):
            await server.is_paused(True)
        assert len(warnings(caplog)) == 1
        assert "30 days ahead of the newest reading: nothing is deleted" in warnings(caplog)[0]
        assert await client.get("old", "a") is not None
        clock.advance(3600)
        for server in (one, other):
            await server.is_paused(False)
        await eventually(_gone(client, "a"), "it is deleted after the hour")


async def test_a_leap_between_two_batches_stops_the_second(client: SqliteClient) -> None:
    clock = ManualClock()
    await client.write([Create("old", f"o{n}", {"expire_at": 1}) for n in range(3)])

    class Leaping(Watched):
        async def delete_expired(self, now_ms: int, limit: int) -> int:
            clock.step_ms += 100 * 24 * HOUR_MS
            return await super().delete_expired(now_ms, limit)

    metrics = Metrics()
    task = task_of(Leaping(client), client, clock, metrics, batch=1, pause_s=0, every_s=3600.0)
    task.start()
    await eventually(
        lambda: metrics.registry.get_sample_value("bas_retention_paused") == 1,
        "the leap is noticed",
    )
    await task.stop()
    assert (await client.aggregate(Query("old"))).count == 2


async def test_a_guard_that_cannot_be_read_is_replaced(
    client: SqliteClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.write(
        [
            Create("retention", "guard", {"boot": 7}),
            Create("old", "a", {"expire_at": 1}),
        ]
    )
    async with Server(client, ManualClock()):
        await eventually(_gone(client, "a"), "it is deleted")
    (line,) = warnings(caplog)
    assert "its record cannot be read" in line


async def test_the_guard_stores_its_earnings_every_five_minutes(client: SqliteClient) -> None:
    clock = ManualClock()
    async with Server(client, clock) as server:
        for seconds, earned_ms in ((299, 0), (1, 300_000)):
            clock.advance(seconds)
            await server.looks()
            guard = await client.get("retention", "guard")
            assert guard is not None
            assert guard.fields.get("earned_ms", 0) == earned_ms


@pytest.mark.parametrize(("hours", "paused"), [(23, False), (49, True)])
async def test_a_server_compares_its_clock_with_the_newest_reading_at_its_start(
    config: ServerConfig,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    hours: int,
    paused: bool,
) -> None:
    async with served(config, clock) as container:
        for device in ("older", "newest"):
            await Caller(container.app).post("/api/sensor_data", reading(200, device_id=device))
            clock.advance(60)
    later = ManualClock(clock.now_ms() - 60_000 + hours * HOUR_MS, boot="second boot")
    async with served(config, later) as container:

        async def looked() -> Document | None:
            guard = await container.base.client.get("retention", "guard")
            return guard if guard and guard.fields["boot"] == "second boot" else None

        await eventually(looked, "the server has looked at the clock")
        guard = await looked()
        assert guard is not None
        assert bool(guard.fields.get("paused_ms")) is paused
    assert any("2 days ahead of the newest reading" in one for one in warnings(caplog)) is paused


def _gone(client: SqliteClient, doc_id: str) -> Callable[[], Awaitable[bool]]:
    async def gone() -> bool:
        return await client.get("old", doc_id) is None

    return gone


async def test_expired_readings_are_deleted_span_by_span_as_uptime_allows(
    path: Path, client: SqliteClient
) -> None:
    clock = ManualClock()
    history = SqliteHistory(client)
    for days in range(80, 100):
        await history.write([], [NewRow(f"{days}", at(clock.now_ms() - days * DAY_MS))])
    keeper = HistoryKeeper(client, path, clock, 60)
    assert sum([step.readings async for step in keeper.pack(0)]) == 20
    async with Server(client, clock) as server:
        # A new guard has earned nothing.
        await server.looks()
        assert await history.count() == 20
        clock.advance(2 * 3600)
        await server.looks()
        assert await history.count() == 18, "two hours of uptime allow two spans"
        clock.advance(24 * 3600)
        await server.looks()
        assert await history.count() == 9, "what is 90 days old is gone, and nothing else"
    assert await oldest_day(history, clock) == 88


async def oldest_day(history: SqliteHistory, clock: ManualClock) -> int:
    """The age of the oldest reading when it was stored, in days."""
    oldest = (await history.page("default", None, 100)).readings[-1]
    return (clock.now_ms() - 26 * HOUR_MS - oldest.timestamp_ms) // DAY_MS
