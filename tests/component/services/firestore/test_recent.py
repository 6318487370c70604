"""Cached pages of the newest readings are read once, and again after a reading is added."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.common.metrics import Metrics
from server.services.firestore.cache.client import CachingClient
from server.services.firestore.cache.recent_readings import LIFE_S, LIMIT_MAX, PAGES_MAX
from server.services.firestore.document_history import DocumentHistory
from server.services.firestore.service_factory import Stores, create_stores
from server.services.ports.documents import Page, Query
from server.services.ports.event_log import Event
from server.services.ports.readings import NewRow, Reading
from server.services.site.factory import single_process_site
from server.services.sqlite.client import SqliteClient
from server.services.sse_service.memory_log import MemoryLog
from tests.component.services.firestore.test_indexes import DECLARED
from tests.support.clock import ManualClock


class Asked(SqliteClient):
    """The embedded store, which counts its queries, and can be made to wait."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        super().__init__(path, DECLARED, clock, Metrics())
        self.queries = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_read = asyncio.Event()

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        self.queries += 1
        page = await super().query(query, limit, cursor)
        self.has_read.set()
        await self.may_answer.wait()
        return page


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Asked]:
    async with Asked(tmp_path / "bas.db", clock) as client:
        yield client


@pytest.fixture
def event_log() -> MemoryLog:
    return MemoryLog(100, 100_000)


@pytest.fixture
def stores(store: Asked, event_log: MemoryLog, clock: ManualClock) -> Stores:
    """Stores that cache telemetry."""
    client = CachingClient(store, ["telemetry"], single_process_site(event_log), clock, Metrics())
    return create_stores(client, DocumentHistory(client, 1), clock, 1, Metrics())


def row(number: int, tenant_id: str = "here", device_id: str = "roof"):
    reading = Reading(
        tenant_id=tenant_id,
        device_id=device_id,
        timestamp_ms=number,
        temp_tenths=number,
        setpoint_tenths=230,
        deadband_tenths=10,
        cool_active=False,
        heat_active=True,
        state="IDLE",
        sensor_ok=True,
    )
    return NewRow(f"{tenant_id}-{device_id}-{number}", reading)


async def write_elsewhere(store, new):
    """Store a reading in another process."""
    await DocumentHistory(store, 1).write([], [new])


async def temperatures(stores, tenant_id="here", device_id=None, limit=100):
    readings = await stores.telemetry.query_recent(tenant_id, device_id, limit)
    return [reading.temp_tenths for reading in readings]


async def test_a_page_is_read_once(stores, store):
    await stores.telemetry.write([], [row(1), row(2)])
    assert await temperatures(stores) == [2, 1]
    assert await temperatures(stores) == [2, 1]
    assert store.queries == 1


async def test_a_process_sees_its_own_new_reading_at_once(stores):
    await stores.telemetry.write([], [row(1)])
    assert await temperatures(stores) == [1]
    await stores.telemetry.write([], [row(2)])
    assert await temperatures(stores) == [2, 1]


async def test_a_reading_that_another_process_announced_is_seen(stores, store, event_log):
    assert await temperatures(stores) == []
    await write_elsewhere(store, row(1))
    await event_log.append("here", Event("telemetry", "{}", "roof"))
    assert await temperatures(stores) == [1]


async def test_a_reading_that_was_never_announced_is_seen_after_a_while(stores, store, clock):
    assert await temperatures(stores) == []
    await write_elsewhere(store, row(1))
    clock.advance(LIFE_S)
    assert await temperatures(stores) == [1]


async def test_each_tenant_device_and_limit_has_its_own_page(stores, store):
    await stores.telemetry.write(
        [], [row(1), row(2, device_id="cellar"), row(3, tenant_id="there")]
    )
    for _ in range(2):
        assert await temperatures(stores) == [2, 1]
        assert await temperatures(stores, limit=1) == [2]
        assert await temperatures(stores, device_id="roof") == [1]
        assert await temperatures(stores, "there") == [3]
    assert store.queries == 4


async def test_a_reading_of_another_tenant_does_not_drop_a_cached_page(stores, store):
    assert await temperatures(stores) == []
    await stores.telemetry.write([], [row(1, tenant_id="there")])
    assert await temperatures(stores) == []
    assert store.queries == 1


async def test_many_simultaneous_requests_read_a_page_once(stores, store):
    await stores.telemetry.write([], [row(1)])
    store.may_answer.clear()
    crowd = [asyncio.create_task(temperatures(stores)) for _ in range(200)]
    await store.has_read.wait()
    store.may_answer.set()
    assert await asyncio.gather(*crowd) == [[1]] * 200
    assert store.queries == 1


async def test_a_caller_that_gives_up_does_not_cancel_the_read_of_the_others(stores, store):
    await stores.telemetry.write([], [row(1)])
    store.may_answer.clear()
    first, second = (asyncio.create_task(temperatures(stores)) for _ in range(2))
    await store.has_read.wait()
    first.cancel()
    store.may_answer.set()
    assert await second == [1]


async def test_a_page_that_a_new_reading_overtook_is_not_cached(stores, store):
    store.may_answer.clear()
    early = asyncio.create_task(temperatures(stores))
    await store.has_read.wait()
    await stores.telemetry.write([], [row(1)])
    store.may_answer.set()
    await early
    assert await temperatures(stores) == [1]


async def test_long_pages_are_not_cached(stores, store):
    for _ in range(2):
        await temperatures(stores, limit=LIMIT_MAX + 1)
    assert store.queries == 2


async def test_many_different_pages_do_not_fill_the_cache(stores, store):
    for number in range(PAGES_MAX + 1):
        await temperatures(stores, device_id=f"device-{number}")
    store.queries = 0
    await temperatures(stores, device_id="device-1")
    assert store.queries == 0
    await temperatures(stores, device_id="device-0")
    assert store.queries == 1
