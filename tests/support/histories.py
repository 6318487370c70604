"""Readings for tests of a ReadingHistory, and everything that a history holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from server.services.history.contents import Content, content_of
from server.services.ports.readings import NewRow, Reading, ReadingHistory

START_MS = 1_790_000_000_000


def reading(at_ms: int = START_MS, temp_tenths: int | None = 235, **more: Any) -> Reading:
    """A reading of the device `lab`, received when it was measured."""
    fields = {
        "tenant_id": "default",
        "device_id": "lab",
        "timestamp_ms": at_ms,
        "received_ms": at_ms,
        "temp_tenths": temp_tenths,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": False,
        "heat_active": False,
        "state": "IDLE",
        "sensor_ok": temp_tenths is not None,
    }
    return Reading(**fields | more)


def rows_of(readings: Iterable[Reading], name: str = "row") -> list[NewRow]:
    """Rows of these readings, with ids that begin with this name."""
    return [NewRow(f"{name}-{number:06}", one) for number, one in enumerate(readings)]


async def write_all(history: ReadingHistory, rows: Sequence[NewRow]) -> None:
    """Store any number of rows."""
    for first in range(0, len(rows), 500):
        await history.write([], rows[first : first + 500])


async def scan_all(history: ReadingHistory, limit: int = 500) -> list[NewRow]:
    """Every row of a history, as a copy reads it."""
    rows: list[NewRow] = []
    cursor = None
    while True:
        page = await history.scan(limit, cursor)
        rows += page.rows
        cursor = page.next_cursor
        if cursor is None:
            return rows


def contents(readings: Iterable[Reading | NewRow]) -> list[Content]:
    """What a store keeps of readings for ever, sorted."""
    found = (one.reading if isinstance(one, NewRow) else one for one in readings)
    return sorted((content_of(one) for one in found), key=repr)
