"""Readings whose documents others wrote: all that read them agree on what was measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from bas_server import Container
from server.clock import Clock
from server.metrics import Metrics
from server.neighbours import Neighbours, SharedCache
from server.services.firestore.base import Create, Fields
from server.services.firestore.models import Reading
from server.services.firestore.recent import RecentReadings
from server.services.firestore.telemetry_store import TelemetryStore, reading_from
from tests.support.clock import ManualClock
from tests.support.measured import CASES, STORED, Case
from tests.unit.firestore.test_existing_documents import READING, THEN_MS

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


async def by_id(store: TelemetryStore) -> list[Reading]:
    found = await store.by_id("default", IDS)
    return [found[doc_id] for doc_id in IDS]


async def many(store: TelemetryStore) -> list[Reading]:
    found = await store.get_many("default", IDS)
    return sorted(found, key=lambda reading: -reading.timestamp_ms)


READERS: dict[str, Read] = {
    "recent": lambda store: store.query_recent("default", "roof"),
    "recent of all": lambda store: store.query_recent("default", None, 1000),
    "window": lambda store: store.query_window("default", "roof", THEN_MS, END_MS, 1000),
    "pages": pages,
    "by id": by_id,
    "many": many,
}


def document(case: Case, number: int = 0) -> Fields:
    """What the existing server wrote: the first is the newest."""
    measured = {"temp_tenths": case.temp, "sensor_ok": case.sensor_ok}
    return READING | measured | {"timestamp_ms": END_MS - number}


async def write(container: Container) -> None:
    await container.base.client.write(
        [
            Create("telemetry", doc_id, document(case, number))
            for number, (doc_id, case) in enumerate(zip(IDS, STORED, strict=True))
        ]
    )


def read_of(readings: Sequence[Reading]) -> list[tuple[int | None, bool, str]]:
    return [(one.temp_tenths, one.sensor_ok, one.fault_reason) for one in readings]


@pytest.mark.parametrize("reader", READERS)
async def test_every_reader_reads_what_was_measured_as_it_is_of_a_device(
    container: Container, reader: str
) -> None:
    await write(container)
    readings = await READERS[reader](container.base.stores.telemetry)
    assert read_of(readings) == [case.read for case in STORED]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_document_of_any_store_is_read_as_the_table_says(case: Case) -> None:
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


def test_another_field_of_a_wrong_type_is_an_error_still() -> None:
    with pytest.raises(msgspec.ValidationError, match="state"):
        reading_from(READING | {"temp_tenths": None, "state": 7})


def test_a_document_is_left_as_it_was() -> None:
    fields = document(STORED[0]) | {"temp_tenths": 235.4}
    before = dict(fields)
    reading_from(fields)
    assert fields == before


class Shared(SharedCache):
    """What the processes share, in memory."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, int]] = {}

    async def read(self, keys: Sequence[str]) -> list[tuple[bytes, int]]:
        return [self.values.get(key, (b"", 0)) for key in keys]

    def keep(self, key: str, value: bytes, milliseconds: int) -> None:
        self.values[key] = (value, milliseconds)


def process(container: Container, shared: Shared, clock: Clock) -> TelemetryStore:
    """The store of one process among several."""

    async def place(_tenant_id: str) -> str:
        return "the same"

    neighbours = Neighbours(None, shared, place)  # type: ignore[arg-type]
    recent = RecentReadings(neighbours, clock, Metrics())
    return TelemetryStore(container.base.client, recent)


async def test_a_page_that_another_process_read_is_the_same(
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


async def test_figures_are_of_the_documents_as_they_lie(container: Container) -> None:
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
    assert msgspec.structs.astuple(found) == (8, 202, 200, 204, 5, 37.5)


async def test_an_extreme_with_a_fraction_is_rounded_as_the_reading_is(
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
