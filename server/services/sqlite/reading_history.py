"""SqliteHistory: the ReadingHistory in an SQLite file."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from operator import or_
from typing import TypeVar

from server.services.history.contents import not_among
from server.services.history.setpoint_search import newest_of, setpoint_changes
from server.services.ports.documents import EmptyFields, Write
from server.services.ports.indexes import check_limit
from server.services.ports.readings import (
    ALWAYS,
    ChangedSetpoint,
    DemandingHistory,
    Exported,
    Figures,
    NewRow,
    Point,
    Reading,
    ReadingColumns,
    ReadingHistory,
    ReadingPage,
    RelayUse,
    ScanPage,
    Span,
)
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.device_deletion import delete_device_readings
from server.services.sqlite.old_readings import has_old_readings
from server.services.sqlite.reading_devices import devices_in_use, relay_use
from server.services.sqlite.reading_export import exported
from server.services.sqlite.reading_pages import Position, known_readings, newest_first
from server.services.sqlite.reading_queries import ReadingSnapshot, snapshot, snapshot_of
from server.services.sqlite.reading_scan import scanned
from server.services.sqlite.reading_series import chart
from server.services.sqlite.reading_setpoints import changed_setpoints
from server.services.sqlite.reading_sums import Sums, sums
from server.services.sqlite.reading_tables import Owner, key_of, row_of
from server.services.sqlite.reading_writes import NewKey, ReadingSet, numbers_of
from server.services.sqlite.tenant_deletion import delete_readings, tenants_with_readings

T = TypeVar("T")
# Above this many devices, their numbers are read again.
DEVICES_MAX = 100_000
# A report reads the readings of so many devices at a time.
DEVICES_AT_ONCE = 50


class SqliteHistory(ReadingHistory, DemandingHistory):
    """Readings in the file of `client`. Call it only from the event loop that opened the client."""

    def __init__(self, client: SqliteClient) -> None:
        self._client = client
        # The number of each device in this file, as far as it is known here.
        self._series: dict[Owner, int] = {}
        self._generation = -1

    async def write(self, documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
        return await self._write(documents, rows, None)

    async def write_if(
        self, documents: Sequence[Write], rows: Sequence[NewRow], demand: EmptyFields
    ) -> list[str]:
        return await self._write(documents, rows, demand)

    async def _write(
        self, documents: Sequence[Write], rows: Sequence[NewRow], demand: EmptyFields | None
    ) -> list[str]:
        series = await self._numbers(
            {Owner(row.reading.tenant_id, row.reading.device_id) for row in rows}
        )
        keys = []
        stored = []
        for row in rows:
            number = series[Owner(row.reading.tenant_id, row.reading.device_id)]
            stored.append(row_of(row.reading, number))
            if (key := key_of(row, stored[-1])) is not None:
                keys.append(NewKey(key, number, row.id))
        return await self._client.write(documents, ReadingSet(stored, keys, demand))

    async def known(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Reading]:
        return await self._read(lambda connection: known_readings(connection, tenant_id, ids))

    async def page(
        self,
        tenant_id: str,
        device_id: str | None,
        limit: int,
        span: Span = ALWAYS,
        cursor: str | None = None,
    ) -> ReadingPage:
        check_limit(limit)
        after = None if cursor is None else Position.of(cursor)

        def read(connection: sqlite3.Connection) -> ReadingPage:
            found = snapshot_of(connection, tenant_id, device_id)
            readings, last = newest_first(found, span, after, limit)
            return ReadingPage(readings, last.cursor() if last else None)

        return await self._read(read)

    async def figures(
        self, tenant_id: str, device_id: str | None, span: Span, now_ms: int | None = None
    ) -> Figures:
        def read(found: ReadingSnapshot) -> Sums:
            devices = devices_in_use(found, span) if device_id is None else 1
            return sums(found, span, now_ms, devices)

        if device_id is not None:
            one = await self._report(
                lambda connection: read(snapshot_of(connection, tenant_id, device_id))
            )
            return one.figures()
        parts = await self._by_parts(tenant_id, read)
        return functools.reduce(Sums.with_others, parts).figures()

    async def points(
        self, tenant_id: str, device_id: str, start_ms: int, step_ms: int, count: int
    ) -> list[Point]:
        def read(connection: sqlite3.Connection) -> list[Point]:
            found = snapshot_of(connection, tenant_id, device_id)
            return chart(found, start_ms, step_ms, count)

        return await self._report(read)

    async def setpoints(
        self, tenant_id: str, device_id: str, start_ms: int, end_ms: int
    ) -> list[ChangedSetpoint]:
        def read(connection: sqlite3.Connection) -> list[ChangedSetpoint] | None:
            found = snapshot_of(connection, tenant_id, device_id)
            return None if found.has_old else changed_setpoints(found, start_ms, end_ms)

        changes = await self._report(read)
        if changes is None:  # what is still documents is read at some times only
            look = newest_of(self, tenant_id, device_id)
            changes = await setpoint_changes(look, start_ms, end_ms)
        return changes

    async def relay_use(self, tenant_id: str, until_ms: int) -> dict[str, RelayUse]:
        parts = await self._by_parts(tenant_id, lambda found: relay_use(found, until_ms))
        return functools.reduce(or_, parts)

    async def export(
        self,
        tenant_id: str,
        device_id: str,
        span: Span,
        encode: Callable[[ReadingColumns], bytes],
    ) -> Exported:
        def read(connection: sqlite3.Connection) -> Exported:
            return exported(snapshot_of(connection, tenant_id, device_id), span, encode)

        return await self._report(read)

    async def count(self) -> int:
        return await self._report(_count)

    async def tenant_ids(self) -> list[str]:
        return await self._report(tenants_with_readings)

    def delete_readings_of(self, tenant_id: str, device_id: str) -> AsyncIterator[int]:
        return delete_device_readings(self._client, tenant_id, device_id)

    def delete_tenant(self, tenant_id: str) -> AsyncIterator[int]:
        return delete_readings(self._client, tenant_id)

    async def scan(self, limit: int, cursor: str | None = None) -> ScanPage:
        return await self._read(lambda connection: scanned(connection, limit, cursor))

    async def missing(self, rows: Sequence[NewRow]) -> list[NewRow]:
        devices: dict[Owner, list[NewRow]] = {}
        for row in rows:
            owner = Owner(row.reading.tenant_id, row.reading.device_id)
            devices.setdefault(owner, []).append(row)

        def read(connection: sqlite3.Connection) -> list[NewRow]:
            missing = []
            for owner, some in devices.items():
                there: list[Reading] = []
                found = snapshot_of(connection, *owner)
                for time_ms in {row.reading.timestamp_ms for row in some}:
                    for one in found.between(time_ms, time_ms).values():
                        there += one.readings(*owner)
                missing += not_among(some, there)
            return missing

        return await self._read(read)

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        return await self._client.readers.run(lambda connection: _within(connection, read))

    async def _report(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run a read over many readings in its own thread."""
        return await self._client.reports.run(lambda connection: _within(connection, read))

    async def _by_parts(self, tenant_id: str, read: Callable[[ReadingSnapshot], T]) -> list[T]:
        """What is read of all of a tenant's devices, a few of them at a time.

        So a report of many devices takes as long as it needs, and others come between. What is
        still documents is the last part.
        """
        parts: list[T] = []

        def part(connection: sqlite3.Connection) -> tuple[T, bool]:
            found = snapshot_of(connection, tenant_id, None)
            series = sorted(found.series)
            if len(series) <= DEVICES_AT_ONCE:
                return read(found), True
            some = series[len(parts) * DEVICES_AT_ONCE :][:DEVICES_AT_ONCE]
            return read(found.part(some, old=not some)), not some

        while True:
            result, is_last = await self._report(part)
            parts.append(result)
            if is_last:
                return parts

    async def _numbers(self, owners: Collection[Owner]) -> Mapping[Owner, int]:
        """The devices' numbers; new devices get one, which is stored before this returns."""
        if self._generation != self._client.generation:
            self._series, self._generation = {}, self._client.generation
        if len(self._series) > DEVICES_MAX:
            self._series = {}
        series = self._series
        new = [owner for owner in owners if owner not in series]
        if new:
            numbers = await self._client.writer.run(lambda connection: numbers_of(connection, new))
            series.update(zip(new, numbers, strict=True))
        return series


def _within(connection: sqlite3.Connection, read: Callable[[sqlite3.Connection], T]) -> T:
    with snapshot(connection):
        return read(connection)


def _count(connection: sqlite3.Connection) -> int:
    total = 0
    for sql in (
        "SELECT ifnull(sum(count), 0) FROM reading_blocks WHERE span < (SELECT value / 720 FROM"
        " reading_marks WHERE name = 'sealed')",
        "SELECT count(*) FROM readings WHERE slot >= (SELECT value FROM reading_marks WHERE"
        " name = 'sealed')",
        "SELECT count(*) FROM late_readings",
    ):
        total += connection.execute(sql).fetchone()[0]
    if has_old_readings(connection):
        total += connection.execute("SELECT count(*) FROM telemetry").fetchone()[0]
    return total
