"""copy-store with many documents: to Firestore and back, killed midway, and resumed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from pathlib import Path

import pytest
from google.cloud.firestore_v1.base_query import FieldFilter

from bas_server import open_both
from server.config.config import ServerConfig
from server.services.firestore.google.connection import emulator_client
from server.services.firestore.models import DAY_MS
from server.services.ports.documents import DocumentClient, Put
from server.services.ports.readings import ReadingHistory
from tests.support.commands import Result, results, run, settings
from tests.support.firestore import on_firestore
from tests.support.forms import amount
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tools.firestore_emulator import FirestoreEmulator, fresh_project
from tools.process import kill_when_shown

MANY = amount(3000, 100_000)  # many pages
FEW, KILLED_AT = 6000, 1000
TO_FIRESTORE = ("copy-store", "--from", "sqlite", "--to", "firestore")
TO_SQLITE = ("copy-store", "--from", "firestore", "--to", "sqlite")
ROWS = rows_of(
    reading(START_MS + number * 1000, number % 999, device_id=f"d{number % 3}")
    for number in range(max(MANY, FEW))
)


@pytest.fixture
def config(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    """An empty folder and an empty project of the emulator."""
    return on_firestore(ServerConfig(data_dir=tmp_path / "data"), firestore.host)


async def fill_entries(client: DocumentClient, count: int) -> None:
    """Write this many documents to the audit log."""
    for first in range(0, count, 500):
        numbers = range(first, first + 500)
        await client.write([Put("audit_log", f"e{n:06}", {"n": n / 8}) for n in numbers])


async def holds_exactly(history: ReadingHistory, count: int) -> bool:
    # A busy emulator answers for 500 of 100,000 readings too late.
    return contents(await scan_all(history, 100)) == contents(ROWS[:count])


def all_of(count: int, written: int) -> str:
    return f"telemetry: {count} of {count} there, {written} written now"


async def killed(config: ServerConfig, text: str, *arguments: str) -> str:
    """Kill a copy as soon as it prints `text`; returns its output."""
    return await asyncio.to_thread(kill_when_shown, arguments, text, **settings(config))


def about_telemetry(done: Result) -> list[str]:
    return [line for line in results(done) if line.startswith("telemetry")]


def progress_file(config: ServerConfig) -> Path:
    return config.data_dir / "copy-store.json"


async def test_a_copy_to_firestore_and_back_keeps_every_document(
    config: ServerConfig, firestore: FirestoreEmulator
) -> None:
    async with open_both(config) as stores:
        await write_all(stores["sqlite"].readings, ROWS[:MANY])
    there = await asyncio.to_thread(run, config, *TO_FIRESTORE)
    assert about_telemetry(there) == [all_of(MANY, MANY)]
    assert not progress_file(config).exists()
    # Firestore's TTL works on timestamps and not on numbers.
    google = emulator_client(firestore.host, config.google_cloud_project)
    now = ROWS[7].reading.timestamp_ms
    query = google.collection("telemetry").where(filter=FieldFilter("timestamp_ms", "==", now))
    (raw,) = [found.to_dict() async for found in query.stream()]
    await google._firestore_api.transport.close()
    expire_at = now + config.telemetry_days * DAY_MS
    assert raw["expire_at"].timestamp() == pytest.approx(expire_at / 1000)
    other = dataclasses.replace(config, data_dir=config.data_dir / "other")
    back = await asyncio.to_thread(run, other, *TO_SQLITE)
    assert about_telemetry(back) == [all_of(MANY, MANY)]
    async with open_both(other) as stores:
        for end in stores.values():
            assert await holds_exactly(end.readings, MANY)


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
async def test_a_copy_resumes_where_a_killed_one_stopped(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    async with open_both(config) as stores:
        await write_all(stores[arguments[2]].readings, ROWS[:FEW])
    shown = await killed(config, f"telemetry: {KILLED_AT} of {FEW}", *arguments)
    assert f"telemetry: {FEW} of" not in shown
    ((pair, kept),) = json.loads(progress_file(config).read_bytes()).items()
    assert config.google_cloud_project in pair
    assert str(config.database) in pair
    assert config.firestore_emulator_host in pair
    seen = kept["telemetry"]["seen"]
    assert 0 < seen < FEW
    async with open_both(config) as stores:
        before = await stores[arguments[4]].readings.count()
        assert seen <= before < FEW
    # The second copy resumes after the recorded position, gets further and is killed too.
    shown = await killed(config, f"telemetry: {seen + 1000} of {FEW}", *arguments)
    assert re.findall(r"telemetry: (\d+) of", shown)[:2] == [str(seen + 500), str(seen + 1000)]
    assert f"telemetry: going on after {seen}, where the last copy stopped" in shown
    async with open_both(config) as stores:
        before = await stores[arguments[4]].readings.count()
    assert seen + 1000 <= before < FEW
    done = await asyncio.to_thread(run, config, *arguments)
    resumed, result = about_telemetry(done)
    assert result == all_of(FEW, FEW - before)
    position = re.search(r"going on after (\d+),", resumed)
    assert position
    assert int(position[1]) > seen
    assert not progress_file(config).exists()
    async with open_both(config) as stores:
        assert await holds_exactly(stores[arguments[4]].readings, FEW)


async def test_a_resumed_copy_also_copies_documents_that_changed_after_they_were_copied(
    config: ServerConfig,
) -> None:
    """Zones change after they were copied, so no position is recorded for them."""
    zones = [Put("zones", f"default_{number:03}", {"temp_tenths": 1}) for number in range(600)]
    async with open_both(config) as stores:
        documents = stores["sqlite"].documents
        await fill_entries(documents, FEW)
        await documents.write(zones[:500])
        await documents.write(zones[500:])
    await killed(config, f"audit_log: {KILLED_AT} of {FEW}", *TO_FIRESTORE)
    async with open_both(config) as stores:
        entry = Put("audit_log", "0", {"action": "LOGIN"})
        zone = Put("zones", "default_000", {"temp_tenths": 2})
        await stores["sqlite"].documents.write([entry, zone])
    # The new entry sorts before the position. The count shows that it is missing, and the next copy
    # starts from the beginning.
    done = await asyncio.to_thread(run, config, *TO_FIRESTORE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "bas_server.py: not complete, copy again: audit_log"
    assert f"audit_log: {FEW} of {FEW + 1} there" in done.stdout
    assert "zones: 600 of 600 there, 1 written now" in done.stdout.splitlines()
    assert not progress_file(config).exists()
    done = await asyncio.to_thread(run, config, *TO_FIRESTORE)
    assert f"audit_log: {FEW + 1} of {FEW + 1} there, 1 written now" in results(done)
    async with open_both(config) as stores:
        changed = await stores["firestore"].documents.get("zones", "default_000")
    assert changed is not None
    assert changed.fields == {"temp_tenths": 2}


async def test_a_copy_to_another_target_starts_from_the_beginning(
    config: ServerConfig, firestore: FirestoreEmulator
) -> None:
    async with open_both(config) as stores:
        await write_all(stores["sqlite"].readings, ROWS[:FEW])
    await killed(config, f"telemetry: {KILLED_AT} of {FEW}", *TO_FIRESTORE)
    other = dataclasses.replace(config, google_cloud_project=fresh_project())
    done = await asyncio.to_thread(run, other, *TO_FIRESTORE)
    assert about_telemetry(done) == [all_of(FEW, FEW)]
    assert config.google_cloud_project in progress_file(config).read_text(), (
        "its place is still known"
    )
