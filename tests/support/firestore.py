"""A real Firestore emulator on a free port, for the whole session or for one test."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore import init_client
from server.services.ports.indexes import Index
from tools.firestore_emulator import JAR, JAVA, FirestoreEmulator, fresh_project

if TYPE_CHECKING:
    from server.services.firestore.google.client import FirestoreClient

# Compiles fast and not well: of the time that a test has an emulator, most is its start.
SHORT_LIVED = "-XX:TieredStopAtLevel=1"
INDEXES = [Index("things", ("owner",), "expire_at", "asc")]


def need_firestore() -> None:
    """Skip the test where the emulator is not installed; fail where that must not happen."""
    if JAR is None or JAVA is None:
        missing = "java" if JAVA is None else "the Firestore emulator's jar"
        if os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(f"{missing} is not installed: scripts/setup_emulators.sh says how")
        pytest.skip(f"{missing} is not installed: the tests with a real Firestore do not run")


def on_firestore(config: ServerConfig, host: str, *switches: str) -> ServerConfig:
    """The configuration with these SWITCHES on, in a new project of the emulator at host:port."""
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
    """A client of the emulator at host:port, in that project or a new one; closed at the end."""
    client = init_client(host, INDEXES, SystemClock(), Metrics(), project or fresh_project())
    try:
        yield client
    finally:
        await client.close()


class SharedEmulator(FirestoreEmulator):
    """One emulator for all processes of a test run: the first starts it, the last stops it.

    A file in `folder`, which all of them share, holds its process id, its port and its user count.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(SHORT_LIVED)
        self._state = folder / "firestore-emulator.json"

    def start(self) -> SharedEmulator:
        with self._locked() as state:
            if not state.get("users"):
                super().start()
                state |= {"users": 0, "pid": self.pid, "port": self.port, "folder": self._folder}
            self.port = state["port"]
            state["users"] += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._locked() as state:
            state["users"] -= 1
            if state["users"] == 0:
                os.kill(state["pid"], signal.SIGKILL)
                shutil.rmtree(state["folder"], ignore_errors=True)
        if self._folder != state["folder"]:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._process is not None:
            # Other processes may still use the emulator, and the last one kills it. Without a
            # return code, Popen would warn that this child process is still running.
            self._process.returncode = 0

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """The content of the file, locked for this process; changes are written back."""
        with self._state.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            state = json.loads(file.read() or "{}")
            yield state
            file.truncate(0)
            file.write(json.dumps(state))
