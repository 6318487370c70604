"""The commands backup, restore and recover, beside real servers and after kill -9."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from tests.support.commands import refused, run
from tests.support.forms import amount
from tests.support.histories import START_MS, reading, rows_of, write_all
from tests.support.stream import caller, eventually, post_reading
from tools.process import ServerProcess, kill_when_shown, run_command

OPEN = {"BAS_AUTH_ENABLED": "0", "BAS_TELEMETRY_DAYS": "36500"}
KILLS = amount(3, 30)
# Enough pages for a copy of several steps.
ROWS = 40_000
SLOW_S, SLOW_SHARE = 2.0, 0.05
HOT = {"temp_tenths": 300, "sensor_ok": True}


def config_of(folder: Path) -> ServerConfig:
    return ServerConfig(data_dir=folder)


def fill(folder: Path, count: int = ROWS) -> None:
    """Readings of one device, two seconds apart."""

    async def write() -> None:
        async with open_base(config_of(folder)) as base:
            rows = rows_of(reading(START_MS + 2000 * n, 200 + n % 9) for n in range(count))
            await write_all(base.stores.telemetry.history, rows)

    asyncio.run(write())


def readings_in(path: Path) -> int:
    """The readings of a file that no server uses, packed or not; it must be whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, Path(folder) / "bas.db")
        return asyncio.run(_count(Path(folder)))


async def _count(folder: Path) -> int:
    async with open_base(config_of(folder)) as base:
        return await base.stores.telemetry.history.count()


async def post_until(
    ended: asyncio.Event, url: str, name: str, answers: list[tuple[float, Any]]
) -> None:
    """Post as fast as the server answers; note each answer with the seconds that it took."""
    async with caller(url) as client:
        for number in itertools.count():
            if ended.is_set():
                return
            began = time.monotonic()
            body = {"device_id": name, "temp_tenths": 200 + number % 5, "sensor_ok": True}
            answer = await client.post("/api/sensor_data", json=body)
            assert answer.status_code == 200
            answers.append((time.monotonic() - began, answer.json()))


async def test_a_backup_beside_a_write_load_loses_no_reading_and_holds_up_no_post(
    tmp_path: Path,
) -> None:
    folder, target = tmp_path / "data", tmp_path / "copy.db"
    await asyncio.to_thread(fill, folder)
    with ServerProcess(folder, **OPEN) as server:
        ended = asyncio.Event()
        answers: list[tuple[float, Any]] = []
        posting = [
            asyncio.create_task(post_until(ended, server.url, f"load{number}", answers))
            for number in range(4)
        ]
        await eventually(lambda: len(answers) > 50, "the load has begun")
        done = await asyncio.to_thread(run, config_of(folder), "backup", str(target))
        before = len(answers)
        await eventually(lambda: len(answers) > before + 50, "the load goes on")
        ended.set()
        await asyncio.gather(*posting)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{target}: " in done.stdout
        assert "read back and complete" in done.stdout
        assert server.terminate() == 0
    assert [answer for _, answer in answers if answer.get("stored") is False] == []
    slow = [took for took, _ in answers if took > SLOW_S]
    assert len(slow) <= SLOW_SHARE * len(answers)
    assert await asyncio.to_thread(readings_in, folder / "bas.db") == ROWS + len(answers)
    copied = await asyncio.to_thread(readings_in, target)
    assert ROWS <= copied <= ROWS + len(answers)
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_is_killed_leaves_no_file_and_the_next_one_is_complete(
    tmp_path: Path,
) -> None:
    folder, target = tmp_path / "data", tmp_path / "copy.db"
    fill(folder)
    chance = random.Random(5)
    with ServerProcess(folder, **OPEN) as server:
        for _ in range(KILLS):
            kill_when_shown(
                ("backup", str(target)),
                chance.choice(("copying", "copying", "reading back")),
                BAS_DATA_DIR=str(folder),
            )
            assert not target.exists()
        assert httpx.post(f"{server.url}/api/sensor_data", json=HOT).json().get("stored", True)
        assert run(config_of(folder), "backup", str(target)).returncode == 0
        assert readings_in(target) == ROWS + 1
        assert server.terminate() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "data"]


async def test_a_backup_is_restored_and_the_server_continues_from_it(tmp_path: Path) -> None:
    old, new = config_of(tmp_path / "old"), config_of(tmp_path / "new")
    copies = tmp_path / "copies"
    copies.mkdir()
    with ServerProcess(old.data_dir, **OPEN) as server:
        async with caller(server.url) as client:
            await post_reading(client, "lab", 231)
            assert run(old, "backup", str(copies)).returncode == 0
            await post_reading(client, "lab", 232)
    (copy,) = copies.iterdir()
    assert copy.name.startswith("bas-2")
    done = run(new, "restore", str(copy))
    assert (done.returncode, done.stderr) == (0, "")
    assert new.database.stat().st_mode & 0o777 == 0o600
    with ServerProcess(new.data_dir, **OPEN) as server:
        async with caller(server.url) as client:
            rows = (await client.get("/api/telemetry")).json()
            assert [row["temp_tenths"] for row in rows] == [231]
            status = (await client.get("/api/status")).json()
            assert (status["relays_known"], status["cool_active"]) == (False, False)
        assert "first start" not in server.output, "the accounts are those of the back-up"
        assert server.terminate() == 0


async def test_a_restored_cooler_waits_its_minimum_off_time_again(tmp_path: Path) -> None:
    old, new = config_of(tmp_path / "old"), config_of(tmp_path / "new")
    with ServerProcess(old.data_dir, **OPEN) as server:
        async with caller(server.url) as client:
            # It never ran, so nothing forbids it to start.
            await post_reading(client, "lab", 200)
            assert run(old, "backup", str(tmp_path / "copy.db")).returncode == 0
            answer = await client.post("/api/sensor_data", json=HOT | {"device_id": "lab"})
            assert answer.json()["cool_active"] is True
    assert run(new, "restore", str(tmp_path / "copy.db")).returncode == 0
    with ServerProcess(new.data_dir, **OPEN) as server:
        async with caller(server.url) as client:
            answer = await client.post("/api/sensor_data", json=HOT | {"device_id": "lab"})
            assert answer.json()["cool_active"] is False


def test_a_restore_is_refused_by_a_running_server_and_by_a_folder_with_data(
    tmp_path: Path,
) -> None:
    config, copy = config_of(tmp_path / "data"), tmp_path / "copy.db"
    with ServerProcess(config.data_dir, **OPEN) as server:
        assert run(config, "backup", str(copy)).returncode == 0
        refused(run(config, "restore", str(copy)), "a server uses", "stop it first")
        assert server.terminate() == 0
    before = config.database.read_bytes()
    refused(run(config, "restore", str(copy)), "is not empty", "bas.db")
    assert config.database.read_bytes() == before
    aside = config.data_dir / "damaged"
    aside.mkdir()
    for path in config.data_dir.glob("bas.db*"):
        path.rename(aside / path.name)
    assert run(config, "restore", str(copy)).returncode == 0
    refused(run(config, "restore", str(copy)), "is not empty")


def test_a_back_up_of_a_later_version_is_not_restored(tmp_path: Path) -> None:
    config, copy = config_of(tmp_path / "data"), tmp_path / "copy.db"
    fill(tmp_path / "old", 10)
    assert run(config_of(tmp_path / "old"), "backup", str(copy)).returncode == 0
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA user_version = 99")
    refused(run(config, "restore", str(copy)), "version 99")
    assert not config.database.exists()


@pytest.mark.parametrize("command", ["backup", "restore", "recover"])
def test_a_missing_file_is_named_and_nothing_is_created(tmp_path: Path, command: str) -> None:
    done = run(config_of(tmp_path / "data"), command, str(tmp_path / "none.db"))
    refused(done, str(tmp_path))
    assert not list(tmp_path.rglob("*.db"))


def test_a_backup_names_what_it_lacks_if_data_are_in_firestore(tmp_path: Path) -> None:
    config = ServerConfig(
        data_dir=tmp_path, use_firestore_auth=True, google_cloud_project="no-such-project"
    )
    done = run(config, "backup", str(tmp_path / "copy.db"))
    assert done.returncode == 2
    assert "copy-store --from firestore --to sqlite" in done.stderr
    assert "users" in done.stderr
    fill(tmp_path, 10)
    done = run(config, "backup", "--sqlite-part", str(tmp_path / "copy.db"))
    assert done.returncode == 0


def damage(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (root,) = connection.execute(sql, (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)


async def test_a_server_on_a_damaged_database_says_so_and_steers_and_what_is_left_is_recovered(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    await asyncio.to_thread(fill, tmp_path, 3000)
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:
            await post_reading(client, "lab", 200)
    damage(config.database, "late_readings")
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:

            async def is_degraded() -> bool:
                answer = await client.get("/readyz")
                return answer.status_code == 200 and answer.json()["status"] == "degraded"

            await eventually(is_degraded, "it found the damage")
            ready = (await client.get("/readyz")).json()
            assert ready["checks"]["database"] == "DATABASE_DAMAGED"
            answer = (await client.post("/api/sensor_data", json=HOT)).json()
            assert answer.get("stored", True)
            assert answer["heat_active"] is True
            assert "bas_store_damaged 1.0" in (await client.get("/metrics")).text
        refused(run(config, "recover", str(config.database)), "a server uses")
        assert server.terminate() == 0
        lines = [line for line in server.lines if "is damaged" in line]
    assert len(lines) == 1
    assert f"`bas_server.py recover {config.database}`" in lines[0]
    assert "Traceback" not in server.output
    done = run(config, "recover", str(config.database))
    assert (done.returncode, done.stderr) == (0, "")
    assert "zones: 2 rows" in done.stdout
    assert "late_readings: 0 rows; at least 1 lost" in done.stdout
    new = tmp_path / "bas.db.recovered"
    assert await asyncio.to_thread(readings_in, new) == 3002
    # As the line of the command says.
    config.database.rename(tmp_path / "bas.db.damaged")
    new.rename(config.database)
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:
            assert (await client.get("/readyz")).json()["status"] == "ready"
            await post_reading(client, "lab", 210)
        assert server.terminate() == 0


async def test_while_readings_cannot_be_stored_in_a_damaged_table_devices_are_answered(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    await asyncio.to_thread(fill, tmp_path, 3000)
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:
            await post_reading(client, "lab", 200)
    damage(config.database, "readings")
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:
            began = time.monotonic()
            answers = []
            while time.monotonic() - began < 5:
                answer = await client.post("/api/sensor_data", json=HOT)
                assert answer.status_code == 200
                answers.append(answer.json())
            assert {answer.get("stored") for answer in answers} == {False}
            assert {answer["cool_active"] for answer in answers} == {False}
            assert (await client.get("/readyz")).json()["status"] != "ready"
        assert server.terminate() == 0
    assert "Traceback" not in server.output
    # The start warns of the log-in that is off.
    written = [
        line
        for line in server.lines
        if (" ERROR " in line or " WARNING " in line) and "log-in is off" not in line
    ]
    # The damage, then the packing, the retention, the audit chain, the alarms, their notices and
    # the first account, and the store's state: four lines a minute and the newest at the end.
    assert len(written) <= 1 + 6 + 5, "".join(written)
    assert any("recover" in line for line in written)


def test_a_header_that_is_overwritten_is_recovered_by_the_command_that_the_log_names(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    fill(tmp_path, 500)
    with closing(sqlite3.connect(config.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    content = config.database.read_bytes()
    config.database.write_bytes(b"no database\n" * 300 + content[3600:])
    failed = run_command("list-users", data_dir=tmp_path)
    assert f"recover {config.database}" in failed.stderr
    done = run(config, "recover", str(config.database), "--to", str(tmp_path / "new.db"))
    assert (done.returncode, done.stderr) == (0, "")
    assert readings_in(tmp_path / "new.db") == 500
