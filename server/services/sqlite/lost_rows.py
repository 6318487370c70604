"""Says which rows of a damaged database are lost: by key, or by the times around them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from server.services.ports.database_files import RecoveredTable
from server.services.sqlite.reading_tables import SLOT_MS, SPAN_MS
from server.services.sqlite.recovery_repairs import LostBlock
from server.services.sqlite.tree_reader import StoredValue

SHOWN_MAX = 20
# Sums are made again; nothing of them is lost.
MADE_AGAIN = {"reading_hours", "reading_days", "changed_days", "reading_marks"}
Ends = tuple[tuple[StoredValue, ...] | None, tuple[StoredValue, ...] | None]


def keys(
    connection: sqlite3.Connection, table: str, lost: Sequence[tuple[StoredValue, ...]]
) -> list[str]:
    """The keys of lost rows, as an operator knows them."""
    if table == "reading_blocks":
        texts = [
            f"{_device(connection, series)}: two hours from {_time(_int(span) * SPAN_MS)}"
            for series, span in lost[:SHOWN_MAX]
        ]
    else:
        texts = [" ".join(map(str, key)) for key in lost[:SHOWN_MAX]]
    return _shown(texts, len(lost))


def gaps(connection: sqlite3.Connection, table: str, found: Sequence[Ends]) -> list[str]:
    """The rows between which some are lost, by their times if they are readings."""
    if table in MADE_AGAIN:
        return ["it is made again"]
    return _shown([_gap(connection, table, *ends) for ends in found[:SHOWN_MAX]], len(found))


def of_blocks(lost: Sequence[LostBlock]) -> RecoveredTable:
    """The line for blocks whose content is damaged."""
    texts = [f"{one.device}: two hours from {_time(one.start_ms)}" for one in lost[:SHOWN_MAX]]
    count = sum(one.readings for one in lost)
    which = _shown(texts, len(lost))
    return RecoveredTable("readings in blocks with a wrong checksum", 0, count, True, which)


def _gap(
    connection: sqlite3.Connection,
    table: str,
    before: tuple[StoredValue, ...] | None,
    after: tuple[StoredValue, ...] | None,
) -> str:
    def text(row: tuple[StoredValue, ...] | None, otherwise: str, is_end: bool = False) -> str:
        if row is None:
            return otherwise
        if table == "readings":
            # Within a slot, readings are in the order of their devices.
            return _time((_int(row[0]) + is_end) * SLOT_MS)
        if table == "late_readings":
            at = _time(_int(row[1]) * SLOT_MS + _int(row[2]))
            return f"{_device(connection, row[0])} {at}"
        if table == "reading_keys":
            return "a remembered post"
        return f"{row[0]!r}"

    return f"between {text(before, 'the first')} and {text(after, 'the last', True)}"


def _device(connection: sqlite3.Connection, series: StoredValue) -> str:
    found = connection.execute(
        "SELECT tenant_id, device_id FROM reading_series WHERE id = ?", (series,)
    ).fetchone()
    return f"{found[1]} (tenant {found[0]})" if found else f"device number {series!r}"


def _int(value: StoredValue) -> int:
    return value if isinstance(value, int) else 0


def _time(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"


def _shown(texts: list[str], count: int) -> list[str]:
    return texts + ([f"and {count - len(texts)} more"] if count > len(texts) else [])
