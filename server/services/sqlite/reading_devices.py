"""What is known of each device of a tenant: how long its relays were on, and whether it reports."""

from __future__ import annotations

import msgspec

from server.services.history.summaries import CONTEXT_MS, summarise
from server.services.ports.readings import SILENT_MS, RelayUse, Span
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_series import (
    changed_hours,
    hours_with_readings,
    summaries_of,
)
from server.services.sqlite.reading_tables import HOUR_MS, HOUR_SLOTS, SLOT_MS

# No reading can be older.
FIRST_HOUR = INTEGER_MIN // HOUR_MS + 1
_FIELDS = RelayUse.__struct_fields__
# Each row of a result costs a wait for Python's lock.
_USE = """SELECT '[' || ifnull(group_concat(sums), '') || ']' FROM (
    SELECT '[' || series || ',' || sum(cool_ms) || ',' || sum(heat_ms) || ',' || sum(cool_starts)
    || ',' || sum(heat_starts) || ']' AS sums FROM reading_hours
    WHERE series IN (SELECT value FROM json_each(?1)) AND hour < ?2
    AND (series, hour) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
    GROUP BY series)"""
_IN_HOURS = """SELECT value FROM json_each(?3) WHERE EXISTS (SELECT 1 FROM reading_hours
    WHERE series = value AND hour BETWEEN ?1 AND ?2)"""
_IN_ROWS = """SELECT DISTINCT series FROM readings WHERE slot BETWEEN ?1 AND ?2
    AND series IN (SELECT value FROM json_each(?3)) UNION
    SELECT value FROM json_each(?3) WHERE EXISTS (SELECT 1 FROM late_readings
    WHERE series = value AND slot BETWEEN ?1 AND ?2)"""

_rows = msgspec.json.Decoder(list[tuple[int, int, int, int, int]])


def relay_use(snapshot: ReadingSnapshot, until_ms: int) -> dict[str, RelayUse]:
    """The use of the relays of each device; see `ReadingHistory.relay_use`."""
    last = until_ms // HOUR_MS
    sealed = range(FIRST_HOUR, max(FIRST_HOUR, min(last, snapshot.summed // HOUR_SLOTS)))
    changed = {series: changed_hours(snapshot, series, sealed) for series in snapshot.series}
    without = [(series, hour) for series, hours in changed.items() for hour in hours]
    parameters = snapshot.ids, sealed.stop, msgspec.json.encode(without).decode()
    (text,) = snapshot.connection.execute(_USE, parameters).fetchone()
    in_sums = {series: sums for series, *sums in _rows.decode(text)}
    found = {}
    for series, owner in snapshot.series.items():
        one = snapshot.part((series,), old=False)
        hours = *changed[series], *hours_with_readings(one, range(sealed.stop, last))
        parts = [summary for _, summary in summaries_of(one, hours)]
        now = one.samples(last * HOUR_MS - CONTEXT_MS, until_ms)
        parts += [summarise(samples, last * HOUR_MS, until_ms) for samples in now]
        sums = in_sums.get(series, (0, 0, 0, 0))
        found[owner.device_id] = RelayUse(
            *(
                begun + sum(getattr(part, name) for part in parts)
                for name, begun in zip(_FIELDS, sums, strict=True)
            )
        )
    return found


def devices_in_use(snapshot: ReadingSnapshot, span: Span) -> int:
    """How many devices have a reading in the span or in the SILENT_MS before it."""
    start = INTEGER_MIN if span.start_ms is None else max(INTEGER_MIN, span.start_ms - SILENT_MS)
    end = INTEGER_MAX if span.end_ms is None else span.end_ms
    found: set[int] = set()
    for sql, unit in ((_IN_HOURS, HOUR_MS), (_IN_ROWS, SLOT_MS)):
        ids = msgspec.json.encode([one for one in snapshot.series if one not in found]).decode()
        rows = snapshot.connection.execute(sql, (start // unit, end // unit, ids)).fetchall()
        found.update(series for (series,) in rows)
        if len(found) == len(snapshot.series):
            break
    return len(found)
