"""Every row outside the damaged pages of a database is recovered, and losses are reported."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from server.services.history.contents import Content
from server.services.ports.database_files import RecoveredTable
from server.services.ports.documents import Put, StoreUnavailable
from server.services.ports.readings import Reading
from server.services.sqlite.file_copy import rows_of as rows_in
from server.services.sqlite.file_version import VERSION
from server.services.sqlite.recovery import recover
from tests.support.forms import amount
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tests.support.history_stores import DECLARED

PAGE = 4096
DEVICES, PACKED, NEW = 3, 5400, 1500
# A page has at most so many rows of readings.
ROWS_MAX = 150
INDEX_LEAF = 10
ROUNDS = amount(12, 300)


def quiet(what: str, done: int, total: int) -> None:
    """Shows no progress."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with accounts, an audit log, packed readings, late ones and new ones."""
    folder = tmp_path_factory.mktemp("whole")
    asyncio.run(fill(folder))
    return folder / "bas.db"


async def fill(folder: Path) -> None:
    async with open_base(ServerConfig(data_dir=folder)) as base:
        for number in range(30):
            await base.stores.users.create_user(f"user{number}", "x" * 200, "admin", "default")
        for number in range(300):
            entry = {"tenant_id": "default", "timestamp_ms": number, "details": "y" * 300}
            await base.client.write([Put("audit_log", f"entry{number}", entry)])
        history = base.stores.telemetry.history
        await write_all(history, rows_of(map(made, range(PACKED)), "packed"))
        async for _ in base.compaction.pack(0):
            pass
        rows = rows_of(map(made, range(PACKED, PACKED + 2 * NEW)), "new")
        await write_all(history, rows)


def made(number: int) -> Reading:
    at_ms = START_MS + 2000 * number
    return reading(at_ms, 200 + number % 50, device_id=f"d{number % DEVICES}")


@pytest.fixture(scope="module")
def readings(whole: Path) -> Counter[Content]:
    return readings_in(whole)


def readings_in(path: Path) -> Counter[Content]:
    """What a server finds in a copy of this file."""
    return asyncio.run(_readings_in(path))


async def _readings_in(path: Path) -> Counter[Content]:
    folder = path.parent / "opened"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(path, folder / "bas.db")
    async with open_base(ServerConfig(data_dir=folder)) as base:
        return Counter(contents(await scan_all(base.stores.telemetry.history)))


def damaged(whole: Path, folder: Path, pages: Sequence[int], chance: random.Random) -> Path:
    """A copy in which these pages, counted from 0, are overwritten."""
    path = folder / "bad.db"
    content = bytearray(whole.read_bytes())
    for page in pages:
        content[page * PAGE : (page + 1) * PAGE] = chance.choice(
            (bytes(PAGE), chance.randbytes(PAGE), b"\xff" * PAGE)
        )
    path.write_bytes(content)
    return path


def recovered(path: Path) -> tuple[Path, dict[str, RecoveredTable]]:
    new = path.with_name("new.db")
    tables = recover(path, new, DECLARED, True, quiet)
    return new, {table.name: table for table in tables}


def counts(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return rows_in(connection)


def root_of(path: Path, name: str) -> int:
    """The number of the first page of a table, counted from 0."""
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        return int(connection.execute(sql, (name,)).fetchone()[0]) - 1


def test_of_a_whole_file_nothing_is_lost(
    whole: Path, tmp_path: Path, readings: Counter[Content]
) -> None:
    path = tmp_path / "copy.db"
    shutil.copy(whole, path)
    new, tables = recovered(path)
    assert counts(new) == counts(whole)
    assert {name for name, table in tables.items() if table.lost} == set()
    assert readings_in(new) == readings
    assert path.read_bytes() == whole.read_bytes(), "the damaged file is only read"
    assert new.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_random_damage_costs_no_more_than_the_rows_of_its_pages(
    whole: Path, tmp_path: Path, readings: Counter[Content]
) -> None:
    chance = random.Random(17)
    before = counts(whole)
    # Not the root of the blocks: each of these holds hundreds of readings.
    pages = [
        page
        for page in range(2, whole.stat().st_size // PAGE)
        if page != root_of(whole, "reading_blocks")
    ]
    for _ in range(ROUNDS):
        some = chance.sample(pages, chance.choice((1, 2, 5)))
        path = damaged(whole, tmp_path, some, chance)
        new, tables = recovered(path)
        after = counts(new)
        lost = {name: before[name] - after.get(name, 0) for name in before}
        assert sum(lost[name] for name in ("readings", "late_readings")) <= ROWS_MAX * len(some)
        assert lost["users"] <= 25 * len(some)
        for name in ("users", "audit_log", "readings", "late_readings"):
            assert lost[name] >= 0, some
            assert bool(lost[name]) <= bool(tables[name].lost), (some, name)
            if tables[name].is_exact:
                assert tables[name].lost == lost[name], (some, name)
        left = readings_in(new)
        assert not left - readings, "a reading that never was"
        if not any(lost[name] for name in ("readings", "late_readings", "reading_blocks")):
            assert left == readings, some


@pytest.mark.parametrize("name", ["readings", "late_readings", "users", "audit_log"])
def test_what_a_damaged_first_page_of_a_table_led_to_is_recovered(
    whole: Path, tmp_path: Path, name: str
) -> None:
    path = damaged(whole, tmp_path, [root_of(whole, name)], random.Random(1))
    after = counts(recovered(path)[0])
    before = counts(whole)
    assert after[name] >= 0.9 * before[name] > 0
    assert {one: n for one, n in after.items() if one != name} == {
        one: n for one, n in before.items() if one != name
    }


def test_a_file_without_its_header_and_list_of_tables_is_recovered(
    whole: Path, tmp_path: Path, readings: Counter[Content]
) -> None:
    path = damaged(whole, tmp_path, [0], random.Random(1))
    with pytest.raises(StoreUnavailable):
        readings_in(path)
    new, _ = recovered(path)
    assert counts(new) == counts(whole)
    assert readings_in(new) == readings


def test_the_names_of_lost_rows_are_reported(whole: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(whole)) as connection:
        names = {name for (name,) in connection.execute("SELECT id FROM users")}
    # Some page in the middle of the accounts.
    content = whole.read_bytes()
    page = next(
        number
        for number in range(2, len(content) // PAGE)
        if content[number * PAGE] == 13
        and b'"username":"user7"' in content[number * PAGE : (number + 1) * PAGE]
        and b'"password_hash"' in content[number * PAGE : (number + 1) * PAGE]
    )
    new, tables = recovered(damaged(whole, tmp_path, [page], random.Random(1)))
    with closing(sqlite3.connect(new)) as connection:
        left = {name for (name,) in connection.execute("SELECT id FROM users")}
    assert "user7" in names - left
    assert set(tables["users"].which) == names - left
    assert tables["users"].is_exact


def test_the_times_of_lost_readings_are_reported(whole: Path, tmp_path: Path) -> None:
    # Some page in the middle of these readings.
    leaves = [
        number
        for number in range(whole.stat().st_size // PAGE)
        if whole.read_bytes()[number * PAGE] == INDEX_LEAF
    ]
    for number in reversed(leaves):
        new, tables = recovered(damaged(whole, tmp_path, [number], random.Random(1)))
        if tables["readings"].lost and "the " not in tables["readings"].which[0]:
            break
    with closing(sqlite3.connect(whole)) as old, closing(sqlite3.connect(new)) as now:
        all_rows = "SELECT slot * 10000 + ms FROM readings"
        lost = {t for (t,) in old.execute(all_rows)} - {t for (t,) in now.execute(all_rows)}
    (text,) = tables["readings"].which
    assert lost
    _, first, _, last = text.split()
    assert first <= iso(min(lost)) <= iso(max(lost)) <= last
    assert not tables["readings"].is_exact
    assert 0.5 * len(lost) <= tables["readings"].lost <= 2 * len(lost)


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_block_with_a_wrong_checksum_is_set_aside_and_reported(
    whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE reading_blocks SET body = CAST(substr(body, 1, 50) || x'00' ||"
            " substr(body, 52) AS BLOB) WHERE rowid = 1"
        )
        (count,) = connection.execute("SELECT count FROM reading_blocks WHERE rowid = 1").fetchone()
        connection.commit()
    new, tables = recovered(path)
    line = tables["readings in blocks with a wrong checksum"]
    assert line.lost == count
    assert "two hours from" in line.which[0]
    assert counts(new)["damaged_blocks"] == 1
    assert (readings_in(new)).total() == PACKED + 2 * NEW - count


def test_lost_marks_of_packing_are_restored_so_that_packed_readings_are_read(
    whole: Path, tmp_path: Path, readings: Counter[Content]
) -> None:
    path = damaged(whole, tmp_path, [root_of(whole, "reading_marks")], random.Random(1))
    new, _ = recovered(path)
    assert readings_in(new) == readings


def test_commits_in_the_wal_are_recovered_and_a_torn_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE users (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL,"
            " body TEXT NOT NULL)"
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute("INSERT INTO users VALUES ('first', 1, '{}')")
        kept = Path(f"{path}-wal").stat().st_size
        connection.execute("INSERT INTO users VALUES ('second', 1, '{}')")
        torn = tmp_path / "bad.db"
        shutil.copy(path, torn)
        wal = Path(f"{path}-wal").read_bytes()
    Path(f"{torn}-wal").write_bytes(wal)
    assert recovered(torn)[1]["users"].rows == 2
    # The last commit reached the disk in part.
    Path(f"{torn}-wal").write_bytes(wal[: kept + 100] + bytes(len(wal) - kept - 100))
    assert recovered(torn)[1]["users"].rows == 1


def test_readings_of_a_device_whose_name_is_lost_go_to_no_other_device(
    whole: Path, tmp_path: Path
) -> None:
    names = ("reading_series", "sqlite_autoindex_reading_series_1")
    pages = [root_of(whole, name) for name in names]
    new, _ = recovered(damaged(whole, tmp_path, pages, random.Random(1)))
    with closing(sqlite3.connect(new)) as connection:
        found = connection.execute("SELECT tenant_id, device_id FROM reading_series").fetchall()
    assert sorted(found) == [("recovered", f"device-{number}") for number in range(1, DEVICES + 1)]


def test_names_of_devices_are_read_from_their_index(whole: Path, tmp_path: Path) -> None:
    page = root_of(whole, "reading_series")
    new, _ = recovered(damaged(whole, tmp_path, [page], random.Random(1)))
    with closing(sqlite3.connect(new)) as connection:
        found = connection.execute("SELECT tenant_id, device_id FROM reading_series").fetchall()
    assert sorted(found) == [("default", f"d{number}") for number in range(DEVICES)]


def test_deleted_rows_do_not_come_back(tmp_path: Path) -> None:
    asyncio.run(fill_accounts(tmp_path))
    path = tmp_path / "bas.db"
    with closing(sqlite3.connect(path)) as connection:
        # As an SQLite that does not overwrite what it deletes.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM users WHERE id != 'user5'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert path.read_bytes().count(b'"username":"user1') > 10
    new, _ = recovered(damaged(path, tmp_path, [root_of(path, "users")], random.Random(1)))
    assert counts(new).get("users", 0) <= 1


async def fill_accounts(folder: Path) -> None:
    async with open_base(ServerConfig(data_dir=folder)) as base:
        for number in range(200):
            await base.stores.users.create_user(f"user{number}", "x" * 200, "admin", "default")


@pytest.mark.parametrize("content", [b"", b"x", b"no database\n" * 1000, bytes(8192)])
def test_a_file_without_any_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no table can be found"):
        recovered(path)
    assert [one.name for one in tmp_path.iterdir()] == ["bad.db"]
