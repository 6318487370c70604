"""copy-store with volume: there and back, killed in the middle, and going on where it stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest

from bas_server import open_both
from server.config.config import ServerConfig
from server.services.firestore.base import Document, DocumentClient, Put, Query
from server.services.firestore.firestore_connection import emulator_client
from tests.support.commands import Result, results, run, settings
from tests.support.firestore import FirestoreEmulator, fresh_project, on_firestore
from tests.support.process import kill_when_shown

MANY, FEW, KILLED_AT = 20_000, 8000, 2000
TO_FIRESTORE = ("copy-store", "--from", "sqlite", "--to", "firestore")
TO_SQLITE = ("copy-store", "--from", "firestore", "--to", "sqlite")
EXPIRE_AT = 1_999_999_999_123


@pytest.fixture
def config(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    """A folder and a database of the emulator that are both empty."""
    return on_firestore(ServerConfig(data_dir=tmp_path / "data"), firestore.host)


async def fill(client: DocumentClient, count: int, collection: str = "telemetry") -> None:
    """So many documents of a collection."""
    for first in range(0, count, 500):
        numbers = range(first, first + 500)
        await client.write([Put(collection, doc_id(number), fields(number)) for number in numbers])


def doc_id(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()[:32]


def fields(number: int) -> dict[str, object]:
    return {"temp_tenths": number, "expire_at": EXPIRE_AT + number, "real": number / 8}


async def readings(client: DocumentClient) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = await client.query(Query("telemetry"), 5000, cursor or None)
        documents: list[Document] = page.documents
        found |= {document.id: document.fields for document in documents}
        cursor = page.next_cursor
    return found


def expected(count: int) -> dict[str, dict[str, object]]:
    return {doc_id(number): fields(number) for number in range(count)}


def all_of(count: int, written: int) -> str:
    return f"telemetry: {count} of {count} there, {written} written now"


async def killed(config: ServerConfig, text: str, *arguments: str) -> str:
    """What a copy showed that was killed when it showed `text`."""
    return await asyncio.to_thread(kill_when_shown, arguments, text, **settings(config))


def about_telemetry(done: Result) -> list[str]:
    return [line for line in results(done) if line.startswith("telemetry")]


def places(config: ServerConfig) -> Path:
    return config.data_dir / "copy-store.json"


async def test_many_documents_go_to_firestore_and_back_as_they_were(
    config: ServerConfig, firestore: FirestoreEmulator
) -> None:
    async with open_both(config) as stores:
        await fill(stores["sqlite"], MANY)
    there = await asyncio.to_thread(run, config, *TO_FIRESTORE)
    assert about_telemetry(there) == [all_of(MANY, MANY)]
    assert not places(config).exists()
    # What Firestore's TTL deletes by is a time, which no number is.
    google = emulator_client(firestore.host, config.google_cloud_project)
    raw = (await google.collection("telemetry").document(doc_id(7)).get()).to_dict()
    await google._firestore_api.transport.close()
    assert raw["expire_at"].timestamp() == pytest.approx((EXPIRE_AT + 7) / 1000)
    other = dataclasses.replace(config, data_dir=config.data_dir / "other")
    back = await asyncio.to_thread(run, other, *TO_SQLITE)
    assert about_telemetry(back) == [all_of(MANY, MANY)]
    async with open_both(other) as stores:
        assert await readings(stores["sqlite"]) == expected(MANY)
        assert await readings(stores["firestore"]) == expected(MANY)


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
async def test_a_copy_that_was_killed_goes_on_where_it_stopped(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    async with open_both(config) as stores:
        await fill(stores[arguments[2]], FEW)
    shown = await killed(config, f"telemetry: {KILLED_AT} of {FEW}", *arguments)
    assert f"telemetry: {FEW} of" not in shown
    ((pair, kept),) = json.loads(places(config).read_bytes()).items()
    assert config.google_cloud_project in pair
    assert str(config.database) in pair
    assert config.firestore_emulator_host in pair
    seen = kept["telemetry"]["seen"]
    assert KILLED_AT <= seen < FEW
    async with open_both(config) as stores:
        before = len(await readings(stores[arguments[4]]))
        assert seen <= before < FEW
    # The next one is killed too: it began behind the place, and has got further.
    shown = await killed(config, f"telemetry: {seen + 1000} of {FEW}", *arguments)
    assert re.findall(r"telemetry: (\d+) of", shown)[:2] == [str(seen + 500), str(seen + 1000)]
    assert f"telemetry: going on after {seen}, where the last copy stopped" in shown
    async with open_both(config) as stores:
        before = len(await readings(stores[arguments[4]]))
    assert seen + 1000 <= before < FEW
    done = await asyncio.to_thread(run, config, *arguments)
    told, result = about_telemetry(done)
    assert result == all_of(FEW, FEW - before)
    place = re.search(r"going on after (\d+),", told)
    assert place
    assert int(place[1]) >= seen + 1000
    assert not places(config).exists()
    async with open_both(config) as stores:
        assert await readings(stores[arguments[4]]) == expected(FEW)


async def test_what_changed_since_the_kill_is_copied_though_it_was_copied_before(
    config: ServerConfig,
) -> None:
    """Zones change: those before a place would be missed, and so they have none."""
    zones = [Put("zones", f"default_{number:03}", {"temp_tenths": 1}) for number in range(600)]
    async with open_both(config) as stores:
        await fill(stores["sqlite"], FEW, "audit_log")
        await stores["sqlite"].write(zones[:500])
        await stores["sqlite"].write(zones[500:])
    await killed(config, f"audit_log: {KILLED_AT} of {FEW}", *TO_FIRESTORE)
    async with open_both(config) as stores:
        entry = Put("audit_log", "0", {"action": "LOGIN"})
        zone = Put("zones", "default_000", {"temp_tenths": 2})
        await stores["sqlite"].write([entry, zone])
    # The new entry lies before the place: the count finds it missing, and the next copy looks.
    done = await asyncio.to_thread(run, config, *TO_FIRESTORE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "bas_server.py: not complete, copy again: audit_log"
    assert f"audit_log: {FEW} of {FEW + 1} there" in done.stdout
    assert "zones: 600 of 600 there, 1 written now" in done.stdout.splitlines()
    assert not places(config).exists()
    done = await asyncio.to_thread(run, config, *TO_FIRESTORE)
    assert f"audit_log: {FEW + 1} of {FEW + 1} there, 1 written now" in results(done)
    async with open_both(config) as stores:
        changed = await stores["firestore"].get("zones", "default_000")
    assert changed is not None
    assert changed.fields == {"temp_tenths": 2}


async def test_another_target_is_copied_to_from_the_start(
    config: ServerConfig, firestore: FirestoreEmulator
) -> None:
    async with open_both(config) as stores:
        await fill(stores["sqlite"], FEW)
    await killed(config, f"telemetry: {KILLED_AT} of {FEW}", *TO_FIRESTORE)
    other = dataclasses.replace(config, google_cloud_project=fresh_project())
    done = await asyncio.to_thread(run, other, *TO_FIRESTORE)
    assert about_telemetry(done) == [all_of(FEW, FEW)]
    assert config.google_cloud_project in places(config).read_text(), "its place is still known"
