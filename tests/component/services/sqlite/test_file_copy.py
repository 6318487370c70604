"""A back-up is one complete file of one moment, whatever others write; a restore reads it back."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.services.sqlite.file_copy import PAGES_AT_ONCE, back_up, restore
from server.services.sqlite.new_file import NewFile

ROWS = 4000
BODY = json.dumps(
    {"cool": True, "heat": True, "cool_changed_ms": 1.5, "run": "boot", "x": "y" * 900}
)


def quiet(what: str, done: int, total: int) -> None:
    """Shows no progress."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """A database as the server makes it, of several steps of a copy, with a -wal."""
    path = tmp_path / "bas.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE zones (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL,"
            " body TEXT NOT NULL)"
        )
        connection.execute('CREATE INDEX "zones.expire_at" ON zones (version)')
        rows = [(f"z{number}", 1, BODY) for number in range(ROWS)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO zones VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        yield path


def count(path: Path, where: str = "") -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM zones {where}").fetchone()
        return int(found)


def test_commits_beside_a_copy_do_not_start_it_again_and_are_not_in_it(
    database: Path, tmp_path: Path
) -> None:
    steps = []
    with closing(sqlite3.connect(database, isolation_level=None)) as other:

        def commit(what: str, done: int, total: int) -> None:
            steps.append(done)
            other.execute("UPDATE zones SET version = version + 1")
            other.execute("INSERT INTO zones VALUES (?, 1, '{}')", (f"new{len(steps)}",))

        found = back_up(database, tmp_path / "copy.db", False, commit)
        (pages,) = other.execute("PRAGMA page_count").fetchone()
    copied = [done for done in steps if done > 1]
    assert copied == sorted(copied), "it started again"
    assert len(steps) <= pages // PAGES_AT_ONCE + 4
    assert found.rows == {"zones": ROWS}
    assert count(tmp_path / "copy.db") == count(tmp_path / "copy.db", "WHERE version = 1") == ROWS


def test_a_copy_is_of_one_moment_if_a_server_starts_beside_it(
    database: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    back_up(database, alone / "bas.db", False, quiet)
    with closing(sqlite3.connect(alone / "bas.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert [path.name for path in alone.iterdir()] == ["bas.db"]
    started = []

    def start(what: str, done: int, total: int) -> None:
        if not started:
            with closing(sqlite3.connect(alone / "bas.db", isolation_level=None)) as server:
                server.execute("UPDATE zones SET version = version + 1")
            started.append(done)

    back_up(alone / "bas.db", tmp_path / "copy.db", False, start)
    assert count(tmp_path / "copy.db", "WHERE version = 2") in (0, ROWS)


def test_a_copy_is_one_private_file_that_needs_no_other(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    before = os.umask(0)
    try:
        back_up(database, folder / "copy.db", False, quiet)
    finally:
        os.umask(before)
    assert [path.name for path in folder.iterdir()] == ["copy.db"]
    assert (folder / "copy.db").stat().st_mode & 0o777 == 0o600
    folder.chmod(0o500)  # such as a disk that is mounted for reading
    try:
        restore(folder / "copy.db", tmp_path / "restored.db", 7, quiet)
    finally:
        folder.chmod(0o700)
    assert count(tmp_path / "restored.db") == ROWS


def test_a_file_that_exists_is_replaced_only_if_that_is_wanted(
    database: Path, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"
    target.write_bytes(b"older")
    with pytest.raises(FileExistsError, match="--force"):
        back_up(database, target, False, quiet)
    assert target.read_bytes() == b"older"
    back_up(database, target, True, quiet)
    assert count(target) == ROWS


def test_a_copy_that_is_interrupted_leaves_the_older_file_and_nothing_else(
    database: Path, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"
    target.write_bytes(b"older")
    before = set(tmp_path.iterdir())

    def end(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(database, target, True, end)
    assert target.read_bytes() == b"older"
    assert set(tmp_path.iterdir()) == before


def test_the_rest_of_a_killed_copy_is_replaced_and_a_running_one_is_not(
    database: Path, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"
    (tmp_path / "copy.db.unfinished").write_bytes(b"x" * 10_000_000)
    refused = []

    def again(what: str, done: int, total: int) -> None:
        try:
            back_up(database, target, False, quiet)
        except OSError as error:
            refused.append(str(error))

    back_up(database, target, False, again)
    assert count(target) == ROWS
    assert "another process is writing" in refused[0]


def test_a_copy_needs_room_before_it_begins(tmp_path: Path) -> None:
    with NewFile(tmp_path / "copy.db") as new, pytest.raises(OSError, match="free some room"):
        new.need_room(1 << 60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["bas.db", "missing/copy.db", "link.db"])
def test_a_copy_refuses_the_database_itself_a_missing_folder_and_a_link(
    database: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "link.db").symlink_to(database)
    with pytest.raises((OSError, ValueError)):
        back_up(database, tmp_path / target, True, quiet)
    assert count(database) == ROWS


def test_a_copy_of_a_damaged_database_is_refused_and_the_older_one_stays(
    database: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    with database.open("r+b") as file:
        file.seek(4096 * 100)
        file.write(b"\xff" * 4096)
    target = tmp_path / "copy.db"
    target.write_bytes(b"older")
    with pytest.raises(OSError, match="recover"):
        back_up(database, target, True, quiet)
    assert target.read_bytes() == b"older"


def test_after_a_restore_relays_are_unknown_and_off_and_switched_now(
    database: Path, tmp_path: Path
) -> None:
    back_up(database, tmp_path / "copy.db", False, quiet)
    restore(tmp_path / "copy.db", tmp_path / "restored.db", 1234, quiet)
    with closing(sqlite3.connect(tmp_path / "restored.db")) as connection:
        (body,) = connection.execute("SELECT body FROM zones LIMIT 1").fetchone()
    zone = json.loads(body)
    assert (zone["cool"], zone["heat"], zone["relays_known"]) == (False, False, False)
    assert zone["cool_changed_wall_ms"] == 1234
    assert zone["run"] != "boot"


def test_a_restore_reads_the_newest_commits_beside_a_raw_copy(
    database: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("bas.db", "bas.db-wal"):
        (raw / name).write_bytes((tmp_path / name).read_bytes())
    assert (raw / "bas.db-wal").stat().st_size
    restore(raw / "bas.db", tmp_path / "restored.db", 1, quiet)
    assert count(tmp_path / "restored.db") == ROWS


@pytest.mark.parametrize("content", [b"", b"no database\n" * 1000])
def test_a_restore_refuses_what_is_no_database_of_this_server(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises((OSError, ValueError), match="other"):
        restore(tmp_path / "other", tmp_path / "restored.db", 1, quiet)
    assert not (tmp_path / "restored.db").exists()


def test_writers_are_never_locked_out_by_a_copy(database: Path, tmp_path: Path) -> None:
    ended, failed = threading.Event(), []

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as other:
            while not ended.is_set():
                try:
                    other.execute("UPDATE zones SET version = version + 1 WHERE id = 'z1'")
                except sqlite3.Error as error:
                    failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        back_up(database, tmp_path / "copy.db", False, quiet)
    finally:
        ended.set()
        writer.join()
    assert failed == []
