"""Compares readings by their content, to find those that a copy has not stored yet; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from server.services.history.columns import flags_of
from server.services.ports.readings import NewRow, Reading

Content = tuple[object, ...]


def content_of(reading: Reading) -> Content:
    """All that every store keeps of a reading for ever: not its id and its time of receipt."""
    return (
        reading.tenant_id,
        reading.device_id,
        reading.timestamp_ms,
        reading.temp_tenths,
        reading.setpoint_tenths,
        reading.deadband_tenths,
        flags_of(reading),
        reading.state,
        reading.device_ticks_ms,
        reading.device_time_ms,
        reading.clock,
        reading.fault_reason,
    )


def not_among(rows: Sequence[NewRow], stored: Iterable[Reading]) -> list[NewRow]:
    """The rows that are not stored; of equal rows, as many as there are more than stored ones."""
    there = Counter(map(content_of, stored))
    missing = []
    for row in rows:
        content = content_of(row.reading)
        if there[content]:
            there[content] -= 1
        else:
            missing.append(row)
    return missing
