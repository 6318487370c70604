"""Databases of the existing server: real SQLite files with the rows that a test needs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PASSWORD = "Old secret 1!"
SALT = bytes(range(32))
SCHEMA = """
CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL, temp_tenths INTEGER,
    setpoint_tenths INTEGER, deadband_tenths INTEGER, cool_active BOOLEAN, heat_active BOOLEAN,
    state TEXT, sensor_ok BOOLEAN);
CREATE TABLE users (
    username TEXT PRIMARY KEY, password_hash TEXT, salt TEXT, role TEXT DEFAULT 'operator',
    created_at REAL, last_login REAL DEFAULT 0, failed_attempts INTEGER DEFAULT 0,
    locked_until REAL DEFAULT 0, password_history TEXT DEFAULT '[]');
CREATE TABLE sessions (session_id TEXT PRIMARY KEY, username TEXT);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT, username TEXT, ip_address TEXT,
    action TEXT, details TEXT DEFAULT '{}', success BOOLEAN, session_id TEXT);
"""


def reading(timestamp: Any, **changed: Any) -> dict[str, Any]:
    """A row of telemetry."""
    return {
        "timestamp": timestamp,
        "temp_tenths": 235,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": 0,
        "heat_active": 1,
        "state": "IDLE_WITH_LEDS",
        "sensor_ok": 1,
    } | changed


def fault(timestamp: Any, **changed: Any) -> dict[str, Any]:
    """A row of telemetry as the existing server wrote it when a sensor had failed."""
    off = {"cool_active": 0, "heat_active": 0, "state": "FAULT"}
    return reading(timestamp, temp_tenths=None, sensor_ok=0) | off | changed


def user(username: Any, role: Any = "operator", **changed: Any) -> dict[str, Any]:
    """A row of users, with PASSWORD."""
    digest = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT, 100_000)
    return {
        "username": username,
        "password_hash": digest.hex(),
        "salt": SALT.hex(),
        "role": role,
        "created_at": 1_700_000_000.25,
    } | changed


def entry(timestamp: Any, **changed: Any) -> dict[str, Any]:
    """A row of audit_log; a number is Unix milliseconds, written as the existing server does."""
    if isinstance(timestamp, int):
        moment = datetime.fromtimestamp(timestamp / 1000, UTC)
        timestamp = moment.isoformat().replace("+00:00", "Z")
    return {
        "timestamp": timestamp,
        "username": "anna",
        "ip_address": "10.0.0.7",
        "action": "AUTH_LOGIN_SUCCESS",
        "details": json.dumps({"session_id": "sess_secret", "attempt": 1}),
        "success": 1,
        "session_id": "sess_secret",
    } | changed


def insert(path: Path, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows, all with the same columns."""
    with writing(path) as connection:
        iterator = iter(rows)
        first = next(iterator)
        names = ", ".join(first)
        placeholders = ", ".join(f":{name}" for name in first)
        statement = f"INSERT INTO {table} ({names}) VALUES ({placeholders})"
        connection.execute(statement, first)
        connection.executemany(statement, iterator)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file, as the existing server has one; commits at the end."""
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def empty(path: Path, *, wal: bool = False) -> Path:
    """A new file with the existing server's tables."""
    with writing(path) as connection:
        if wal:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
    return path


def filled(path: Path, readings: int, entries: int) -> Path:
    """A file with two accounts, `readings` readings (one every 2 s until now) and `entries`."""
    now = int(time.time() * 1000)
    empty(path)
    insert(path, "users", [user("anna", "admin"), user("bob_x")])
    if readings:
        rows = (reading(float(now - 2000 * back)) for back in range(readings, 0, -1))
        insert(path, "telemetry", rows)
    if entries:
        insert(path, "audit_log", (entry(now - 1000 * back) for back in range(entries, 0, -1)))
    return path
