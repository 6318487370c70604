"""Opening Firestore: production or an emulator, errors of the settings, time and memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import google.auth
import grpc
import pytest
from google.api_core import exceptions as google_errors
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore_v1.services.firestore.transports.grpc_asyncio import (
    FirestoreGrpcAsyncIOTransport,
)

from server.auth.firestore_client import open_firestore
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.google.client import FirestoreClient
from server.services.firestore.google.connection import emulator_client, production_client
from server.services.ports.documents import Put, Query, StoreUnavailable
from tools.daemon import free_port
from tools.firestore_emulator import FirestoreEmulator, fresh_project

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def opened(**settings: str) -> AsyncIterator[FirestoreClient]:
    client = await open_firestore([], SystemClock(), Metrics(), **settings)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Application default credentials of the project `their-project`."""
    found = (AnonymousCredentials(), "their-project")
    monkeypatch.setattr(google.auth, "default", lambda scopes: found)


async def test_the_emulator_of_the_settings_is_used_whatever_the_environment_says(
    firestore: FirestoreEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (None, "127.0.0.1:1"):
        if variable:
            monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", variable)
        async with opened(emulator_host=firestore.host, project=fresh_project()) as client:
            await client.ping()
            await client.write([Put("things", "a", {})])


@pytest.mark.usefixtures("credentials")
async def test_a_production_client_ignores_the_emulator_of_the_environment(
    firestore: FirestoreEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []

    def channel(host: str, credentials: object, options: Any) -> grpc.aio.Channel:
        asked.append((host, credentials))
        return grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}", options=options)

    monkeypatch.setattr(FirestoreGrpcAsyncIOTransport, "create_channel", channel)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    anonymous = AnonymousCredentials()
    google = production_client("their-project", anonymous)
    assert asked == [("firestore.googleapis.com", anonymous)]
    assert google._firestore_api.transport.host == "firestore.googleapis.com:443"
    assert google._target == "firestore.googleapis.com"
    assert not any(name == "authorization" for name, _ in google._rpc_metadata)
    await google._firestore_api.transport.close()
    project = fresh_project()
    async with opened(project=project) as client:
        with pytest.raises(StoreUnavailable, match=project):
            await client.write([Put("things", "leaked", {})])
    async with opened(emulator_host=firestore.host, project=project) as emulator:
        assert (await emulator.query(Query("things"), 1)).documents == []


def test_a_client_of_the_emulator_does_not_look_for_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        pytest.fail("credentials were looked for")

    async def build() -> None:
        client = emulator_client("127.0.0.1:1", "local-dev")
        assert isinstance(client._credentials, AnonymousCredentials)
        assert client._target == "127.0.0.1:1"
        await client._firestore_api.transport.close()

    monkeypatch.setattr(google.auth, "default", forbidden)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    asyncio.run(build())


@pytest.mark.usefixtures("credentials")
async def test_the_project_comes_from_the_settings_or_the_credentials_or_is_local_dev() -> None:
    for settings, project in (
        ({}, "their-project"),
        ({"project": "named-here"}, "named-here"),
        ({"emulator_host": "127.0.0.1:1"}, "local-dev"),
        ({"emulator_host": "127.0.0.1:1", "project": "named-here"}, "named-here"),
    ):
        async with opened(**settings) as client:
            assert client.database == f"projects/{project}/databases/(default)"


async def test_an_error_names_missing_credentials_and_the_setting_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    with pytest.raises(StoreUnavailable, match=r"/nonexistent/key\.json") as refused:
        async with opened(project="some-project"):
            pass
    assert "set GOOGLE_APPLICATION_CREDENTIALS" in str(refused.value)


async def test_credentials_without_a_project_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google.auth, "default", lambda scopes: (AnonymousCredentials(), None))
    with pytest.raises(StoreUnavailable, match="set GOOGLE_CLOUD_PROJECT"):
        async with opened():
            pass


@pytest.mark.parametrize(
    "project", ["Wrong", "a", "x" * 31, "a b c d e f", "project/other", "1abcde"]
)
async def test_an_invalid_project_id_is_refused(project: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"GOOGLE_CLOUD_PROJECT={project}"):
        async with opened(project=project, emulator_host="127.0.0.1:1"):
            pass


@pytest.mark.parametrize("host", ["localhost", "http://localhost:8080", ":8080", "a b:1", "h:port"])
async def test_an_emulator_address_without_host_and_port_is_refused(host: str) -> None:
    with pytest.raises(StoreUnavailable, match="FIRESTORE_EMULATOR_HOST"):
        async with opened(emulator_host=host):
            pass


async def test_an_error_names_an_unreachable_emulator_and_the_script_that_starts_it() -> None:
    host = f"127.0.0.1:{free_port()}"
    async with opened(emulator_host=host) as client:
        with pytest.raises(StoreUnavailable, match=host) as refused:
            await client.ping()
        assert "scripts/setup_emulators.sh" in str(refused.value)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (google_errors.PermissionDenied("no"), "roles/datastore.user"),
        (google_errors.NotFound("no database"), "GOOGLE_CLOUD_PROJECT"),
        (google_errors.Unauthenticated("no"), "credentials"),
        (google_errors.FailedPrecondition("Datastore mode"), "native mode"),
    ],
)
async def test_an_error_of_google_names_the_project_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    async def refused(*_: Any, **__: Any) -> Any:
        raise error

    google = production_client("wrong-project", AnonymousCredentials())
    monkeypatch.setattr(google._firestore_api, "batch_get_documents", refused)
    monkeypatch.setattr(google._firestore_api, "commit", refused)
    client = FirestoreClient(google, [], SystemClock(), Metrics())
    for call in (client.ping(), client.write([Put("things", "a", {})])):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="wrong-project") as unavailable:
            await call
        assert remedy in str(unavailable.value)
        assert time.monotonic() - began < 1
    await client.close()


COSTS = """
import asyncio, time
from pathlib import Path
import google.cloud.firestore_v1
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.auth.firestore_client import open_firestore

def rss():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6

async def main():
    before, began = rss(), time.process_time()
    client = init_client("{host}", [], SystemClock(), Metrics())
    init_s = time.process_time() - began
    more_mb = rss() - before
    began = time.process_time()
    other = await open_firestore([], SystemClock(), Metrics(), emulator_host="{host}")
    await other.ping()
    print(init_s, more_mb, time.process_time() - began)
    await client.close()
    await other.close()

asyncio.run(main())
"""


@pytest.mark.alone
def test_opening_firestore_takes_little_work_and_memory(firestore: FirestoreEmulator) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COSTS.replace("{host}", firestore.host)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    init_s, more_mb, connect_s = map(float, done.stdout.split())
    assert init_s < 0.05
    assert more_mb < 10
    assert connect_s < 0.1


def test_google_is_not_imported_before_firestore_is_opened() -> None:
    code = (
        "import sys, server.services.firestore, server.auth.firestore_client;"
        "print([name for name in sys.modules if name.split('.')[0] in {'google', 'grpc'}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[]"


async def test_init_client_needs_only_the_address_of_the_emulator(
    firestore: FirestoreEmulator,
) -> None:
    client = init_client(firestore.host, [], SystemClock(), Metrics())
    await client.ping()
    assert client.database == "projects/local-dev/databases/(default)"
    await client.close()
