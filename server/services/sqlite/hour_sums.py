"""Sums up hours of readings that are not sealed yet, so that statistics need not read their rows.

It works like sealing. `freeze` makes readings before the end of an hour late, so that those there
do not change any more. The sums of each device are made at leisure; when all devices have theirs,
one transaction moves the mark `summed`, and from then on readers take the sums. A step that did not
end is done again.
"""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence

from server.services.history.codec import DamagedBlock
from server.services.history.columns import Samples
from server.services.history.summaries import CONTEXT_MS, EMPTY, Summary, summarise
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_tables import HOUR_MS, HOUR_SLOTS, Owner

log = logging.getLogger(__name__)

# Hours are summed up this long after their end. A device that reports later than that costs more:
# its readings go into the table of late ones, and its hours are summed up from their readings.
FREEZE_AFTER_MS = 15 * 60_000
# Devices whose sums one step makes: about 20 ms in the thread for reports.
DEVICES_AT_ONCE = 10

HourSums = dict[int, Summary]
"""The sums of some hours of a device."""

_FIELDS = Summary.__struct_fields__
_STORE = (
    f"INSERT OR REPLACE INTO reading_hours (series, hour, {', '.join(_FIELDS)})"
    f" VALUES (?, ?, {', '.join('?' * len(_FIELDS))})"
)
_DELETE = "DELETE FROM reading_hours WHERE series = ? AND hour = ?"
_MARK = "SELECT value FROM reading_marks WHERE name = ?"
_MOVE = "UPDATE reading_marks SET value = ?1 WHERE name = ?2 AND value < ?1"
_NEWEST = "SELECT max(slot) FROM readings WHERE slot < ?"
_NEXT = "SELECT min(slot) FROM readings WHERE slot >= ? AND slot < ?"
_DEVICES = "SELECT DISTINCT series FROM readings WHERE slot BETWEEN ? AND ? ORDER BY series"


def mark(connection: sqlite3.Connection, name: str) -> int:
    """The slot of a mark."""
    (value,) = connection.execute(_MARK, (name,)).fetchone()
    slot: int = value
    return slot


def move(connection: sqlite3.Connection, name: str, slot: int) -> None:
    """Move a mark forwards."""
    connection.execute(_MOVE, (slot, name))


def freeze(connection: sqlite3.Connection, slot: int) -> None:
    """Freeze the hours that end at or before this slot.

    Only hours with readings are frozen: a clock that is far ahead must not freeze the present.
    """
    (newest,) = connection.execute(_NEWEST, (slot // HOUR_SLOTS * HOUR_SLOTS,)).fetchone()
    if newest is not None:
        move(connection, "frozen", (newest // HOUR_SLOTS + 1) * HOUR_SLOTS)


def next_hour(connection: sqlite3.Connection) -> int | None:
    """The oldest frozen hour with readings that are neither sealed nor summed up."""
    begin = max(mark(connection, name) for name in ("sealed", "summed"))
    end = max(mark(connection, name) for name in ("closing", "frozen"))
    (slot,) = connection.execute(_NEXT, (begin, end)).fetchone()
    return None if slot is None else slot // HOUR_SLOTS


def devices_of(connection: sqlite3.Connection, hour: int) -> list[int]:
    """The devices with new readings in an hour."""
    slots = hour * HOUR_SLOTS, (hour + 1) * HOUR_SLOTS - 1
    return [series for (series,) in connection.execute(_DEVICES, slots).fetchall()]


def sums_of(
    connection: sqlite3.Connection, devices: Sequence[int], hour: int
) -> dict[int, HourSums]:
    """The sums of some devices' frozen hour, without late readings.

    The last reading may hold into the next hour, and the device may have no reading there: what is
    stored for that hour counts unless it is summed up too.
    """
    found = {}
    for series in devices:
        samples = samples_of_hours(of_device(connection, series), hour, 1)
        found[series] = hours_of(samples, hour, 2)
    return found


def write_sums(connection: sqlite3.Connection, hour: int, found: Mapping[int, HourSums]) -> None:
    """Store sums of an hour, unless another process has published them."""
    if hour * HOUR_SLOTS >= mark(connection, "summed"):
        for series, hours in found.items():
            store_hours(connection, series, hours)


def publish(connection: sqlite3.Connection, hour: int) -> None:
    """Let readers take the sums until the end of this hour."""
    move(connection, "summed", (hour + 1) * HOUR_SLOTS)


def of_device(connection: sqlite3.Connection, series: int) -> ReadingSnapshot:
    """The readings of one device, without those that are still documents."""
    owner = connection.execute(
        "SELECT tenant_id, device_id FROM reading_series WHERE id = ?", (series,)
    ).fetchone()
    tenant_id, device_id = owner
    return ReadingSnapshot(
        connection, {series: Owner(tenant_id, device_id)}, tenant_id, device_id, old=False
    )


def samples_of_hours(
    snapshot: ReadingSnapshot, first: int, count: int, *, before_ms: int = CONTEXT_MS
) -> Samples:
    """A device's readings of some hours without late ones, and those that may hold into them.

    Without those of a damaged block.
    """
    start_ms, end_ms = first * HOUR_MS, (first + count) * HOUR_MS
    try:
        found = snapshot.samples(start_ms, end_ms - 1, late=False, before_ms=before_ms)
    except DamagedBlock as error:
        log.error("%s", error)
        found = []
    return found[0] if found else Samples([], [], [])


def hours_of(samples: Samples, first: int, count: int) -> HourSums:
    """The sums of some hours, from their readings and those shortly before them."""
    return {
        hour: summarise(samples, hour * HOUR_MS, (hour + 1) * HOUR_MS)
        for hour in range(first, first + count)
    }


def store_hours(connection: sqlite3.Connection, series: int, hours: HourSums) -> None:
    """Store the sums of a device's hours in place of those that are there."""
    for hour, found in hours.items():
        if found == EMPTY:
            connection.execute(_DELETE, (series, hour))
        else:
            figures = [getattr(found, name) for name in _FIELDS]
            connection.execute(_STORE, [series, hour, *figures])
