"""The Firestore switches: what each one moves, and a server whose Firestore goes and comes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bas_server import INDEXES, Container, open_base
from server.clock import SystemClock
from server.config.config import ServerConfig
from server.metrics import Metrics
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import Document, DocumentClient, Query
from server.services.firestore.indexes import load_indexes
from tests.conftest import PASSWORD
from tests.support.clock import ManualClock
from tests.support.daemon import free_port
from tests.support.firestore import (
    SWITCHES,
    FirestoreEmulator,
    fresh_project,
    need_firestore,
    on_firestore,
    opened,
)
from tests.support.http import Caller, logged_in, reading, served
from tests.support.process import REPOSITORY, ServerProcess, clean_environment
from tests.support.stream import (
    StreamClient,
    caller,
    eventually,
    figures,
    log_in,
    post_reading,
)

MOVED = {
    "telemetry": {"telemetry", "zones", "tenant_settings", "devices", "device_keys"},
    "auth": {"users", "sessions", "login_attempts"},
    "audit": {"audit_log"},
}
EVERYTHING = set().union(*MOVED.values())
ANSWER_S = 3.0
RECOVERY_S = 20.0
LOST = 'bas_store_failures_total{kind="part_lost"}'


@pytest.fixture
def emulator() -> Iterator[FirestoreEmulator]:
    """An emulator of the test's own, to be stopped and started."""
    need_firestore()
    with FirestoreEmulator() as one:
        yield one


async def use_everything(container: Container) -> tuple[str, str]:
    """Have something to keep in every collection; a session's id and a device's key."""
    key = await container.base.admin.register_device("default", "lab")
    device = Caller(container.app, headers={"X-Device-Key": key})
    assert (await device.post("/api/sensor_data", reading(device_id="lab"))).status == 200
    assert (await Caller(container.app).log_in("operator", "wrong")).status == 401
    operator = await logged_in(container, "operator")
    assert (await operator.post("/api/set_setpoint", {"setpoint_tenths": 201})).status == 200
    return operator.session, key


async def contents(client: DocumentClient) -> dict[str, list[Document]]:
    """The documents of every collection that has some."""
    pages = {name: await client.query(Query(name), 1000) for name in EVERYTHING}
    return {name: page.documents for name, page in pages.items() if page.documents}


@asynccontextmanager
async def opened_sqlite(folder: Path) -> AsyncIterator[SqliteClient]:
    """A client of the test's own for a server's SQLite file."""
    client = SqliteClient(folder / "bas.db", load_indexes(INDEXES), SystemClock(), Metrics())
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("switches", [*((name,) for name in SWITCHES), SWITCHES], ids="+".join)
async def test_what_is_switched_is_in_firestore_and_the_rest_in_sqlite(
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
            assert set(await contents(sqlite)) == EVERYTHING - moved


async def test_firestore_keeps_no_password_key_or_session_id_that_could_be_used(
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
    """The environment of a server without log-in that keeps this in Firestore."""
    return {
        "BAS_AUTH_ENABLED": "0",
        "USE_EMULATORS": "1",
        "FIRESTORE_EMULATOR_HOST": host,
        "GOOGLE_CLOUD_PROJECT": project,
        f"USE_FIRESTORE_{switch.upper()}": "1",
    }


async def timed(request: Any) -> httpx.Response:
    """What a request is answered, in time."""
    began = time.monotonic()
    answer: httpx.Response = await request
    assert time.monotonic() - began < ANSWER_S, answer.request.url
    return answer


async def temperatures(host: str, project: str) -> list[int]:
    """Of every reading in Firestore, sorted."""
    async with opened(host, project) as google:
        found = (await google.query(Query("telemetry"), 1000)).documents
    return sorted(document.fields["temp_tenths"] for document in found)


async def until_ready(client: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await client.get("/readyz")).json()["status"] == "ready"

    await eventually(ready, "the server is ready again", RECOVERY_S)


@pytest.mark.parametrize(("stop", "start"), [("pause", "resume"), ("kill", "start")])
async def test_a_server_tells_that_firestore_is_away_and_recovers_by_itself(
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
                # Devices are answered, and told that nothing is stored (section 6).
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
            # A killed emulator has lost what it held. What was said not to be stored may be.
            assert set(kept) - {232} == ({231, 233} if stop == "pause" else {233})


async def test_a_setpoint_is_stored_and_announced_while_the_audit_store_is_away(
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


async def test_who_is_refused_is_told_so_while_the_audit_store_is_away(
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
                "audit": "STORE_UNAVAILABLE",
            }
            health = (await timed(reader.get("/api/health"))).json()
            assert health["firestore"] == {"status": "STORE_UNAVAILABLE"}
            lost = 'bas_store_failures_total{kind="audit_lost"}'
            assert (await figures(reader))[lost] == 2


async def test_without_its_emulator_a_server_serves_and_says_which_one_and_what_brings_it(
    tmp_path: Path, emulator: FirestoreEmulator
) -> None:
    emulator.kill()
    project = fresh_project()
    with ServerProcess(tmp_path, **settings(emulator.host, project, "telemetry")) as server:
        lost = [line for line in server.lines if " ERROR " in line and emulator.host in line]
        assert any("scripts/setup_emulators.sh" in line for line in lost), server.output
        async with caller(server.url) as client:
            body = {"device_id": "lab", "temp_tenths": 300, "sensor_ok": True}
            told = (await timed(client.post("/api/sensor_data", json=body))).json()
            assert (told["stored"], told["cool_active"], told["heat_active"]) == (False,) * 3
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


def test_without_its_emulator_a_command_ends_with_a_message_that_names_it(tmp_path: Path) -> None:
    host = f"127.0.0.1:{free_port()}"
    chosen = settings(host, fresh_project(), "telemetry")
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bas_server.py"), "register-device", "lab"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=clean_environment(BAS_DATA_DIR=str(tmp_path), **chosen),
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert host in last
    assert "scripts/setup_emulators.sh" in last
    assert "Traceback" not in done.stderr
