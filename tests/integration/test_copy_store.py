"""copy-store between a real SQLite file and a real Firestore emulator, as an operator runs it."""

from __future__ import annotations

import asyncio
import pty
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bas_server import open_base, open_both, open_container
from server.cli import main
from server.clock import SystemClock
from server.config.config import ServerConfig
from server.metrics import Metrics
from server.services.embedded.legacy_database import LegacyDatabase
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import (
    Delete,
    Document,
    DocumentClient,
    Fields,
    Put,
    Query,
    Write,
)
from server.services.firestore.copying import copy
from server.services.firestore.routing import COLLECTIONS
from server.serving import Opener
from tests.support.commands import command, refused, results, run, settings
from tests.support.daemon import free_port
from tests.support.firestore import FirestoreEmulator, fresh_project
from tests.support.process import clean_environment

READINGS = 1200
TO_FIRESTORE = ("--from", "sqlite", "--to", "firestore")
TO_SQLITE = ("--from", "firestore", "--to", "sqlite")


@pytest.fixture
def config(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    """A folder and a database of the emulator that are both empty; no switch is on."""
    return ServerConfig(
        data_dir=tmp_path / "data",
        use_emulators=True,
        firestore_emulator_host=firestore.host,
        google_cloud_project=fresh_project(),
    )


async def copied(config: ServerConfig, *arguments: str) -> list[str]:
    """What a copy that went well said."""
    return results(await asyncio.to_thread(run, config, "copy-store", *arguments))


def lines(written: Mapping[str, int], there: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: {there[name]} of {there[name]} there, {written.get(name, 0)} written now"
        for name in COLLECTIONS
    ]


def data() -> dict[str, dict[str, Fields]]:
    """Documents of every collection, with every kind of value."""
    readings: dict[str, Fields] = {
        f"reading-{number:05}": {"at": number, "expire_at": 2_000_000_000_000 + number}
        for number in range(READINGS)
    }
    odd: Fields = {
        "whole": 1,
        "real": 1.0,
        "yes": True,
        "nothing": None,
        "text": "ä\u2028\n",
        "big": 2**63 - 1,
        "nested": {"Any key": [1, [2.5, {}], []]},
    }
    return {name: {"a": odd, "b%5F_c": {}} for name in COLLECTIONS} | {"telemetry": readings}


DATA = data()
ALL = {name: len(documents) for name, documents in DATA.items()}


async def fill(client: DocumentClient) -> None:
    for name, documents in DATA.items():
        puts = [Put(name, doc_id, fields) for doc_id, fields in documents.items()]
        for first in range(0, len(puts), 500):
            await client.write(puts[first : first + 500])


async def holds(client: DocumentClient) -> dict[str, dict[str, Fields]]:
    found = {}
    for name in COLLECTIONS:
        documents: list[Document] = (await client.query(Query(name), 5000)).documents
        found[name] = {document.id: document.fields for document in documents}
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
        # repr tells 1, 1.0 and True apart.
        for name, documents in (await holds(stores[arguments[3]])).items():
            assert {key: repr(sorted(value.items())) for key, value in documents.items()} == {
                key: repr(sorted(value.items())) for key, value in DATA[name].items()
            }


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
async def test_a_copy_that_was_interrupted_goes_on_with_what_is_missing(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    async with open_both(config) as stores:
        source, target = stores[arguments[1]], stores[arguments[3]]
        await fill(source)
        pages = copy(source, target, "telemetry")
        assert (await anext(pages)).written == 500
        await pages.aclose()
        assert (await target.aggregate(Query("telemetry"))).count == 500
    assert await copied(config, *arguments) == lines({**ALL, "telemetry": READINGS - 500}, ALL)


async def test_what_differs_is_overwritten_and_what_only_the_target_has_stays(
    config: ServerConfig,
) -> None:
    async with open_both(config) as stores:
        await fill(stores["sqlite"])
        await fill(stores["firestore"])
        changed = {**DATA["zones"]["a"], "whole": 1.0}
        await stores["firestore"].write([Put("zones", "a", changed), Put("zones", "own", {})])
    assert await copied(config, *TO_FIRESTORE) == lines({"zones": 1}, ALL)
    async with open_both(config) as stores:
        zones = (await holds(stores["firestore"]))["zones"]
    assert repr(zones["a"]["whole"]) == "1"
    assert zones["own"] == {}


async def test_on_a_terminal_a_count_runs_along(config: ServerConfig) -> None:
    async with open_both(config) as stores:
        await fill(stores["sqlite"])
    leader, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command("copy-store", *TO_FIRESTORE),
        stdout=terminal,
        env=clean_environment(**settings(config)),
    )
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    with open(terminal, "wb"), open(leader, "rb", buffering=0) as screen:  # noqa: ASYNC230
        shown = screen.read(10_000)
    counts = b"".join(b"telemetry: %d of 1200\r" % done for done in (500, 1000, 1200))
    assert counts + b"\x1b[Ktelemetry: 1200 of 1200 there, 1200 written now" in shown


def copy_with(open_stores: Opener) -> int:
    """Run the command in this process, on these stores."""
    arguments = ["copy-store", *TO_FIRESTORE]
    return main(arguments, open_base, open_container, open_stores, LegacyDatabase)


@pytest.mark.parametrize("arguments", [TO_FIRESTORE, TO_SQLITE], ids=["firestore", "sqlite"])
def test_a_firestore_that_is_away_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "bas.db").touch()
    host = f"127.0.0.1:{free_port()}"
    away = ServerConfig(
        data_dir=tmp_path,
        use_emulators=True,
        firestore_emulator_host=host,
        google_cloud_project="not-there",
    )
    refused(run(away, "copy-store", *arguments), "Store unavailable", host)


def test_a_firestore_that_falls_silent_in_the_middle_is_told(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config.data_dir.mkdir()
    config.database.touch()
    with FirestoreEmulator() as own:
        for variable, value in (settings(config) | {"FIRESTORE_EMULATOR_HOST": own.host}).items():
            monkeypatch.setenv(variable, value)

        @asynccontextmanager
        async def soon_silent(config: ServerConfig) -> AsyncIterator[dict[str, DocumentClient]]:
            async with open_both(config) as stores:
                await fill(stores["sqlite"])
                write = stores["firestore"].write

                async def last_write(writes: Sequence[Write]) -> list[str]:
                    versions = await write(writes)
                    own.pause()
                    return versions

                monkeypatch.setattr(stores["firestore"], "write", last_write)
                yield stores

        assert copy_with(soon_silent) == 1
        own.resume()
    said = capsys.readouterr()
    assert said.out == ""
    assert "Store unavailable" in said.err.splitlines()[-1]
    assert own.host in said.err.splitlines()[-1]


def test_a_database_that_is_not_there_is_no_empty_one(config: ServerConfig) -> None:
    refused(run(config, "copy-store", *TO_FIRESTORE), str(config.database), "not there")
    assert not config.data_dir.exists()


def test_a_folder_that_cannot_be_written_is_told(config: ServerConfig, tmp_path: Path) -> None:
    config.data_dir.write_text("a file in the way")
    refused(run(config, "copy-store", *TO_SQLITE), str(config.data_dir))


@pytest.mark.parametrize(
    "arguments",
    [("--from", "sqlite", "--to", "sqlite"), ("--from", "sqlite"), ("--to", "redis")],
    ids=["the same", "one", "unknown"],
)
def test_wrong_stores_are_told_with_exit_code_2(
    config: ServerConfig, arguments: tuple[str, ...]
) -> None:
    done = run(config, "copy-store", *arguments)
    assert done.returncode == 2
    assert "error" in done.stderr.splitlines()[-1]


class Forgetful(SqliteClient):
    """A store that loses one zone of those it was given."""

    async def write(self, writes: Sequence[Write]) -> list[str]:
        versions = await super().write(writes)
        await super().write([Delete("zones", "a")])
        return versions


def test_documents_that_did_not_arrive_are_told_with_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAS_DATA_DIR", str(tmp_path))

    @asynccontextmanager
    async def forgetful(config: ServerConfig) -> AsyncIterator[dict[str, DocumentClient]]:
        source = SqliteClient(config.database, [], SystemClock(), Metrics())
        target = Forgetful(tmp_path / "target.db", [], SystemClock(), Metrics())
        async with source, target:
            await fill(source)
            yield {"sqlite": source, "firestore": target}

    (tmp_path / "bas.db").touch()
    assert copy_with(forgetful) == 1
    said = capsys.readouterr()
    assert "zones: 1 of 2 there, 2 written now" in said.out.splitlines()
    assert "devices: 2 of 2 there, 2 written now" in said.out.splitlines()
    assert said.err.splitlines()[-1] == "bas_server.py: not complete, copy again: zones"
