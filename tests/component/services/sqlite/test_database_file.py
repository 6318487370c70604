"""A database file that is moved, deleted or replaced while the server runs, and SQLite's part."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.documents import PAGE_MAX, Create, Query, StoreUnavailable
from server.services.sqlite.client import SqliteClient

SUFFIXES = ("", "-wal", "-shm")
# More documents than fit into one page, and fewer than cause a checkpoint.
SOME = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "bas.db"


@contextlib.asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteClient]:
    async with SqliteClient(path, [], SystemClock(), Metrics(), **options) as client:
        yield client


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        yield connection


async def store(client: SqliteClient, name: str) -> None:
    """Stores SOME documents whose ids start with `name`."""
    await client.write([Create("things", f"{name}{n}", {"text": "x" * 500}) for n in range(SOME)])


async def lost(client: SqliteClient) -> str:
    """The error of a write that must fail."""
    with pytest.raises(StoreUnavailable) as failed:
        await client.write([Create("things", "not stored", {})])
    return str(failed.value)


async def names(client: SqliteClient) -> set[str]:
    """The starts of the ids of all documents, each with SOME of them; "not stored" is ignored."""
    page = await client.query(Query("things"), PAGE_MAX)
    ids = {document.id for document in page.documents} - {"not stored"}
    found = {one.rstrip("0123456789") for one in ids}
    assert ids == {f"{name}{n}" for name in found for n in range(SOME)}
    return found


def back_up(path: Path, copy: Path) -> Path:
    with connected(path) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def check(path: Path) -> None:
    """AssertionError if SQLite finds the file damaged."""
    with connected(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def beside(path: Path) -> dict[str, bytes]:
    """The contents of `-wal` and `-shm` of this path."""
    return {name: Path(f"{path}{name}").read_bytes() for name in SUFFIXES[1:]}


def take_away(path: Path) -> Path:
    """Moves the file; returns its new path."""
    return path.rename(path.with_name("elsewhere"))


def put_back(path: Path) -> None:
    path.rename(path.with_name("bas.db"))


def move(path: Path, target: Path) -> None:
    for name in SUFFIXES:
        os.rename(f"{path}{name}", f"{target}{name}")


def test_sqlite_whose_file_was_moved_away_leaves_the_wal_of_another_file_alone(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "a.db", tmp_path / "b.db"
    with connected(other) as theirs, connected(path) as ours:
        theirs.execute("CREATE TABLE t AS SELECT 1 AS n")
        ours.execute("CREATE TABLE t AS SELECT 2 AS n")
        move(path, tmp_path / "moved.db")
        move(other, path)
        before = beside(path)
        ours.close()
        assert beside(path) == before
        assert theirs.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_sqlite_whose_file_was_replaced_leaves_the_wal_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "a.db", tmp_path / "b.db"
    with connected(path) as ours:
        ours.execute("CREATE TABLE t AS SELECT 2 AS n")
        with connected(other) as theirs:
            theirs.execute("CREATE TABLE t AS SELECT 1 AS n")
        before = beside(path)
        other.rename(path)
        ours.close()
        assert beside(path) == before


def test_sqlite_commits_into_a_deleted_file_without_an_error(tmp_path: Path) -> None:
    with connected(tmp_path / "a.db") as ours:
        ours.execute("CREATE TABLE t AS SELECT 1 AS n")
        (tmp_path / "a.db").unlink()
        ours.execute("UPDATE t SET n = 2")
        assert ours.execute("SELECT n FROM t").fetchall() == [(2,)]


def test_sqlite_damages_a_backup_with_the_wal_of_the_file_that_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with connected(path) as ours:
        ours.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
        copy = back_up(path, tmp_path / "copy.db")
        fill = "INSERT INTO t (text) SELECT zeroblob(500) FROM json_each(?)"
        ours.execute(fill, [str(list(range(1000)))])
        ours.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ours.execute(fill, [str(list(range(10)))])
        copy.rename(path)
    with connected(path) as again:
        assert again.execute("PRAGMA integrity_check").fetchall() != [("ok",)]


@pytest.mark.parametrize("gone", [Path.unlink, take_away])
async def test_a_commit_into_a_missing_file_fails(
    path: Path, gone: Callable[[Path], object]
) -> None:
    async with opened(path) as client:
        await store(client, "a")
        gone(path)
        assert "gone" in await lost(client)
        assert "put it back" in await lost(client)


async def test_a_file_that_is_put_back_has_all_stored_documents(path: Path) -> None:
    async with opened(path) as client:
        await store(client, "a")
        elsewhere = take_away(path)
        await lost(client)
        await lost(client)
        put_back(elsewhere)
        await store(client, "b")
        assert await names(client) == {"a", "b"}
    check(path)
    async with opened(path) as client:
        assert await names(client) == {"a", "b"}


async def test_a_folder_that_is_put_back_has_all_stored_documents(path: Path) -> None:
    async with opened(path) as client:
        await store(client, "a")
        path.parent.rename(path.parent.with_name("elsewhere"))
        await lost(client)
        await lost(client)
        path.parent.with_name("elsewhere").rename(path.parent)
        await store(client, "b")
        assert await names(client) == {"a", "b"}


async def test_a_backup_that_replaces_the_file_is_used_unchanged(
    path: Path, tmp_path: Path
) -> None:
    async with opened(path) as client:
        await store(client, "before")
        copy = back_up(path, tmp_path / "copy.db")
        await store(client, "after")
        with connected(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await store(client, "last")
        copy.rename(path)
        assert "another one" in await lost(client)
        await store(client, "new")
        # The old file's `-wal` is kept, and not used.
        assert path.with_name("bas.db-wal.of-replaced").stat().st_size > 0
        assert await names(client) == {"before", "new"}
    check(path)
    async with opened(path) as client:
        assert await names(client) == {"before", "new"}


async def test_a_copy_with_its_own_wal_is_used_with_it(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with opened(path) as client:
        await store(client, "before")
        shutil.copytree(path.parent, copy)
        await store(client, "after")
        move(copy / "bas.db", path)
        await lost(client)
        await store(client, "new")
        assert await names(client) == {"before", "new"}
        assert not list(path.parent.glob("*.of-replaced"))
    check(path)


async def test_of_two_processes_neither_removes_the_other_s_new_wal(
    path: Path, tmp_path: Path
) -> None:
    async with opened(path) as a, opened(path) as b:
        await store(a, "before")
        copy = back_up(path, tmp_path / "copy.db")
        await store(b, "after")
        copy.rename(path)
        await lost(a)
        await store(a, "of a")
        await lost(b)
        await store(b, "of b")
        await store(a, "again of a")
        expected = {"before", "of a", "of b", "again of a"}
        assert await names(a) == expected
        assert await names(b) == expected
    check(path)
    async with opened(path) as client:
        assert await names(client) == expected


async def test_a_replacement_of_the_file_while_it_is_opened_is_noticed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as client:
        await store(client, "before")
        copies = [back_up(path, tmp_path / f"copy{n}.db") for n in range(2)]
        copies.pop().rename(path)
        await lost(client)
        connect = sqlite3.connect

        def connect_and_replace(*arguments: object, **options: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore
            if copies and not options.get("uri"):
                copies.pop().rename(path)
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect_and_replace)
        await lost(client)
        await store(client, "new")
    check(path)
    async with opened(path) as client:
        assert await names(client) == {"before", "new"}


async def test_every_failed_write_is_reported(path: Path) -> None:
    failures: list[StoreUnavailable] = []
    async with opened(path) as client:
        client.writer.on_failure = failures.append
        await store(client, "a")
        assert not failures
        take_away(path)
        with pytest.raises(StoreUnavailable):
            await client.delete_expired(0, 1)
    assert [str(error) for error in failures] == [
        str(error) for error in failures if "gone" in str(error)
    ]
    assert len(failures) == 1


async def test_the_log_has_cause_file_and_remedy_of_a_failed_write_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, write_timeout_s=1) as client:
        with connected(path) as other:
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(2):
                assert str(path) not in await lost(client)  # strangers get this text too
            other.execute("ROLLBACK")
    lines = [line for line in caplog.messages if "database is locked" in line]
    assert len(lines) == 1
    assert f"{path}: database is locked (another program keeps it locked: end that)" in lines[0]
