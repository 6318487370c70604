"""Firestore's emulator: where it is installed, and one of one's own on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from contextlib import suppress
from pathlib import Path

import httpx

from tools.daemon import Daemon

START_S = 120.0
# The parts that can be kept in it, as the settings USE_FIRESTORE_… name them.
SWITCHES = ("telemetry", "auth", "audit")
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


def fresh_project() -> str:
    """A project nobody used: its database in the emulator is empty."""
    return f"test-{uuid.uuid4().hex[:20]}"


class FirestoreEmulator(Daemon):
    """Firestore's emulator, which keeps everything in memory."""

    start_s = START_S

    def __init__(self, *options: str) -> None:
        """`options` are for Java."""
        super().__init__("firestore")
        self._options = options

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        assert JAVA is not None
        # Every test's documents stay: a whole run leaves 300 MB, and a full heap answers late.
        options = ["-Xmx1g", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
        options += [*self._options, f"-Djava.io.tmpdir={self._folder}", "-cp", str(JAR)]
        main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
        return [JAVA, *options, main, "start", "--host=127.0.0.1", f"--port={self.port}"]

    def _answers(self) -> bool:
        """Whether the largest commit is answered: the first one takes a cold emulator seconds."""
        # Before httpx, which would take as much processor time as the emulator needs to start.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), START_S).close()
            return self._commits()
        return False

    def _commits(self) -> bool:
        path = f"projects/{fresh_project()}/databases/(default)/documents"
        writes = [{"update": {"name": f"{path}/things/{n}", "fields": {}}} for n in range(500)]
        try:
            asked = httpx.post(
                f"http://{self.host}/v1/{path}:commit", json={"writes": writes}, timeout=START_S
            )
        except httpx.TransportError:
            return False
        return asked.status_code == 200
