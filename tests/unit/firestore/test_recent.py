"""Pages of the newest readings: read once for many, and anew as soon as a reading is added."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.metrics import Metrics
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import Page, Query
from server.services.firestore.caching import CachingClient
from server.services.firestore.models import Reading
from server.services.firestore.recent import LIFE_S, LIMIT_MAX, PAGES_MAX
from server.services.firestore.service_factory import Stores, create_stores
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.sse_service.event import Event
from server.services.sse_service.memory_backend import MemoryLog
from tests.support.clock import ManualClock
from tests.unit.firestore.test_indexes import DECLARED


class Asked(SqliteClient):
    """The embedded store, which counts the queries it was asked, and may be held up."""

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
    """Stores that remember telemetry."""
    client = CachingClient(store, ["telemetry"], event_log.neighbours, clock, Metrics())
    return create_stores(client, clock, 1, Metrics())


def creation(number: int, tenant_id: str = "here", device_id: str = "roof"):
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
    return TelemetryStore.creation(f"{tenant_id}-{device_id}-{number}", reading)


async def temperatures(stores, tenant_id="here", device_id=None, limit=100):
    readings = await stores.telemetry.query_recent(tenant_id, device_id, limit)
    return [reading.temp_tenths for reading in readings]


async def test_a_page_is_read_once(stores, store):
    await stores.client.write([creation(1), creation(2)])
    assert await temperatures(stores) == [2, 1]
    assert await temperatures(stores) == [2, 1]
    assert store.queries == 1


async def test_who_stored_a_reading_sees_it_at_once(stores):
    await stores.client.write([creation(1)])
    assert await temperatures(stores) == [1]
    await stores.client.write([creation(2)])
    assert await temperatures(stores) == [2, 1]


async def test_what_another_process_announced_is_seen(stores, store, event_log):
    assert await temperatures(stores) == []
    await store.write([creation(1)])
    await event_log.append("here", Event("telemetry", "{}", "roof"))
    assert await temperatures(stores) == [1]


async def test_what_was_never_announced_is_seen_after_a_while(stores, store, clock):
    assert await temperatures(stores) == []
    await store.write([creation(1)])
    clock.advance(LIFE_S)
    assert await temperatures(stores) == [1]


async def test_pages_of_others_are_others(stores, store):
    await stores.client.write(
        [creation(1), creation(2, device_id="cellar"), creation(3, tenant_id="there")]
    )
    for _ in range(2):
        assert await temperatures(stores) == [2, 1]
        assert await temperatures(stores, limit=1) == [2]
        assert await temperatures(stores, device_id="roof") == [1]
        assert await temperatures(stores, "there") == [3]
    assert store.queries == 4


async def test_anothers_reading_does_not_end_a_tenants_page(stores, store):
    assert await temperatures(stores) == []
    await stores.client.write([creation(1, tenant_id="there")])
    assert await temperatures(stores) == []
    assert store.queries == 1


async def test_a_crowd_reads_a_page_once(stores, store):
    await stores.client.write([creation(1)])
    store.may_answer.clear()
    crowd = [asyncio.create_task(temperatures(stores)) for _ in range(200)]
    await store.has_read.wait()
    store.may_answer.set()
    assert await asyncio.gather(*crowd) == [[1]] * 200
    assert store.queries == 1


async def test_who_gives_up_does_not_take_the_page_from_the_others(stores, store):
    await stores.client.write([creation(1)])
    store.may_answer.clear()
    first, second = (asyncio.create_task(temperatures(stores)) for _ in range(2))
    await store.has_read.wait()
    first.cancel()
    store.may_answer.set()
    assert await second == [1]


async def test_a_page_that_a_reading_overtook_is_not_shown_again(stores, store):
    store.may_answer.clear()
    early = asyncio.create_task(temperatures(stores))
    await store.has_read.wait()
    await stores.client.write([creation(1)])
    store.may_answer.set()
    await early
    assert await temperatures(stores) == [1]


async def test_long_pages_are_read_each_time(stores, store):
    for _ in range(2):
        await temperatures(stores, limit=LIMIT_MAX + 1)
    assert store.queries == 2


async def test_a_crowd_of_pages_does_not_fill_the_memory(stores, store):
    for number in range(PAGES_MAX + 1):
        await temperatures(stores, device_id=f"device-{number}")
    store.queries = 0
    await temperatures(stores, device_id="device-1")
    assert store.queries == 0
    await temperatures(stores, device_id="device-0")
    assert store.queries == 1
