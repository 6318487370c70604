"""Readings of the existing server, with faults and fractions, in SQLite and in Firestore."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from bas_server import open_base, open_both
from server.config.config import ServerConfig
from server.services.firestore.google.connection import emulator_client
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.history.documents import reading_from
from server.services.ports.documents import Fields, Put
from server.services.ports.readings import Reading
from tests.support import legacy
from tests.support.commands import results, run
from tests.support.firestore import on_firestore
from tests.support.histories import contents, scan_all
from tests.support.measured import CELLS, STORED
from tools.firestore_emulator import SWITCHES, FirestoreEmulator

THEN_MS = 1_734_398_405_123
READING = {
    "tenant_id": "default",
    "device_id": "roof",
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
    "cool_active": False,
    "heat_active": False,
    "state": "FAULT",
}
TO_FIRESTORE = ("copy-store", "--from", "sqlite", "--to", "firestore")
TO_SQLITE = ("copy-store", "--from", "firestore", "--to", "sqlite")


@pytest.fixture
def config(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    """An empty folder and an empty project of the emulator."""
    return on_firestore(ServerConfig(data_dir=tmp_path / "data"), firestore.host)


@pytest.fixture(params=["sqlite", "firestore"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """An empty SQLite store, then an empty Firestore store."""
    settings = ServerConfig(data_dir=tmp_path / "data")
    if request.param == "sqlite":
        return settings
    return on_firestore(settings, request.getfixturevalue("firestore").host, *SWITCHES)


def document(temp: object, sensor_ok: object, number: int) -> Fields:
    """A stored reading; number 0 is the newest."""
    measured = {"temp_tenths": temp, "sensor_ok": sensor_ok}
    return READING | measured | {"timestamp_ms": THEN_MS - number}


def documents() -> dict[str, Fields]:
    return {
        f"reading-{number:03}": document(case.temp, case.sensor_ok, number)
        for number, case in enumerate(STORED)
    }


def read_of(readings: list[Reading]) -> list[tuple[int | None, bool, str]]:
    return [(one.temp_tenths, one.sensor_ok, one.fault_reason) for one in readings]


async def telemetry_copied(config: ServerConfig, arguments: tuple[str, ...]) -> list[str]:
    done = await asyncio.to_thread(run, config, *arguments)
    return [line for line in results(done) if line.startswith("telemetry")]


async def test_imported_rows_are_interpreted_like_readings_of_a_device(
    store: ServerConfig, tmp_path: Path
) -> None:
    """A SQLite column of integers can hold other values: NULL, a fraction, a text."""
    now = int(time.time() * 1000)
    old = legacy.empty(tmp_path / "bas_telemetry.db")
    # Such a column converts 1.0 and texts that look like a number to integers.
    cells = [
        case for case in CELLS if case.temp != "235" and repr(case.sensor_ok) not in ("'1'", "1.0")
    ]
    legacy.insert(
        old,
        "telemetry",
        (
            legacy.fault(now - number, temp_tenths=case.temp, sensor_ok=case.sensor_ok)
            for number, case in enumerate(cells)
        ),
    )
    kinds = sqlite3.connect(old).execute("SELECT DISTINCT typeof(temp_tenths) FROM telemetry")
    assert {kind for (kind,) in kinds} == {"integer", "real", "text", "null"}
    kinds.connection.close()
    count = len(cells)
    for written in (count, 0):
        done = await asyncio.to_thread(run, store, "import-legacy", str(old))
        assert f"telemetry: {count} rows; {count} of {count} there, {written} written now" in (
            results(done)
        )
    async with open_base(store) as base:
        readings = await base.stores.telemetry.query_recent("default", "unknown", 1000)
        assert read_of(readings) == [case.read for case in cells]
        assert {(one.state, one.cool_active, one.heat_active) for one in readings} == {
            ("FAULT", False, False)
        }


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
async def test_a_copy_keeps_every_value_and_a_second_copy_writes_nothing(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    there = documents()
    async with open_both(config) as stores:
        puts = [Put("telemetry", doc_id, fields) for doc_id, fields in there.items()]
        await stores[arguments[2]].documents.write(puts)
    for written in (len(there), 0):
        assert await telemetry_copied(config, arguments) == [
            f"telemetry: {len(there)} of {len(there)} there, {written} written now"
        ]
    async with open_both(config) as stores:
        for end in stores.values():
            expected = [reading_from(fields) for fields in there.values()]
            assert contents(await scan_all(end.readings)) == contents(expected)
            readings = await TelemetryStore(end.readings).query_recent("default", "roof", 1000)
            assert read_of(readings) == [case.read for case in STORED]


async def test_nan_and_infinity_are_read_from_firestore_and_become_null_in_sqlite(
    config: ServerConfig, firestore: FirestoreEmulator
) -> None:
    """Python parses NaN in a JSON body as a number, and Firestore stores it."""
    values: list[tuple[Any, Any, int | None]] = [
        *((math.nan, True, None), (math.inf, True, None), (-math.inf, False, None)),
        *((215.5, True, 216), (236, math.nan, 236)),
    ]
    google = emulator_client(firestore.host, config.google_cloud_project)
    for number, (temp, sensor_ok, _) in enumerate(values):
        fields = document(temp, sensor_ok, number) | {"more": [{"deep": math.nan}]}
        await google.collection("telemetry").document(f"reading-{number}").set(fields)
    await google._firestore_api.transport.close()
    for arguments, written in ((TO_SQLITE, 5), (TO_SQLITE, 0), (TO_FIRESTORE, 0)):
        assert await telemetry_copied(config, arguments) == [
            f"telemetry: 5 of 5 there, {written} written now"
        ]
    async with open_both(config) as stores:
        for kind, end in stores.items():
            store = TelemetryStore(end.readings)
            readings = await store.query_recent("default", "roof", 1000)
            assert [one.temp_tenths for one in readings] == [read for *_, read in values]
            assert [one.sensor_ok for one in readings] == [False, False, False, True, False]
            found = await store.get_device_statistics("default", "roof", THEN_MS - 9, THEN_MS)
            assert found.total_records == 5
            assert found.min_temperature == 216
            # Firestore counts by the stored `sensor_ok`, and infinite values have no average there.
            # In SQLite a reading without a temperature is a fault.
            expected = (2, None) if kind == "firestore" else (4, 216)
            assert (found.sensor_failures, found.avg_temperature) == expected
