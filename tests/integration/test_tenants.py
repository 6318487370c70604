"""The command tenants, as an operator uses it: on both stores, with Redis and without."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pty
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bas_server import open_base, open_container
from server.commands.admin import console
from server.config.config import ServerConfig
from server.services.firestore.routing import COLLECTIONS
from server.services.ports.documents import PAGE_MAX, Query
from server.services.site.redis_keys import events_key, head_key
from tests.conftest import PASSWORD
from tests.support.commands import command, settings
from tests.support.firestore import on_firestore
from tests.support.histories import contents, scan_all
from tests.support.http import USERS, Caller, reading
from tests.support.tokens import revoke, token
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.process import ServerProcess, clean_environment, run_command
from tools.redis_server import RedisServer

GOING = "elsewhere"
POSTS = 5
# Those of the device with a key, and one of a device that an operator speaks for.
READINGS = POSTS + 1
Result = subprocess.CompletedProcess[str]


@pytest.fixture(params=["sqlite", "firestore"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """All stores on SQLite, or all on Firestore."""
    plain = ServerConfig(data_dir=tmp_path / "data")
    if request.param == "sqlite":
        return plain
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    return on_firestore(plain, emulator.host, *SWITCHES)


def tenants(config: ServerConfig, *arguments: str, **more: str) -> Result:
    return run_command("tenants", *arguments, data_dir=config.data_dir, **settings(config) | more)


async def fill(config: ServerConfig) -> None:
    """Two tenants with accounts, sessions, tokens, devices, zones, readings and audit entries."""
    async with open_container(config) as container:
        for name, role, tenant in USERS:
            await container.base.admin.create_user(name, PASSWORD, role, tenant)
        for name, tenant in (("admin", "default"), ("stranger", GOING)):
            key = await container.base.admin.register_device(tenant, f"{tenant}-lab")
            for one in ("pump", "revoked"):
                await token(container, one, tenant)
            await revoke(container, "revoked", tenant)
            caller = Caller(container.app)
            await caller.log_in(name)
            body = {"setpoint_tenths": 222}
            assert (await caller.post("/api/set_setpoint", body)).status == 200
            for number in range(POSTS):
                answer = await Caller(container.app).post(
                    "/api/sensor_data",
                    reading(200 + number, seq=number),
                    headers={"X-Device-Key": key},
                )
                assert answer.status == 200, answer.body
            one = reading(device_id=f"{tenant}-hall")
            assert (await caller.post("/api/sensor_data", one)).status == 200


async def everything(config: ServerConfig) -> Mapping[str, Any]:
    """All documents of every collection by tenant and id, and all readings by tenant."""
    found: dict[str, Any] = {}
    async with open_base(config) as base:
        for collection in COLLECTIONS:
            page = await base.client.query(Query(collection), PAGE_MAX)
            for one in page.documents:
                tenant = one.fields.get("tenant_id", one.fields.get("username", ""))
                found.setdefault(tenant, {})[collection, one.id] = one.fields
        for row in await scan_all(base.stores.telemetry.history):
            found.setdefault(row.reading.tenant_id, {}).setdefault("readings", []).append(row)
    for of_tenant in found.values():
        if "readings" in of_tenant:
            of_tenant["readings"] = contents(of_tenant["readings"])
    return found


def test_a_tenant_is_created_listed_and_deleted_with_all_its_data(config: ServerConfig) -> None:
    """ASVS v5.0.0-8.4.1: no other tenant loses anything."""
    asyncio.run(fill(config))
    assert tenants(config, "create", "empty").returncode == 0
    assert tenants(config, "list").stdout.splitlines() == [
        "TENANT\tUSERS\tDEVICES\tZONES\tREADINGS",
        f"default\t3\t1\t2\t{READINGS}",
        f"{GOING}\t1\t1\t2\t{READINGS}",
        "empty\t0\t0\t0\t0",
    ]
    before = asyncio.run(everything(config))
    done = tenants(config, "delete", GOING, "--yes", GOING)
    assert done.returncode == 0, done.stderr
    assert f"{READINGS} readings" in done.stdout
    after = dict(asyncio.run(everything(config)))
    assert GOING not in after
    assert GOING in before
    # Nor the name of its user, and the addresses from which it logged in.
    assert [key for some in after.values() for key in some if "stranger" in key] == []
    entries = {
        fields["event_type"]: fields
        for key, fields in after["default"].items()
        if key not in before["default"] and key[0] == "audit_log"
    }
    assert set(entries) == {"TENANT_DELETION_BEGUN", "TENANT_DELETED"}
    about = {"tenant": GOING, "users": 1, "devices": 1, "zones": 2, "readings": READINGS}
    assert entries["TENANT_DELETED"]["details"] == about
    kept = {key: value for key, value in after["default"].items() if key in before["default"]}
    assert kept == before["default"]
    assert after["admin"] == before["admin"]
    assert tenants(config, "list").stdout.splitlines()[1:] == [
        f"default\t3\t1\t2\t{READINGS}",
        "empty\t0\t0\t0\t0",
    ]


def test_a_deletion_that_was_killed_goes_on_when_it_is_begun_again(config: ServerConfig) -> None:
    asyncio.run(fill(config))

    async def begin() -> None:
        async with open_base(config) as base:
            steps = base.auth.tenants.delete(console(), GOING)
            for _ in range(3):
                await anext(aiter(steps))
            await steps.aclose()  # type: ignore[attr-defined]

    asyncio.run(begin())
    (line,) = [one for one in tenants(config, "list").stdout.splitlines() if GOING in one]
    assert "not finished: delete it again" in line
    assert tenants(config, "delete", GOING, "--yes", GOING).returncode == 0
    assert GOING not in asyncio.run(everything(config))


def on_terminal(config: ServerConfig, *answers: str) -> tuple[int, str]:
    """Run the deletion on a terminal with these answers; its exit code and what it showed."""
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        command("tenants", "delete", GOING),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=clean_environment(**settings(config)),
    )
    os.close(terminal)
    shown, left = "", list(answers)
    with open(leader, "r+b", buffering=0) as screen:
        while True:
            try:
                shown += screen.read(1000).decode()
            except OSError:  # how Linux shows that nobody has the terminal open any more
                break
            if left and shown.endswith(": "):
                screen.write(f"{left.pop(0)}\n".encode())
    return process.wait(60), shown


@pytest.mark.parametrize("answers", [("default",), ("",), (GOING, "no"), (GOING, "")])
def test_a_deletion_needs_the_name_and_a_yes(tmp_path: Path, answers: tuple[str, ...]) -> None:
    config = ServerConfig(data_dir=tmp_path / "data")
    asyncio.run(fill(config))
    before = asyncio.run(everything(config))
    code, shown = on_terminal(config, *answers)
    assert code == 1
    assert f"1 users, 1 devices, 2 zones, {READINGS} readings" in shown
    assert "nothing was deleted" in shown
    assert asyncio.run(everything(config)) == before
    code, shown = on_terminal(config, GOING, "yes")
    assert code == 0, shown
    assert GOING not in asyncio.run(everything(config))


def refused(done: Result, code: int, *words: str) -> None:
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.splitlines()[-1]


def test_wrong_deletions_are_refused_and_delete_nothing(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path / "data")
    asyncio.run(fill(config))
    before = asyncio.run(everything(config))
    refused(tenants(config, "delete", "default", "--yes", "default"), 1, "devices without a key")
    refused(tenants(config, "delete", "nobody", "--yes", "nobody"), 1, "no tenant 'nobody'")
    refused(tenants(config, "delete", GOING, "--yes", "default"), 2, "another name")
    refused(tenants(config, "delete", GOING), 1, "--yes NAME")
    refused(tenants(config, "delete"), 2, "give a name")
    refused(tenants(config, "list", "x"), 2, "give no name")
    refused(tenants(config, "create", "a b"), 2, "1 to 64 of")
    refused(tenants(config, "create", GOING), 1, "exists")
    assert asyncio.run(everything(config)) == before


def test_the_site_keeps_an_admin(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path / "data")

    async def only_elsewhere() -> None:
        async with open_base(config) as base:
            await base.admin.create_user("stranger", PASSWORD, "admin", GOING)
            await base.admin.create_user("reader", PASSWORD, "read-only", "default")

    asyncio.run(only_elsewhere())
    refused(tenants(config, "delete", GOING, "--yes", GOING), 1, "make one in another tenant")


def test_nothing_is_deleted_while_a_server_runs(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path / "data")
    asyncio.run(fill(config))
    with ServerProcess(config.data_dir) as server:
        done = tenants(config, "delete", GOING, "--yes", GOING)
        refused(done, 1, "stop it first", str(config.data_dir))
        assert tenants(config, "list").returncode == 0
        server.terminate()
    assert GOING in asyncio.run(everything(config))


def test_with_redis_the_event_history_goes_and_a_server_elsewhere_is_noticed(
    tmp_path: Path, redis: RedisServer
) -> None:
    config = ServerConfig(data_dir=tmp_path / "data", redis_url=redis.url)
    shared = {"REDIS_URL": redis.url}
    asyncio.run(fill(config))
    for key in (head_key(GOING), events_key(GOING), events_key("default")):
        assert redis.command("EXISTS", key) == ":1", key
    # The folder of another machine, with the same Redis.
    with ServerProcess(tmp_path / "other", **shared) as server:
        done = tenants(config, "delete", GOING, "--yes", GOING, **shared)
        refused(done, 1, "1 server processes use this Redis")
        server.terminate()
    assert GOING in asyncio.run(everything(dataclasses.replace(config, redis_url="")))
    done = tenants(config, "delete", GOING, "--yes", GOING, **shared)
    assert done.returncode == 0, done.stderr
    assert redis.command("EXISTS", head_key(GOING), events_key(GOING)) == ":0"
    assert redis.command("EXISTS", events_key("default")) == ":1"
