"""import-legacy, run as an operator runs it: files of the existing server into each store."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bas_server import open_base, open_both
from server.config.config import ServerConfig
from server.services.ports.documents import DocumentClient, Filter, Query
from tests.support import legacy
from tests.support.commands import results, run, settings
from tests.support.firestore import on_firestore
from tests.support.forms import amount
from tests.support.stream import caller, log_in
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.process import (
    ServerProcess,
    kill_when_shown,
)

Result = subprocess.CompletedProcess[str]
# Firestore takes a hundred times as long for a reading as SQLite.
MANY, MANY_THERE = 20_000, amount(4000, 20_000)


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.fixture(params=["sqlite", "firestore"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """An empty SQLite store, then an empty Firestore store."""
    config = ServerConfig(data_dir=tmp_path / "data")
    if request.param == "sqlite":
        return config
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    return on_firestore(config, emulator.host, *SWITCHES)


@pytest.fixture
def sqlite(tmp_path: Path) -> ServerConfig:
    return ServerConfig(data_dir=tmp_path / "data")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "bas_telemetry.db"


def imported(config: ServerConfig, path: Path) -> list[str]:
    """Run an import, which must succeed; returns its output without the progress lines."""
    return results(run(config, "import-legacy", str(path)))


async def imports(client: DocumentClient) -> int:
    """The number of entries about imports, which no row of the existing server has become."""
    about = Query("audit_log", (Filter("event_type", "==", "LEGACY_IMPORTED"),))
    return (await client.aggregate(about)).count


async def counts(config: ServerConfig) -> dict[str, int]:
    async with open_base(config) as base:
        users, entries = [
            (await base.client.aggregate(Query(name))).count for name in ("users", "audit_log")
        ]
        readings = await base.stores.telemetry.history.count()
        entries -= await imports(base.client)
        return {"users": users, "telemetry": readings, "audit_log": entries}


async def test_the_server_works_with_the_imported_accounts_readings_and_audit_log(
    store: ServerConfig, old: Path
) -> None:
    now = now_ms()
    legacy.empty(old)
    legacy.insert(old, "users", [legacy.user("anna", "admin"), legacy.user("bob_x", "operator")])
    legacy.insert(old, "telemetry", [legacy.reading(now - 3000.0), legacy.reading(now - 1000.5)])
    legacy.insert(old, "audit_log", [legacy.entry(now - 5000)])
    assert await asyncio.to_thread(imported, store, old) == [
        "users: 2 rows; 2 of 2 there, 2 written now",
        "telemetry: 2 rows; 2 of 2 there, 2 written now",
        "  setpoint and deadband: 23.0 °C ± 1.0",
        "  relays of device unknown: cooler off, heat on",
        "audit_log: 1 rows; 1 of 1 there, 1 written now",
    ]
    with ServerProcess(store.data_dir, **settings(store)) as server:
        assert server.password is None, "there are accounts: none is made up"
        for name, role in (("anna", "admin"), ("bob_x", "operator")):
            async with caller(server.url) as client:
                body = {"username": name, "password": legacy.PASSWORD}
                answer = await client.post("/auth/login", json=body | {"password": "Another 1!"})
                assert answer.status_code == 401
                answer = await client.post("/auth/login", json=body)
                assert answer.status_code == 200, answer.text
                assert answer.json()["user"] == {"username": name, "role": role}
        session = await log_in(server.url, "anna", legacy.PASSWORD)
        async with caller(server.url, session) as client:
            rows = (await client.get("/api/telemetry")).json()
            assert [row["timestamp"] for row in rows] == [now - 1001, now - 3000]
            expected = {
                "temp_tenths": 235,
                "setpoint_tenths": 230,
                "deadband_tenths": 10,
                "cool_active": False,
                "heat_active": True,
                "state": "IDLE_WITH_LEDS",
                "sensor_ok": True,
            }
            assert rows[0] == rows[0] | expected
            assert (await client.get("/api/telemetry?device_id=unknown")).json() == rows
            entries = (await client.get("/api/audit/recent")).json()
            (entry,) = [one for one in entries if one["action"] == "AUTH_LOGIN_SUCCESS"]
            assert (entry["timestamp"], entry["username"]) == (now - 5000, "anna")
            assert (entry["success"], entry["details"]) == (True, {"attempt": 1})
        assert await asyncio.to_thread(server.terminate) == 0
    async with open_base(store) as base:
        for user in await base.stores.users.list_users():
            assert user.password_hash.startswith("$argon2id$")
    kept = b"".join(path.read_bytes() for path in store.data_dir.iterdir())
    assert b"sess_secret" not in kept


def test_a_second_import_writes_nothing_and_a_later_one_only_new_rows(
    store: ServerConfig, old: Path
) -> None:
    legacy.filled(old, 1200, 700)
    before = old.read_bytes()
    assert imported(store, old) == [
        "users: 2 rows; 2 of 2 there, 2 written now",
        "telemetry: 1200 rows; 1200 of 1200 there, 1200 written now",
        "  setpoint and deadband: 23.0 °C ± 1.0",
        "  relays of device unknown: cooler off, heat on",
        "audit_log: 700 rows; 700 of 700 there, 700 written now",
    ]
    assert imported(store, old) == [
        "users: 2 rows; 2 of 2 there, 0 written now",
        "  2 left alone (there already): anna, bob_x",
        "telemetry: 1200 rows; 1200 of 1200 there, 0 written now",
        "  setpoint and deadband: left alone (set here already)",
        "  relays: left alone (set here already)",
        "audit_log: 700 rows; 700 of 700 there, 0 written now",
    ]
    assert old.read_bytes() == before
    legacy.insert(old, "telemetry", [legacy.reading(float(now_ms())) for _ in range(3)])
    legacy.insert(old, "users", [legacy.user("carl", "read-only")])
    assert imported(store, old) == [
        "users: 3 rows; 3 of 3 there, 1 written now",
        "  2 left alone (there already): anna, bob_x",
        "telemetry: 1203 rows; 1203 of 1203 there, 3 written now",
        "  setpoint and deadband: left alone (set here already)",
        "  relays: left alone (set here already)",
        "audit_log: 700 rows; 700 of 700 there, 0 written now",
    ]
    assert asyncio.run(counts(store)) == {"users": 3, "telemetry": 1203, "audit_log": 700}


def test_the_next_import_completes_one_that_was_killed(store: ServerConfig, old: Path) -> None:
    many = MANY_THERE if store.use_firestore_telemetry else MANY
    legacy.filled(old, many, 10)
    shown = kill_when_shown(
        ["import-legacy", str(old)], f"telemetry: 1000 of {many}", **settings(store)
    )
    assert f"telemetry: {many} of" not in shown
    before = asyncio.run(counts(store))["telemetry"]
    assert 1000 <= before < many
    assert imported(store, old) == [
        "users: 2 rows; 2 of 2 there, 0 written now",
        "  2 left alone (there already): anna, bob_x",
        f"telemetry: {many} rows; {many} of {many} there, {many - before} written now",
        "  setpoint and deadband: 23.0 °C ± 1.0",
        "  relays of device unknown: cooler off, heat on",
        "audit_log: 10 rows; 10 of 10 there, 10 written now",
    ]
    assert asyncio.run(counts(store)) == {"users": 2, "telemetry": many, "audit_log": 10}


def test_imports_of_two_old_servers_keep_the_readings_of_both(
    sqlite: ServerConfig, tmp_path: Path
) -> None:
    now = now_ms()
    for name, temp in (("one.db", 200), ("two.db", 300)):
        path = legacy.empty(tmp_path / name)
        legacy.insert(path, "telemetry", [legacy.reading(float(now), temp_tenths=temp)])
        assert "telemetry: 1 rows; 1 of 1 there, 1 written now" in imported(sqlite, path)
    assert asyncio.run(counts(sqlite))["telemetry"] == 2


def hostile_cells() -> list[Any]:
    texts = ["", "\0", "ä\u2028" * 5000, '{"a":' * 7 + "[" * 1 + "]" + "}" * 7, "[" * 7 + "]" * 7]
    return [None, b"\xff\0", *texts, 0, 2**63 - 1, -(2**63), 1e300, float("inf"), -0.5]


def test_a_database_with_values_of_wrong_types_is_imported_without_an_error(
    store: ServerConfig, old: Path
) -> None:
    now = now_ms()
    legacy.empty(old)
    cells = hostile_cells()
    for table, good in (
        ("users", legacy.user("anna")),
        ("telemetry", legacy.reading(float(now))),
        ("audit_log", legacy.entry(now)),
    ):
        names = [name for name in good if name != "username" or table != "users"]
        rows = [good | {name: cell} for name in names for cell in cells]
        if table == "users":
            rows = [one | {"username": f"user{number}"} for number, one in enumerate(rows)]
        legacy.insert(old, table, rows)
    with legacy.writing(old) as connection:
        connection.execute("INSERT INTO users (username) VALUES (CAST(x'61ff62' AS TEXT))")
        connection.execute(
            "UPDATE audit_log SET details = CAST(x'7bff7d' AS TEXT) WHERE id % 5 = 0"
        )
        big = '{"text":"' + "x" * 3_000_000 + '"}'
        connection.execute(
            "UPDATE audit_log SET details = ?, username = ? WHERE id = 7", (big, big)
        )
    # One account's name is not valid here.
    said = results(run(store, "import-legacy", str(old)), code=3)
    found = [
        re.fullmatch(r"(\w+): \d+ rows; (\d+) of (\d+) there, (\d+) written now", line)
        for line in said
    ]
    totals = {line[1]: (line[2], line[3], line[4]) for line in found if line}
    assert totals.keys() == {"users", "telemetry", "audit_log"}
    for there, expected, written in totals.values():
        assert there == expected == written
        assert int(written) >= 5


async def test_an_existing_account_keeps_its_password_and_its_role(
    sqlite: ServerConfig, old: Path
) -> None:
    legacy.filled(old, 0, 0)
    async with open_base(sqlite) as base:
        await base.admin.create_user("anna", "another horse", "operator", "default")
    assert "  1 left alone (there already): anna" in await asyncio.to_thread(imported, sqlite, old)
    async with open_base(sqlite) as base:
        users = {user.username: user for user in await base.stores.users.list_users()}
        assert await base.auth.passwords.verify(users["anna"].password_hash, "another horse")
    assert {name: user.role for name, user in users.items()} == {
        "anna": "operator",
        "bob_x": "operator",
    }


async def test_both_servers_may_run_during_an_import(sqlite: ServerConfig, old: Path) -> None:
    legacy.filled(old, 5000, 0)
    existing = sqlite3.connect(old, timeout=1, isolation_level=None)
    statement = "INSERT INTO telemetry (timestamp, temp_tenths) VALUES (?, 235)"
    with ServerProcess(sqlite.data_dir) as server:
        importing = asyncio.create_task(asyncio.to_thread(imported, sqlite, old))
        posted = 0
        async with caller(server.url) as device:
            while not importing.done():
                existing.execute(statement, (0,))  # it has no date
                answer = await device.post("/api/sensor_data", json={"temp_tenths": posted})
                assert answer.status_code == 200
                posted += 1
        said = await importing
        assert any("5000 of 5000 there, 5000 written now" in line for line in said), said
        assert await log_in(server.url, "bob_x", legacy.PASSWORD)
    existing.close()
    assert posted > 0
    assert (await counts(sqlite))["telemetry"] == 5000 + posted


async def test_each_collection_is_imported_into_the_store_that_is_configured_for_it(
    sqlite: ServerConfig, old: Path, firestore: FirestoreEmulator
) -> None:
    legacy.filled(old, 3, 4)
    config = on_firestore(sqlite, firestore.host, "telemetry")
    await asyncio.to_thread(imported, config, old)
    async with open_both(config) as stores:
        for kind, expected in (("firestore", [0, 3, 0]), ("sqlite", [2, 0, 4])):
            users, entries = [
                (await stores[kind].documents.aggregate(Query(name))).count
                for name in ("users", "audit_log")
            ]
            entries -= await imports(stores[kind].documents)
            assert [users, await stores[kind].readings.count(), entries] == expected
