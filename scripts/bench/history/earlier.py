"""The server of an earlier commit, which kept readings as documents, beside this one."""

from __future__ import annotations

import io
import json
import secrets
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from scripts.bench import host
from scripts.bench.history.filled import TENANT, database, device
from scripts.bench.history.zones import DAY_MS, Noise, Zone
from server.services.ports.readings import Reading
from tools.process import REPOSITORY

COMMIT = "004d248"
KEPT_MS = 90 * DAY_MS
_FIELDS = (
    *("tenant_id", "device_id", "timestamp_ms", "temp_tenths", "setpoint_tenths"),
    *("deadband_tenths", "cool_active", "heat_active", "state", "sensor_ok", "received_ms"),
)
_INSERT = "INSERT INTO telemetry (id, version, body) VALUES (?, ?, ?)"


class NotThere(Exception):
    """The commit is not in this repository, as in a shallow clone."""


@contextmanager
def program() -> Iterator[Path]:
    """The earlier `bas_server.py`, in a folder that is removed at the end. Raises NotThere."""
    done = subprocess.run(
        ["git", "archive", COMMIT], cwd=REPOSITORY, capture_output=True, check=False
    )
    if done.returncode:
        raise NotThere(f"git has no commit {COMMIT} here: {done.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory(prefix="bas-bench-earlier-") as folder:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder) / "bas_server.py"


def fill_documents(folder: Path, earlier: Path, zones: int, spans: range) -> str:
    """Fill a folder with what the earlier server would have stored of such zones.

    The password of its admin.
    """
    with host.server_of(earlier, folder) as process:
        process.terminate()
        assert process.password is not None, process.output
    noise = Noise()
    made = [Zone(number, noise) for number in range(zones)]
    connection = sqlite3.connect(database(folder), isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    for span in spans:
        readings = [
            reading
            for number, zone in enumerate(made)
            for reading in zone.span(span).readings(TENANT, device(number))
        ]
        readings.sort(key=lambda reading: reading.received_ms)
        connection.executemany(
            _INSERT,
            ((secrets.token_hex(12), secrets.randbits(63), _body(reading)) for reading in readings),
        )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    return process.password


def _body(reading: Reading) -> str:
    """The document of a reading, in the form that the earlier server gave it."""
    at = datetime.fromtimestamp(reading.timestamp_ms / 1000, UTC)
    fields = {name: getattr(reading, name) for name in _FIELDS}
    fields["utc_timestamp"] = at.isoformat(timespec="milliseconds")
    fields["expire_at"] = reading.received_ms + KEPT_MS
    return json.dumps(fields, separators=(",", ":"))
