"""copy-store between a SQLite file and the Firestore emulator, run as an operator runs it."""

from __future__ import annotations

import asyncio
import pty
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bas_server import INDEXES, open_base, open_both, open_container
from server.commands.main import main
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.container import CopyEnd, OpenBoth
from server.legacy.database import LegacyDatabase
from server.services.firestore import patience
from server.services.firestore.copy import READINGS, copy_readings
from server.services.firestore.google import client as google_client
from server.services.firestore.routing import COLLECTIONS
from server.services.ports.documents import (
    Delete,
    Document,
    DocumentClient,
    Fields,
    Put,
    Query,
    Write,
)
from server.services.ports.indexes import load_indexes
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.factory import SqliteFiles
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.reading_writes import NO_READINGS, ReadingSet
from tests.support.commands import command, refused, results, run, settings
from tests.support.firestore import SHORT_LIVED
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tools.daemon import free_port
from tools.firestore_emulator import FirestoreEmulator, fresh_project
from tools.process import clean_environment

# Two readings have the same time, which tells a copy that compares times from one of contents.
ROWS = rows_of(
    reading(START_MS + number // 2 * 60_000, number % 5, device_id=f"d{number % 3}")
    for number in range(1200)
)
TO_FIRESTORE = ("--from", "sqlite", "--to", "firestore")
TO_SQLITE = ("--from", "firestore", "--to", "sqlite")


@pytest.fixture
def config(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    """An empty folder and an empty project of the emulator; every switch is off."""
    return ServerConfig(
        data_dir=tmp_path / "data",
        use_emulators=True,
        firestore_emulator_host=firestore.host,
        google_cloud_project=fresh_project(),
    )


async def copied(config: ServerConfig, *arguments: str) -> list[str]:
    """Run copy-store, which must succeed; returns its output lines."""
    return results(await asyncio.to_thread(run, config, "copy-store", *arguments))


def lines(written: Mapping[str, int], there: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: {there[name]} of {there[name]} there, {written.get(name, 0)} written now"
        for name in COLLECTIONS
    ]


def data() -> dict[str, dict[str, Fields]]:
    """Documents of every collection but that of readings, with every kind of value."""
    odd: Fields = {
        "whole": 1,
        "real": 1.0,
        "yes": True,
        "nothing": None,
        "text": "ä\u2028\n",
        "big": 2**63 - 1,
        "nested": {"Any key": [1, [2.5, {}], []]},
    }
    return {name: {"a": odd, "b%5F_c": {}} for name in COLLECTIONS if name != READINGS}


DATA = data()
ALL = {name: len(documents) for name, documents in DATA.items()} | {READINGS: len(ROWS)}


async def fill(store: CopyEnd) -> None:
    for name, documents in DATA.items():
        puts = [Put(name, doc_id, fields) for doc_id, fields in documents.items()]
        await store.documents.write(puts)
    await write_all(store.readings, ROWS)


async def holds(client: DocumentClient) -> dict[str, dict[str, Fields]]:
    found = {}
    for name in DATA:
        documents: list[Document] = (await client.query(Query(name), 5000)).documents
        found[name] = {
            document.id: document.fields
            for document in documents
            # The target's own entry about the copy.
            if document.fields.get("event_type") != "STORE_COPIED"
        }
    return found


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
async def test_every_collection_arrives_and_a_second_copy_writes_nothing(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    async with open_both(config) as stores:
        await fill(stores[arguments[1]])
    assert await copied(config, *arguments) == lines(ALL, ALL)
    assert await copied(config, *arguments) == lines({}, ALL)
    async with open_both(config) as stores:
        target = stores[arguments[3]]
        # repr distinguishes 1, 1.0 and True.
        for name, documents in (await holds(target.documents)).items():
            assert {key: repr(sorted(value.items())) for key, value in documents.items()} == {
                key: repr(sorted(value.items())) for key, value in DATA[name].items()
            }
        assert contents(await scan_all(target.readings)) == contents(ROWS)


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
async def test_a_copy_after_an_interrupted_one_writes_only_the_missing_documents(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    async with open_both(config) as stores:
        source, target = stores[arguments[1]], stores[arguments[3]]
        await fill(source)
        pages = copy_readings(source.readings, target.readings)
        assert (await anext(pages)).written == 500
        await pages.aclose()
        assert await target.readings.count() == 500
    assert await copied(config, *arguments) == lines({**ALL, READINGS: len(ROWS) - 500}, ALL)


async def test_a_copy_overwrites_changed_documents_and_keeps_those_of_the_target_alone(
    config: ServerConfig,
) -> None:
    async with open_both(config) as stores:
        await fill(stores["sqlite"])
        await fill(stores["firestore"])
        changed = {**DATA["zones"]["a"], "whole": 1.0}
        puts = [Put("zones", "a", changed), Put("zones", "own", {})]
        await stores["firestore"].documents.write(puts)
    assert await copied(config, *TO_FIRESTORE) == lines({"zones": 1}, ALL)
    async with open_both(config) as stores:
        zones = (await holds(stores["firestore"].documents))["zones"]
    assert repr(zones["a"]["whole"]) == "1"
    assert zones["own"] == {}


async def test_a_copy_on_a_terminal_shows_its_progress(config: ServerConfig) -> None:
    async with open_both(config) as stores:
        await fill(stores["sqlite"])
    leader, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command("copy-store", *TO_FIRESTORE),
        stdout=terminal,
        env=clean_environment(**settings(config)),
    )
    async with asyncio.timeout(120):
        assert await process.wait() == 0
    with open(terminal, "wb"), open(leader, "rb", buffering=0) as screen:  # noqa: ASYNC230
        shown = screen.read(10_000)
    counts = b"".join(b"telemetry: %d of 1200\r" % done for done in (500, 1000, 1200))
    assert counts + b"\x1b[Ktelemetry: 1200 of 1200 there, 1200 written now" in shown


def copy_with(open_stores: OpenBoth) -> int:
    """Run the command in this process with these stores."""
    arguments = ["copy-store", *TO_FIRESTORE]
    return main(
        arguments, open_base, open_container, open_stores, LegacyDatabase, SqliteFiles(INDEXES)
    )


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
def test_a_copy_reports_that_firestore_is_unreachable(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "bas.db").touch()
    host = f"127.0.0.1:{free_port()}"
    away = ServerConfig(
        data_dir=tmp_path,
        use_emulators=True,
        firestore_emulator_host=host,
        google_cloud_project="not-there",
    )
    refused(run(away, "copy-store", *arguments), "Store unavailable", host)


@pytest.mark.long
def test_a_copy_reports_that_firestore_hangs_during_the_copy(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 5.0)
    monkeypatch.setattr(google_client, "COPY_S", 10.0)
    config.data_dir.mkdir()
    config.database.touch()
    with FirestoreEmulator(SHORT_LIVED) as own:
        for variable, value in (settings(config) | {"FIRESTORE_EMULATOR_HOST": own.host}).items():
            monkeypatch.setenv(variable, value)

        @asynccontextmanager
        async def soon_silent(config: ServerConfig) -> AsyncIterator[dict[str, CopyEnd]]:
            async with open_both(config) as stores:
                await fill(stores["sqlite"])
                firestore = stores["firestore"].documents
                write = firestore.write

                async def last_write(writes: Sequence[Write]) -> list[str]:
                    versions = await write(writes)
                    own.pause()
                    return versions

                monkeypatch.setattr(firestore, "write", last_write)
                yield stores

        assert copy_with(soon_silent) == 1
        own.resume()
    said = capsys.readouterr()
    assert said.out == ""
    assert "Store unavailable" in said.err.splitlines()[-1]
    assert own.host in said.err.splitlines()[-1]


def test_a_copy_refuses_a_missing_database_and_does_not_create_it(config: ServerConfig) -> None:
    refused(run(config, "copy-store", *TO_FIRESTORE), str(config.database), "not there")
    assert not config.data_dir.exists()


def test_a_copy_names_a_data_folder_that_is_not_writable(
    config: ServerConfig, tmp_path: Path
) -> None:
    config.data_dir.write_text("a file in the way")
    refused(run(config, "copy-store", *TO_SQLITE), str(config.data_dir))


@pytest.mark.parametrize(
    "arguments",
    [("--from", "sqlite", "--to", "sqlite"), ("--from", "sqlite"), ("--to", "redis")],
    ids=["the same", "one", "unknown"],
)
def test_a_copy_with_wrong_stores_ends_with_exit_code_2_and_an_error(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    done = run(config, "copy-store", *arguments)
    assert done.returncode == 2
    assert "error" in done.stderr.splitlines()[-1]


class Forgetful(SqliteClient):
    """A store that loses one of the zones that are written to it."""

    async def write(self, writes: Sequence[Write], readings: ReadingSet = NO_READINGS) -> list[str]:
        versions = await super().write(writes, readings)
        await super().write([Delete("zones", "a")])
        return versions


def test_a_copy_with_missing_documents_ends_with_exit_code_1_and_reports_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAS_DATA_DIR", str(tmp_path))

    @asynccontextmanager
    async def forgetful(config: ServerConfig) -> AsyncIterator[dict[str, CopyEnd]]:
        indexes = load_indexes(INDEXES)
        source = SqliteClient(config.database, indexes, SystemClock(), Metrics())
        target = Forgetful(tmp_path / "target.db", indexes, SystemClock(), Metrics())
        async with source, target:
            ends = [CopyEnd(client, SqliteHistory(client)) for client in (source, target)]
            await fill(ends[0])
            yield dict(zip(("sqlite", "firestore"), ends, strict=True))

    (tmp_path / "bas.db").touch()
    assert copy_with(forgetful) == 1
    said = capsys.readouterr()
    assert "zones: 1 of 2 there, 2 written now" in said.out.splitlines()
    assert "devices: 2 of 2 there, 2 written now" in said.out.splitlines()
    assert said.err.splitlines()[-1] == "bas_server.py: not complete, copy again: zones"
