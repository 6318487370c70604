"""A real Firestore emulator: on a free port, one for the session or of a test's own."""

from __future__ import annotations

import dataclasses
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from server.clock import SystemClock
from server.config.config import ServerConfig
from server.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.indexes import Index
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from server.services.firestore.client import FirestoreClient

START_S = 40.0
SWITCHES = ("telemetry", "auth", "audit")
INDEXES = [Index("things", ("owner",), "expire_at", "asc")]
_JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"


def _find_jar() -> Path | None:
    """The emulator's jar, where scripts/setup_emulators.sh looks for it."""
    named = os.environ.get("BAS_FIRESTORE_JAR")
    gcloud = shutil.which("gcloud")
    folders = [Path(gcloud).resolve().parent.parent] if gcloud else []
    folders += [Path("/usr/lib/google-cloud-sdk"), Path.home() / "google-cloud-sdk"]
    downloads = (Path.home() / ".cache/firebase/emulators").glob("cloud-firestore-emulator-v*.jar")
    found = [Path(named)] if named else [*(one / _JAR for one in folders), *sorted(downloads)[::-1]]
    return next((jar for jar in found if jar.is_file()), None)


JAR = _find_jar()
JAVA = shutil.which("java")


def need_firestore() -> None:
    """Skip the test where the emulator is not installed; fail where that must not happen."""
    if JAR is None or JAVA is None:
        missing = "java" if JAVA is None else "the Firestore emulator's jar"
        if os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(f"{missing} is not installed: scripts/setup_emulators.sh says how")
        pytest.skip(f"{missing} is not installed: the tests with a real Firestore do not run")


def fresh_project() -> str:
    """A project nobody used: its database in the emulator is empty."""
    return f"test-{uuid.uuid4().hex[:20]}"


def on_firestore(config: ServerConfig, host: str, *switches: str) -> ServerConfig:
    """The configuration with these SWITCHES on, in a fresh project of the emulator at host:port."""
    return dataclasses.replace(
        config,
        use_emulators=True,
        firestore_emulator_host=host,
        google_cloud_project=fresh_project(),
        use_firestore_telemetry="telemetry" in switches,
        use_firestore_auth="auth" in switches,
        use_firestore_audit="audit" in switches,
    )


@asynccontextmanager
async def opened(host: str, project: str = "") -> AsyncIterator[FirestoreClient]:
    """A client of the emulator at host:port, in that project or a fresh one; closed afterwards."""
    client = init_client(host, INDEXES, SystemClock(), Metrics(), project or fresh_project())
    try:
        yield client
    finally:
        await client.close()


class FirestoreEmulator(Daemon):
    """Firestore's emulator, which keeps everything in memory."""

    start_s = START_S

    def __init__(self) -> None:
        super().__init__("firestore")

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        assert JAVA is not None
        # Every test's documents stay: a whole run leaves 300 MB, and a full heap answers late.
        options = ["-Xmx1g", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
        options += [f"-Djava.io.tmpdir={self._folder}", "-cp", str(JAR)]
        main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
        return [JAVA, *options, main, "start", "--host=127.0.0.1", f"--port={self.port}"]

    def _answers(self) -> bool:
        """Whether a write is answered; the first one takes a cold emulator seconds."""
        path = f"projects/{fresh_project()}/databases/(default)/documents"
        write = {"writes": [{"update": {"name": f"{path}/things/a", "fields": {}}}]}
        try:
            asked = httpx.post(f"http://{self.host}/v1/{path}:commit", json=write, timeout=START_S)
        except httpx.TransportError:
            return False
        return asked.status_code == 200
