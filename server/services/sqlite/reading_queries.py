"""ReadingSnapshot: reads a tenant's readings from all tables that hold them, as of one moment."""

# schema.table checks the only name that is put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from server.services.history.codec import DamagedBlock, decode, decode_samples
from server.services.history.columns import Columns, Samples, joined
from server.services.sqlite.old_readings import OldReadings, has_old_readings
from server.services.sqlite.reading_rows import ALL, SAMPLES_BEFORE, SOME, ReadingRows
from server.services.sqlite.reading_tables import SLOT_MS, SPAN_MS, SPAN_SLOTS, Owner

# A chart that is drawn again takes nearly all its blocks again; one takes about 200 KB in memory.
BLOCKS_CACHED = 32

T = TypeVar("T")

_SERIES = "SELECT value FROM json_each(?3)"
_MARKS = "SELECT name, value FROM reading_marks WHERE name IN ('sealed', 'summed', 'days')"
_BLOCKS = f"""SELECT series, span, body FROM reading_blocks
    WHERE span BETWEEN ?1 AND ?2 AND series IN ({_SERIES}) ORDER BY series, span"""
_NEWEST_LATE = """SELECT max((SELECT max(slot) FROM late_readings l
    WHERE l.series = s.value AND l.slot <= ?1)) FROM json_each(?2) s"""
_NEWEST_SEALED = """SELECT max((SELECT min(b.last, ?1) FROM reading_blocks b
    WHERE b.series = s.value AND b.span <= ?2 ORDER BY b.span DESC LIMIT 1))
    FROM json_each(?3) s"""

_OLDEST_LATE = """SELECT min((SELECT min(slot) FROM late_readings l
    WHERE l.series = s.value AND l.slot >= ?1)) FROM json_each(?2) s"""
_OLDEST_SEALED = """SELECT min((SELECT min(span) FROM reading_blocks b
    WHERE b.series = s.value AND b.span >= ?1 AND b.span < ?2)) FROM json_each(?3) s"""


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Within the block, all reads see the database as of one moment."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        # SQLite itself ends a transaction after some errors, which must not be hidden by another.
        if connection.in_transaction:
            connection.execute("COMMIT")


class ReadingSnapshot:
    """The readings of some devices; use it within `snapshot` only.

    `series` are the devices by the number that their rows have. `old` is whether there are readings
    that are still documents. `sealed` is the slot before which readings are in blocks, `summed` the
    one before which hours have sums, and `days` that of the sums of days.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        series: Mapping[int, Owner],
        tenant_id: str,
        device_id: str | None,
        old: bool,
    ) -> None:
        self.series = series
        self._tenant_id, self._device_id = tenant_id, device_id
        self.has_old = old
        self.old = OldReadings(connection, tenant_id, device_id)
        self.connection = connection
        marks: dict[str, int] = dict(connection.execute(_MARKS).fetchall())
        self.sealed, self.days = marks["sealed"], marks["days"]
        self.summed = max(self.sealed, marks["summed"])
        self.rows = ReadingRows(connection, series, self.sealed)
        self.ids = self.rows.ids
        self._decoded: dict[tuple[int, int], Columns] = {}

    def without_old(self) -> ReadingSnapshot:
        """The same moment and devices, without readings that are documents."""
        return ReadingSnapshot(
            self.connection, self.series, self._tenant_id, self._device_id, old=False
        )

    def of_one(self, series: int) -> ReadingSnapshot:
        """The same moment for one of the devices, without readings that are documents."""
        owner = self.series[series]
        return ReadingSnapshot(self.connection, {series: owner}, *owner, old=False)

    def part(self, series: Sequence[int], old: bool) -> ReadingSnapshot:
        """The same moment for some of the devices, and for what is still documents only if `old`.

        Those documents are of all the devices.
        """
        owners = {number: self.series[number] for number in series}
        old = old and self.has_old
        return ReadingSnapshot(self.connection, owners, self._tenant_id, self._device_id, old)

    def between(self, start_ms: int, end_ms: int, *, late: bool = True) -> dict[Owner, Columns]:
        """Each device's readings with start <= time <= end, oldest first.

        Without `late`, those that wait to be sealed into an existing block are left out.
        """
        found: dict[Owner, list[Columns]] = {}
        for owner, key, body in self.blocks(start_ms, end_ms):
            columns = self._decoded.get(key)
            if columns is None:
                columns = self._decoded[key] = self.read(decode, body, *key)
            found.setdefault(owner, []).append(columns)
        slots = start_ms // SLOT_MS, end_ms // SLOT_MS
        late_rows = self.rows.late(ALL, *slots) if late else ()
        for series, lists in chain(self.rows.new(ALL, *slots), late_rows):
            found.setdefault(self.series[series], []).append(Columns(*lists))
        if self.has_old:
            for owner, columns in self.old.between(start_ms, end_ms):
                found.setdefault(owner, []).append(columns)
        cuts = {
            owner: Columns.joined([part.between(start_ms, end_ms) for part in parts])
            for owner, parts in found.items()
        }
        return {owner: columns for owner, columns in cuts.items() if columns}

    def samples(
        self, start_ms: int, end_ms: int, *, late: bool = True, before_ms: int = 0
    ) -> list[Samples]:
        """What sums need of the readings with start <= time <= end, by device, as `between`.

        With `before_ms`, also of readings so long before: at least the newest two of each device,
        which say what held at the start.
        """
        span, first_ms = start_ms // SPAN_MS, start_ms - before_ms
        found: dict[Owner, list[Samples]] = {}
        rows, are_enough = self.rows.samples(start_ms, end_ms, before_ms)
        if not are_enough:
            for owner, key, body in self.blocks(first_ms, end_ms):
                of_block = _samples_of_block if key[1] >= span else _last_samples
                found.setdefault(owner, []).append(self.read(of_block, body, *key))
        for series, samples in rows:
            found.setdefault(self.series[series], []).append(samples)
        if late:
            slots = first_ms // SLOT_MS, end_ms // SLOT_MS
            for series, lists in self.rows.late(SOME, *slots):
                found.setdefault(self.series[series], []).append(Samples(*lists))
        if self.has_old:
            for owner, columns in self.old.between(first_ms, end_ms):
                found.setdefault(owner, []).append(columns.samples())
        return [
            Samples(*joined([part.between(first_ms, end_ms) for part in parts]))
            for parts in found.values()
        ]

    def newest_ms(self, before_ms: int) -> int | None:
        """A time at or before `before_ms`, and not before the newest reading until then.

        None if there is none. There may be no reading at the time itself.
        """
        slot = before_ms // SLOT_MS
        times: list[int | None] = []
        if self.series:
            new = self._one(
                "SELECT max(slot) FROM readings WHERE slot BETWEEN ?1 AND ?2", (self.sealed, slot)
            )
            late = self._one(_NEWEST_LATE, (slot, self.ids))
            times = [None if one is None else (one + 1) * SLOT_MS - 1 for one in (new, late)]
            span = min(before_ms // SPAN_MS, self.sealed // SPAN_SLOTS - 1)
            times.append(self._one(_NEWEST_SEALED, (before_ms, span, self.ids)))
        if self.has_old:
            times.append(self.old.newest_ms(before_ms))
        known = [one for one in times if one is not None]
        return min(max(known), before_ms) if known else None

    def oldest_ms(self, from_ms: int) -> int | None:
        """A time at or after `from_ms`, and not after the oldest reading in the tables from then.

        None if there is none. Readings that are still documents do not count.
        """
        slot, span = from_ms // SLOT_MS, from_ms // SPAN_MS
        new = self._one(
            "SELECT min(slot) FROM readings WHERE slot >= max(?1, ?2)", (self.sealed, slot)
        )
        late = self._one(_OLDEST_LATE, (slot, self.ids))
        sealed = self._one(_OLDEST_SEALED, (span, self.sealed // SPAN_SLOTS, self.ids))
        times = [one * SLOT_MS for one in (new, late) if one is not None]
        times += [sealed * SPAN_MS] if sealed is not None else []
        return max(min(times), from_ms) if times else None

    def blocks(self, start_ms: int, end_ms: int) -> Iterator[tuple[Owner, tuple[int, int], bytes]]:
        """The device, the key (series and span) and the body of each block that overlaps a time.

        In the order of their keys.
        """
        first = start_ms // SPAN_MS
        last = min(end_ms // SPAN_MS, self.sealed // SPAN_SLOTS - 1)
        if first <= last and self.series:
            rows = self.connection.execute(_BLOCKS, (first, last, self.ids))
            for series, span, body in rows:
                yield self.series[series], (series, span), body

    def read(self, read: Callable[[bytes], T], body: bytes, series: int, span: int) -> T:
        """Decode a block; raise DamagedBlock with its device and time."""
        try:
            return read(body)
        except DamagedBlock as error:
            began = datetime.fromtimestamp(span * SPAN_MS / 1000, UTC)
            raise DamagedBlock(
                f"{error.why} (device {self.series[series].device_id!r}, two hours from"
                f" {began:%Y-%m-%d %H:%M} UTC): restore a back-up"
            ) from error

    def _one(self, sql: str, parameters: tuple[object, ...]) -> int | None:
        (value,) = self.connection.execute(sql, parameters).fetchone()
        found: int | None = value
        return found


@lru_cache(BLOCKS_CACHED)
def _samples_of_block(body: bytes) -> Samples:
    return decode_samples(body)


def _last_samples(body: bytes) -> Samples:
    """Those that may hold after the end of a block."""
    return decode_samples(body, SAMPLES_BEFORE)


def snapshot_of(
    connection: sqlite3.Connection, tenant_id: str, device_id: str | None, old: bool | None = None
) -> ReadingSnapshot:
    """The readings of one device of a tenant, or of all.

    With `old` false, those that are still documents do not count.
    """
    sql = "SELECT id, tenant_id, device_id FROM reading_series WHERE tenant_id = ?"
    parameters = [tenant_id]
    if device_id is not None:
        sql += " AND device_id = ?"
        parameters.append(device_id)
    rows = connection.execute(sql, parameters).fetchall()
    series = {number: Owner(tenant, device) for number, tenant, device in rows}
    if old is None:
        old = has_old_readings(connection)
    return ReadingSnapshot(connection, series, tenant_id, device_id, old)
