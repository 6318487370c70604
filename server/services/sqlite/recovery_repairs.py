"""Makes recovered tables of readings fit each other again, after some of their rows were lost."""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from server.services.history.codec import DamagedBlock, decode
from server.services.sqlite import sealing
from server.services.sqlite.hour_sums import mark, store_hours
from server.services.sqlite.reading_tables import ROW_COLUMNS, SPAN_MS, SPAN_SLOTS
from server.services.sqlite.sealing import SPAN_HOURS

# The tenant of readings whose device is not known any more: no account sees them by accident.
LOST_TENANT = "recovered"
NEVER = -(1 << 62)
_HOLDERS = ("readings", "late_readings", "reading_blocks")


class LostBlock(NamedTuple):
    """A block of readings with a wrong checksum: its device, its time in ms, its readings."""

    device: str
    start_ms: int
    readings: int


def repair(connection: sqlite3.Connection, *, sums_lost: bool) -> list[LostBlock]:
    """Repair all that refers to lost rows; return the blocks whose content is damaged."""
    _name_devices(connection)
    damaged = _set_damaged_blocks_aside(connection)
    _restore_marks(connection)
    _keep_unpacked(connection)
    if sums_lost:
        _sum_up(connection)
    return damaged


def _name_devices(connection: sqlite3.Connection) -> None:
    """Give devices whose name is lost another one, or a new device would get their readings."""
    numbers = " UNION ".join(f"SELECT DISTINCT series FROM {name}" for name in _HOLDERS)
    connection.execute(
        "INSERT OR IGNORE INTO reading_series (id, tenant_id, device_id)"
        f" SELECT series, ?, 'device-' || series FROM ({numbers})",
        (LOST_TENANT,),
    )


def _set_damaged_blocks_aside(connection: sqlite3.Connection) -> list[LostBlock]:
    """Move blocks with a wrong checksum into a table of their own, where no read meets them."""
    damaged = []
    for series, span, count, body in connection.execute(
        "SELECT series, span, count, body FROM reading_blocks"
    ):
        try:
            decode(body)
        except DamagedBlock:
            damaged.append((series, span, count))
    lost = []
    for series, span, count in damaged:
        sealing.put_aside(connection, series, span)
        connection.execute(
            "DELETE FROM reading_blocks WHERE series = ? AND span = ?", (series, span)
        )
        (device,) = connection.execute(
            "SELECT device_id FROM reading_series WHERE id = ?", (series,)
        ).fetchone()
        lost.append(LostBlock(device, span * SPAN_MS, count))
    return lost


def _restore_marks(connection: sqlite3.Connection) -> None:
    """Set lost marks, so that readers take the blocks."""
    if mark(connection, "sealed") == NEVER:
        (span,) = connection.execute("SELECT max(span) FROM reading_blocks").fetchone()
        if span is not None:
            connection.execute(
                "UPDATE reading_marks SET value = ? WHERE name IN ('sealed', 'closing')",
                ((span + 1) * SPAN_SLOTS,),
            )
    connection.execute(
        "UPDATE reading_marks SET value = max(value, ?) WHERE name = 'closing'",
        (mark(connection, "sealed"),),
    )


def _keep_unpacked(connection: sqlite3.Connection) -> None:
    """Packed rows are deleted bit by bit. Keep those whose block is lost: they are late."""
    sealed = mark(connection, "sealed")
    connection.execute(
        f"INSERT OR IGNORE INTO late_readings ({ROW_COLUMNS}) SELECT {ROW_COLUMNS} FROM readings r"
        " WHERE slot < ?1 AND NOT EXISTS (SELECT 1 FROM reading_blocks b"
        f" WHERE b.series = r.series AND b.span = r.slot / {SPAN_SLOTS})",
        (sealed,),
    )
    connection.execute("DELETE FROM readings WHERE slot < ?", (sealed,))


def _sum_up(connection: sqlite3.Connection) -> None:
    """Sum up blocks without sums again; the server itself sums up newer hours, and days."""
    blocks = connection.execute(
        "SELECT series, span FROM reading_blocks b WHERE (SELECT count(*) FROM reading_hours h"
        " WHERE h.series = b.series AND h.hour BETWEEN b.span * ?1 AND b.span * ?1 + ?1 - 1) < ?1"
        " AND b.span * ?2 < ?3",
        (SPAN_HOURS, SPAN_SLOTS, mark(connection, "sealed")),
    ).fetchall()
    for series, span in blocks:
        hours = sealing.block_with_late(connection, series, span).hours
        own = {hour: hours[hour] for hour in hours if hour // SPAN_HOURS == span}
        store_hours(connection, series, own)
    connection.execute(
        "UPDATE reading_marks SET value = min(value, ?) WHERE name = 'summed'",
        (mark(connection, "sealed"),),
    )
    connection.execute("DELETE FROM reading_days")
    connection.execute("DELETE FROM changed_days")
    connection.execute("UPDATE reading_marks SET value = ? WHERE name = 'days'", (NEVER,))
