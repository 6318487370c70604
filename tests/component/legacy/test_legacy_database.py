"""LegacyDatabase reads the existing server's database, on real SQLite files."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from server.legacy.database import CELL_BYTES_MAX, COLUMNS, LegacyDatabase
from tests.support.legacy import empty, entry, insert, reading, user, writing
from tools.process import REPOSITORY

BIG = 2**63


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return empty(tmp_path / "old.db")


def rowids(path: Path, table: str = "telemetry", limit: int = 2) -> list[object]:
    """Every row's id, read in pages."""
    found: list[object] = []
    with LegacyDatabase(path) as database:
        while page := database.page(table, found[-1] if found else None, limit):
            assert len(page) <= limit
            found += [row["rowid"] for row in page]
    return found


def test_every_row_is_read_once_whatever_its_rowid_is(path: Path) -> None:
    ids = [-BIG, -5, 0, 1, 2, 3, 99, BIG - 2, BIG - 1]
    insert(path, "telemetry", [reading(1.0, id=one) for one in ids])
    for limit in (1, 2, 4, 100):
        assert rowids(path, limit=limit) == ids


def test_cells_are_read_as_they_are_stored(path: Path) -> None:
    insert(path, "users", [user("anna", "admin", last_login=None, created_at=b"\xff")])
    with LegacyDatabase(path) as database:
        assert set(database.tables) == set(COLUMNS)
        assert database.count("users") == 1
        assert database.count("telemetry") == 0
        (row,) = database.page("users", None, 10)
    assert row == user("anna", "admin") | {
        "rowid": 1,
        "last_login": None,
        "created_at": b"\xff",
        "mfa_enabled": None,
        "password_history": "[]",
    }


def test_text_that_is_not_utf_8_and_text_with_a_nul_can_be_read(path: Path) -> None:
    with writing(path) as connection:
        connection.execute("INSERT INTO users (username) VALUES (CAST(x'61ff62' AS TEXT))")
        connection.execute("INSERT INTO users (username) VALUES (CAST(x'610062' AS TEXT))")
    with LegacyDatabase(path) as database:
        assert [row["username"] for row in database.page("users", None, 10)] == [
            "a\N{REPLACEMENT CHARACTER}b",
            "a\0b",
        ]


def test_long_texts_are_cut_so_that_a_page_stays_small(path: Path) -> None:
    with writing(path) as connection:
        for _ in range(20):
            connection.execute(
                "INSERT INTO audit_log (action, details, username)"
                " VALUES (hex(zeroblob(2000000)), zeroblob(4000000), 'x')"
            )
    with LegacyDatabase(path) as database:
        tracemalloc.start()
        try:
            rows = database.page("audit_log", None, 500)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert {(len(row["action"]), len(row["details"]), row["username"]) for row in rows} == {
        (CELL_BYTES_MAX, CELL_BYTES_MAX, "x")
    }
    assert peak < 2_000_000


def test_a_server_without_accounts_has_one_table(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with writing(path) as connection:
        connection.execute(
            "CREATE TABLE telemetry (id INTEGER PRIMARY KEY, timestamp, temp_tenths)"
        )
        connection.execute("INSERT INTO telemetry (timestamp, temp_tenths) VALUES (1.5, 235)")
    with LegacyDatabase(path) as database:
        assert database.tables == ("telemetry",)
        (row,) = database.page("telemetry", None, 10)
    assert (row["timestamp"], row["temp_tenths"], row["state"]) == (1.5, 235, None)


@pytest.mark.parametrize("name", ["100% old#1?mode=rwc.db", "öld.db", "a b/../old.db"])
def test_a_file_of_any_name_can_be_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "a b").mkdir()
    path = empty(tmp_path / name)
    insert(path, "telemetry", [reading(1.0)])
    before = sorted(tmp_path.iterdir())
    assert rowids(path) == [1]
    assert sorted(tmp_path.iterdir()) == before


def not_there(path: Path) -> None:
    """Creates nothing."""


def make_folder(path: Path) -> None:
    path.mkdir()


def make_text(path: Path) -> None:
    path.write_text("hello, I am no database\n" * 100)


def make_nothing(path: Path) -> None:
    path.touch()


def make_other(path: Path) -> None:
    with writing(path) as connection:
        connection.execute("CREATE TABLE songs (title)")


def make_own(path: Path) -> None:
    with writing(path) as connection:
        connection.execute("CREATE TABLE users (id TEXT PRIMARY KEY, version INTEGER, body TEXT)")


def make_column_rowid(path: Path) -> None:
    with writing(path) as connection:
        connection.execute("CREATE TABLE telemetry (timestamp, temp_tenths, RowId TEXT)")


def make_view(path: Path) -> None:
    with writing(path) as connection:
        connection.execute("CREATE VIEW telemetry AS SELECT 1 AS timestamp, 2 AS temp_tenths")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (not_there, "is not there"),
        (make_folder, "is not a file"),
        (make_pipe, "is not a file"),
        (make_text, "it is not an SQLite database"),
        (make_nothing, "it has none of the tables users, telemetry, audit_log"),
        (make_other, "it has none of the tables"),
        (make_column_rowid, "its table telemetry has a column named rowid"),
        (make_view, "it has none of the tables"),
        (make_own, "its table users has no password_hash and salt"),
    ],
)
def test_a_file_that_is_no_database_of_the_existing_server_is_refused_with_the_reason(
    tmp_path: Path, make: object, words: str
) -> None:
    path = tmp_path / "old.db"
    make(path)  # type: ignore[operator]
    before = {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()}
    with pytest.raises(OSError, match=words) as refused, LegacyDatabase(path):
        pass
    assert str(path) in str(refused.value)
    assert {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()} == before


def test_the_error_of_a_damaged_file_says_that_it_may_be_damaged(path: Path) -> None:
    insert(path, "telemetry", [reading(float(number)) for number in range(5000)])
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises(OSError, match="is it damaged"):
        rowids(path, limit=500)


@pytest.mark.parametrize("wal", [False, True], ids=["rollback", "wal"])
def test_a_running_server_can_write_during_the_import_and_its_new_rows_are_seen(
    tmp_path: Path, wal: bool
) -> None:
    path = empty(tmp_path / "old.db", wal=wal)
    insert(path, "telemetry", [reading(1.0), reading(2.0), reading(3.0)])
    server = sqlite3.connect(path, timeout=0)
    try:
        with LegacyDatabase(path) as database:
            assert [row["rowid"] for row in database.page("telemetry", None, 2)] == [1, 2]
            # The reader holds no lock for which the server would have to wait.
            server.execute("DELETE FROM telemetry WHERE id < 3")
            server.execute("INSERT INTO telemetry (timestamp) VALUES (4.0)")
            server.commit()
            assert [row["rowid"] for row in database.page("telemetry", 2, 500)] == [3, 4]
            assert database.count("telemetry") == 2
    finally:
        server.close()


def test_the_import_waits_for_a_server_that_locks_the_file_for_a_moment(path: Path) -> None:
    insert(path, "telemetry", [reading(1.0)])
    server = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    server.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.3, server.execute, ["COMMIT"])
    release.start()
    try:
        assert rowids(path) == [1]
    finally:
        release.join()
        server.close()


def test_a_server_that_keeps_the_file_locked_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.legacy.database.BUSY_S", 0.05)
    server = sqlite3.connect(path, isolation_level=None)
    server.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(OSError, match="another process holds it: try again"):
            rowids(path)
    finally:
        server.close()


def without_write_permission(folder: Path, code: str) -> str:
    """The output of a process that may not write to the folder, even if it is root."""
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed: root cannot give up its permissions")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    folder.chmod(0o555)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, cwd=REPOSITORY
        )
    finally:
        folder.chmod(0o755)
    return done.stdout + done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("server", ["gone", "running", "killed"])
@pytest.mark.parametrize("wal", [False, True], ids=["rollback", "wal"])
def test_a_database_in_a_read_only_folder_can_be_read(
    tmp_path: Path, wal: bool, server: str
) -> None:
    path = empty(tmp_path / "old.db", wal=wal)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO telemetry (timestamp) VALUES (1.0)")
    connection.commit()
    if server == "killed":
        left = {one: one.read_bytes() for one in tmp_path.iterdir() if not one.match("*-shm")}
    if server != "running":
        connection.close()
    if server == "killed":
        for one, content in left.items():
            one.write_bytes(content)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir() if not one.match("*-shm")}
    code = (
        "from pathlib import Path\n"
        "from server.legacy.database import LegacyDatabase\n"
        f"with LegacyDatabase(Path({str(path)!r})) as database:\n"
        "    print(database.count('telemetry'))"
    )
    said = without_write_permission(tmp_path, code)
    if wal and server == "killed":
        assert "copy it, with the files beside it" in said
        with LegacyDatabase(path) as database:
            assert database.count("telemetry") == 1
    else:
        assert said == "1\n"
    after = {one.name: one.read_bytes() for one in tmp_path.iterdir() if not one.match("*-shm")}
    assert after == before
    connection.close()


def test_a_file_that_changes_in_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    path = empty(tmp_path / "old.db", wal=True)
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from server.legacy.database import LegacyDatabase\n"
        f"with LegacyDatabase(Path({str(path)!r})) as database:\n"
        f"    os.utime({str(path)!r}, (1, 1))\n"
        "    database.count('telemetry')"
    )
    assert "was changed during the copy: run this again" in without_write_permission(tmp_path, code)


def test_reading_a_file_does_not_change_it(tmp_path: Path) -> None:
    path = empty(tmp_path / "old.db", wal=True)
    insert(path, "audit_log", [entry(1), entry(2)])
    before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
    assert rowids(path, "audit_log") == [1, 2]
    assert (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) == before
