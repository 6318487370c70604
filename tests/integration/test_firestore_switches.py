"""The Firestore switches: the collections that each one moves, and outages of Firestore."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bas_server import INDEXES, Container, open_base
from server.commands.admin import console
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore.audit_linker import AuditLinker
from server.services.ports.documents import Document, DocumentClient, Query
from server.services.ports.indexes import load_indexes
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.reading_history import SqliteHistory
from tests.conftest import PASSWORD
from tests.support.clock import ManualClock
from tests.support.firestore import on_firestore, opened
from tests.support.http import Caller, logged_in, reading, served
from tests.support.stream import (
    StreamClient,
    caller,
    eventually,
    figures,
    log_in,
    post_reading,
)
from tools.daemon import free_port
from tools.firestore_emulator import SWITCHES, FirestoreEmulator, fresh_project
from tools.process import REPOSITORY, ServerProcess, clean_environment

MOVED = {
    "telemetry": {
        *("telemetry", "zones", "tenant_settings", "zone_settings"),
        *("devices", "device_keys"),
        *("alarms", "alarm_slots", "notice_targets", "outbox"),
    },
    "auth": {"users", "usernames", "tenants", "sessions", "login_attempts", "known_addresses"},
    "audit": {"audit_log", "audit_chain", "audit_secrets"},
}
EVERYTHING = set().union(*MOVED.values())
ANSWER_S = 15.0
RECOVERY_S = 60.0
LOST = 'bas_store_failures_total{kind="part_lost"}'


async def use_everything(container: Container) -> tuple[str, str]:
    """Store a document in every collection; returns a session id and a device key."""
    key = await container.base.admin.register_device("default", "lab")
    await container.base.auth.tenants.create(console(), "empty")
    device = Caller(container.app, headers={"X-Device-Key": key})
    admin = await logged_in(container, "admin")
    target = {"id": "pager", "name": "pager", "kind": "webhook", "url": "https://192.0.2.1/"}
    assert (await admin.post("/api/notice-targets", target)).status == 200
    # A fault, which raises an alarm.
    assert (await device.post("/api/sensor_data", reading(None, device_id="lab"))).status == 200
    named = await admin.open("PATCH", "/api/zones/lab", json={"name": "Laboratory"})
    assert named.status == 200

    async def is_raised() -> bool:
        return bool((await container.base.client.query(Query("outbox"), 1)).documents)

    await eventually(is_raised, "the alarm has a notice")
    assert (await Caller(container.app).log_in("operator", "wrong")).status == 401
    operator = await logged_in(container, "operator")
    assert (await operator.post("/api/set_setpoint", {"setpoint_tenths": 201})).status == 200
    (linker,) = (one for one in container.base.stores.upkeep if isinstance(one, AuditLinker))
    while not await linker.link_all():
        pass  # the server links too
    return operator.session, key


async def contents(client: DocumentClient) -> dict[str, list[Document]]:
    """The documents of every collection that is not empty."""
    pages = {name: await client.query(Query(name), 1000) for name in EVERYTHING}
    return {name: page.documents for name, page in pages.items() if page.documents}


@asynccontextmanager
async def opened_sqlite(folder: Path) -> AsyncIterator[SqliteClient]:
    """A second client for a server's SQLite file."""
    client = SqliteClient(folder / "bas.db", load_indexes(INDEXES), SystemClock(), Metrics())
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("switches", [*((name,) for name in SWITCHES), SWITCHES], ids="+".join)
async def test_switched_collections_are_in_firestore_and_the_others_in_sqlite(
    config: ServerConfig,
    clock: ManualClock,
    firestore: FirestoreEmulator,
    switches: tuple[str, ...],
) -> None:
    config = on_firestore(config, firestore.host, *switches)
    async with served(config, clock) as container:
        await use_everything(container)
        async with (
            opened(firestore.host, config.google_cloud_project) as google,
            opened_sqlite(config.data_dir) as sqlite,
        ):
            moved = set().union(*(MOVED[name] for name in switches))
            assert set(await contents(google)) == moved
            there = set(await contents(sqlite))
            if await SqliteHistory(sqlite).count():
                there.add("telemetry")
            assert there == EVERYTHING - moved


async def test_firestore_stores_no_usable_password_device_key_or_session_id(
    config: ServerConfig, clock: ManualClock, firestore: FirestoreEmulator
) -> None:
    config = on_firestore(config, firestore.host, *SWITCHES)
    async with served(config, clock) as container:
        session, key = await use_everything(container)
    async with opened(firestore.host, config.google_cloud_project) as google:
        kept = str(await contents(google))
    for secret in (session, key, PASSWORD):
        assert secret not in kept


def settings(host: str, project: str, switch: str) -> dict[str, str]:
    """The environment of a server without log-in, with this switch on."""
    return {
        "BAS_AUTH_ENABLED": "0",
        "USE_EMULATORS": "1",
        "FIRESTORE_EMULATOR_HOST": host,
        "GOOGLE_CLOUD_PROJECT": project,
        f"USE_FIRESTORE_{switch.upper()}": "1",
    }


async def timed(request: Any) -> httpx.Response:
    """The answer to a request, which must arrive in time."""
    began = time.monotonic()
    answer: httpx.Response = await request
    assert time.monotonic() - began < ANSWER_S, answer.request.url
    return answer


async def temperatures(host: str, project: str) -> list[int]:
    """The temperatures of all readings in Firestore, sorted."""
    async with opened(host, project) as google:
        found = (await google.query(Query("telemetry"), 1000)).documents
    return sorted(document.fields["temp_tenths"] for document in found)


async def until_ready(client: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await client.get("/readyz")).json()["status"] == "ready"

    await eventually(ready, "the server is ready again", RECOVERY_S)


@pytest.mark.long
@pytest.mark.parametrize(("stop", "start"), [("pause", "resume"), ("kill", "start")])
async def test_a_server_reports_an_outage_of_firestore_and_recovers_without_a_restart(
    tmp_path: Path, emulator: FirestoreEmulator, stop: str, start: str
) -> None:
    project = fresh_project()
    with ServerProcess(tmp_path, **settings(emulator.host, project, "telemetry")) as server:
        async with caller(server.url) as client:
            await post_reading(client, "lab", 231)
            assert await temperatures(emulator.host, project) == [231]
            health = (await client.get("/api/health")).json()
            assert (health["services"]["firestore"], health["firestore"]) == (
                True,
                {"status": "healthy"},
            )
            assert (await client.get("/readyz")).json()["checks"]["store"] == "ok"

            getattr(emulator, stop)()
            bodies = (
                {"device_id": f"lab{number}", "temp_tenths": 232, "sensor_ok": True}
                for number in range(6)
            )
            posts = (timed(client.post("/api/sensor_data", json=body)) for body in bodies)
            for answer in await asyncio.gather(*posts):
                # The server answers devices and says that nothing is stored (section 6).
                assert (answer.status_code, answer.json()["stored"]) == (200, False)
                assert (answer.json()["cool_active"], answer.json()["heat_active"]) == (
                    False,
                    False,
                )
            answer = await timed(client.get("/api/telemetry"))
            assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
            assert (await timed(client.get("/readyz"))).status_code == 503
            health = (await timed(client.get("/api/health"))).json()
            assert health["services"]["firestore"] is True
            assert health["firestore"]["status"] in {"STORE_UNAVAILABLE", "no answer"}
            assert (await client.get("/healthz")).status_code == 200

            getattr(emulator, start)()
            await until_ready(client)
            await post_reading(client, "lab", 233)
            assert (await client.get("/api/health")).json()["firestore"] == {"status": "healthy"}
            kept = await temperatures(emulator.host, project)
            # A killed emulator has lost its documents. A reading that was reported as not stored
            # may still have been stored, hence without 232.
            assert set(kept) - {232} == ({231, 233} if stop == "pause" else {233})


async def test_a_setpoint_is_stored_and_announced_during_an_outage_of_the_audit_store(
    tmp_path: Path, emulator: FirestoreEmulator
) -> None:
    project = fresh_project()
    with ServerProcess(tmp_path, **settings(emulator.host, project, "audit")) as server:
        async with caller(server.url) as client, await StreamClient.open(server.port) as stream:
            await stream.opening()
            await post_reading(client, "lab", 231)
            await stream.live(1)
            emulator.kill()
            change = {"device_id": "lab", "setpoint_tenths": 201}
            answer = await timed(client.post("/api/set_setpoint", json=change))
            assert answer.status_code == 200, answer.text
            (event,) = await stream.live(1)
            assert (event.event, event.json["setpoint_tenths"]) == ("setpoint", 201)
            status = (await client.get("/api/status?device_id=lab")).json()
            assert status["setpoint_tenths"] == 201
            assert (await figures(client))[LOST] == 1

            emulator.start()
            await until_ready(client)
            answer = await client.post("/api/set_setpoint", json=change | {"setpoint_tenths": 202})
            assert answer.status_code == 200, answer.text
            assert (await figures(client))[LOST] == 1
        async with opened(emulator.host, project) as google:
            entries = (await contents(google))["audit_log"]
    assert ["202" in str(entry.fields["details"]) for entry in entries] == [True]


async def test_a_request_is_refused_correctly_during_an_outage_of_the_audit_store(
    tmp_path: Path, emulator: FirestoreEmulator
) -> None:
    kept = settings(emulator.host, fresh_project(), "audit") | {"BAS_AUTH_ENABLED": "1"}
    async with open_base(ServerConfig(data_dir=tmp_path)) as base:
        await base.admin.create_user("reader", PASSWORD, "read-only", "default")
    with ServerProcess(tmp_path, **kept) as server:
        session = await log_in(server.url, "reader", PASSWORD)
        async with caller(server.url, session) as reader:
            emulator.kill()
            wrong = {"username": "reader", "password": "wrong"}
            answer = await timed(reader.post("/auth/login", json=wrong))
            assert (answer.status_code, answer.json()["code"]) == (401, "AUTH_FAILED")
            answer = await timed(reader.get("/api/audit/recent"))
            assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
            ready = await timed(reader.get("/readyz"))
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["checks"] == {
                "store": "ok",
                "log": "ok",
                "database": "ok",
                "disk": "ok",
                "clock": "ok",
                "audit": "STORE_UNAVAILABLE",
            }
            health = (await timed(reader.get("/api/health"))).json()
            assert health["firestore"] == {"status": "STORE_UNAVAILABLE"}
            lost = 'bas_store_failures_total{kind="audit_lost"}'
            # The refusal of the log is counted, and is stored with a later entry.
            assert (await figures(reader))[lost] == 1


async def test_a_server_without_its_emulator_serves_and_logs_the_address_and_the_remedy(
    tmp_path: Path, emulator: FirestoreEmulator
) -> None:
    emulator.kill()
    project = fresh_project()
    with ServerProcess(tmp_path, **settings(emulator.host, project, "telemetry")) as server:
        lost = [line for line in server.lines if " ERROR " in line and emulator.host in line]
        assert any("scripts/setup_emulators.sh" in line for line in lost), server.output
        async with caller(server.url) as client:
            body = {"device_id": "lab", "temp_tenths": 300, "sensor_ok": True}
            command = (await timed(client.post("/api/sensor_data", json=body))).json()
            assert (command["stored"], command["cool_active"], command["heat_active"]) == (
                False,
            ) * 3
            ready = await timed(client.get("/readyz"))
            assert (ready.status_code, ready.json()["checks"]["store"]) == (
                503,
                "STORE_UNAVAILABLE",
            )
            emulator.start()
            await until_ready(client)
            await post_reading(client, "lab", 233)
            assert await temperatures(emulator.host, project) == [233]
    assert "Traceback" not in server.output


def test_a_command_without_its_emulator_fails_with_the_address_and_the_remedy(
    tmp_path: Path,
) -> None:
    host = f"127.0.0.1:{free_port()}"
    chosen = settings(host, fresh_project(), "telemetry")
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bas_server.py"), "register-device", "lab"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(BAS_DATA_DIR=str(tmp_path), **chosen),
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert host in last
    assert "scripts/setup_emulators.sh" in last
    assert "Traceback" not in done.stderr
