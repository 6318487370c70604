"""Readings stored by other programs: every function that reads them parses them alike.

On SQLite they are documents of an earlier version, which are not converted yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from bas_server import Container
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.cache.recent_readings import RecentReadings
from server.services.firestore.document_history import DocumentHistory
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.history.documents import reading_from
from server.services.ports.documents import Create, Fields
from server.services.ports.readings import Reading
from server.services.site.ports import SharedCache, SharedSite
from tests.component.services.firestore.test_existing_documents import READING, THEN_MS
from tests.support.clock import ManualClock
from tests.support.history_stores import end_upkeep
from tests.support.measured import CASES, STORED, Case

IDS = [f"reading-{number:03}" for number in range(len(STORED))]
END_MS = THEN_MS + len(STORED)
Read = Callable[[TelemetryStore], Awaitable[Sequence[Reading]]]


async def pages(store: TelemetryStore) -> list[Reading]:
    readings: list[Reading] = []
    cursor: str | None = None
    while True:
        page, cursor = await store.query_recent_paginated("default", "roof", 7, cursor)
        readings += page
        if cursor is None:
            return readings


async def known(store: TelemetryStore) -> list[Reading]:
    found = await store.known("default", IDS)
    return [found[doc_id] for doc_id in IDS]


async def scanned(store: TelemetryStore) -> list[Reading]:
    found = {row.id: row.reading for row in (await store.history.scan(len(IDS))).rows}
    return [found[doc_id] for doc_id in IDS]


READERS: dict[str, Read] = {
    "recent": lambda store: store.query_recent("default", "roof"),
    "recent of all": lambda store: store.query_recent("default", None, 1000),
    "window": lambda store: store.query_window("default", "roof", THEN_MS, END_MS, 1000),
    "pages": pages,
    "known": known,
    "scanned": scanned,
}


def document(case: Case, number: int = 0) -> Fields:
    """A document of the existing server; the first one is the newest."""
    measured = {"temp_tenths": case.temp, "sensor_ok": case.sensor_ok}
    return READING | measured | {"timestamp_ms": END_MS - number}


async def write(container: Container) -> None:
    await end_upkeep(container)
    await container.base.client.write(
        [
            Create("telemetry", doc_id, document(case, number))
            for number, (doc_id, case) in enumerate(zip(IDS, STORED, strict=True))
        ]
    )


def read_of(readings: Sequence[Reading]) -> list[tuple[int | None, bool, str]]:
    return [(one.temp_tenths, one.sensor_ok, one.fault_reason) for one in readings]


@pytest.mark.parametrize("reader", READERS)
async def test_every_function_parses_a_stored_value_like_a_device_s(
    container: Container, reader: str
) -> None:
    await write(container)
    documents = TelemetryStore(DocumentHistory(container.base.client, 1))
    for store in (container.base.stores.telemetry, documents):
        readings = await READERS[reader](store)
        assert read_of(readings) == [case.read for case in STORED]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_document_of_any_store_is_parsed_as_the_table_says(case: Case) -> None:
    reading = reading_from(document(case))
    assert read_of([reading]) == [case.read]
    assert (reading.state, reading.heat_active, reading.timestamp_ms) == (
        READING["state"],
        READING["heat_active"],
        END_MS,
    )


@pytest.mark.parametrize("missing", [{"temp_tenths"}, {"sensor_ok"}, {"temp_tenths", "sensor_ok"}])
def test_a_document_without_a_measured_field_is_a_fault(missing: set[str]) -> None:
    fields = {name: value for name, value in READING.items() if name not in missing}
    reading = reading_from(fields)
    assert reading.sensor_ok is False
    assert reading.temp_tenths == fields.get("temp_tenths")


@pytest.mark.parametrize("temp", [None, 235, 235.4, 9999])
def test_a_fault_of_this_server_keeps_its_reason(temp: Any) -> None:
    fault = READING | {"temp_tenths": temp, "sensor_ok": False, "fault_reason": "unreadable"}
    assert reading_from(fault).fault_reason == "unreadable"


def test_another_field_with_a_wrong_type_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="state"):
        reading_from(READING | {"temp_tenths": None, "state": 7})


def test_parsing_does_not_change_the_document() -> None:
    fields = document(STORED[0]) | {"temp_tenths": 235.4}
    before = dict(fields)
    reading_from(fields)
    assert fields == before


class Shared(SharedCache):
    """A shared cache in memory."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, int]] = {}

    async def read(self, keys: Sequence[str]) -> list[tuple[bytes, int]]:
        return [self.values.get(key, (b"", 0)) for key in keys]

    def keep(self, key: str, value: bytes, milliseconds: int) -> None:
        self.values[key] = (value, milliseconds)


def process(container: Container, shared: Shared, clock: Clock) -> TelemetryStore:
    """The store of one process among several."""

    async def tip_of(_tenant_id: str) -> str:
        return "the same"

    alone = SharedSite(None, shared, tip_of)  # type: ignore[arg-type]
    recent = RecentReadings(alone, clock, Metrics())
    return TelemetryStore(container.base.stores.telemetry.history, recent)


async def test_a_page_from_the_shared_cache_is_the_same_as_from_the_store(
    container: Container, clock: ManualClock
) -> None:
    await write(container)
    shared = Shared()
    first = await process(container, shared, clock).query_recent("default", "roof", 100)
    assert len(shared.values) == 1
    await container.base.client.write([Create("telemetry", "later", document(STORED[0], -1))])
    second = await process(container, shared, clock).query_recent("default", "roof", 100)
    assert first == second
    assert read_of(second) == [case.read for case in STORED]


async def test_statistics_are_computed_from_the_stored_documents(container: Container) -> None:
    rows: list[tuple[Any, Any]] = [
        *((200, True), (201.5, True), (203.9, True)),
        *((None, False), (999, False), (250, 0), (250, None), (None, None)),
    ]
    await container.base.client.write(
        [
            Create("telemetry", doc_id, READING | {"temp_tenths": temp, "sensor_ok": ok})
            for doc_id, (temp, ok) in zip(IDS, rows, strict=False)
        ]
    )
    store = container.base.stores.telemetry
    found = await store.get_device_statistics("default", "roof", THEN_MS, END_MS)
    assert msgspec.structs.astuple(found)[:6] == (8, 202, 200, 204, 5, 37.5)


async def test_a_minimum_with_a_fraction_is_rounded_like_the_reading(
    container: Container,
) -> None:
    await container.base.client.write(
        [Create("telemetry", "one", READING | {"temp_tenths": 214.5})]
    )
    store = container.base.stores.telemetry
    (reading,) = await store.query_recent("default", "roof")
    found = await store.get_device_statistics("default", "roof", THEN_MS, END_MS)
    assert (found.min_temperature, found.max_temperature) == (215, 215)
    assert found.avg_temperature == reading.temp_tenths == 215
