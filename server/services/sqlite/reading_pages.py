"""Pages of readings, newest first, and those that a key remembers; on one connection."""

from __future__ import annotations

import base64
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from server.common.errors import Invalid
from server.services.history.columns import Columns
from server.services.history.documents import reading_from
from server.services.ports.readings import Reading, Span
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN
from server.services.sqlite import queries
from server.services.sqlite.documents import from_rows
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.reading_queries import ReadingSnapshot, snapshot_of
from server.services.sqlite.reading_tables import (
    SLOT_MS,
    SPAN_SLOTS,
    Owner,
    checksum,
    key_bytes,
    row_of,
)
from server.services.sqlite.reading_writes import live_periods

# The first window that is searched for the newest readings; each further one is twice as long.
FIRST_WINDOW_SLOTS = 2

_position = msgspec.json.Decoder(list[int | str])
_KEYS = (
    "SELECT key, digest, time, received, content, tenant_id, device_id FROM reading_keys"
    " JOIN reading_series ON id = series WHERE period IN ({}) AND key IN ({})"
)


class Position(NamedTuple):
    """The reading after which a page begins: `n` counts the device's readings of the same time."""

    time_ms: int
    device_id: str
    n: int

    @classmethod
    def of(cls, cursor: str) -> Position:
        """The position that a cursor means. Raises Invalid.

        A cursor of an earlier version names the document of a reading; its page begins with the
        readings of the same time.
        """
        try:
            found = _position.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        except (ValueError, TypeError, RecursionError, msgspec.DecodeError):
            found = []
        match found:
            case [int(time_ms), str(), *_] if not INTEGER_MIN <= time_ms <= INTEGER_MAX:
                pass
            case [int(time_ms), str()] if _packed(found) == cursor:
                return cls(time_ms, chr(0x10FFFF), 0)
            case [int(time_ms), str(device_id), int(n)] if _packed(found) == cursor:
                return cls(time_ms, device_id, n)
        raise Invalid("Invalid cursor", code="INVALID_CURSOR")

    def cursor(self) -> str:
        """The position as letters, digits, `-` and `_`."""
        return _packed(self)


def _packed(values: Sequence[int | str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


class _Tail(NamedTuple):
    """The newest readings of one device in a window, by their indexes in its columns."""

    owner: Owner
    columns: Columns
    indexes: range

    def position(self, index: int) -> Position:
        """Where a reading is among all."""
        time_ms = self.columns.times[index]
        n = index - bisect_left(self.columns.times, time_ms)
        return Position(time_ms, self.owner.device_id, n)


def newest_first(
    snapshot: ReadingSnapshot, span: Span, after: Position | None, limit: int
) -> tuple[list[Reading], Position | None]:
    """At most `limit` readings, and the position of the last one if there are more."""
    end = INTEGER_MAX if span.end_ms is None else span.end_ms
    start = INTEGER_MIN if span.start_ms is None else span.start_ms
    if after is not None:
        end = min(end, after.time_ms)
    readings: list[Reading] = []
    last: Position | None = None
    for window in _windows(snapshot, start, end):
        room = limit - len(readings)
        tails = [_tail(owner, columns, after, room + 1) for owner, columns in window.items()]
        if room and (some := _newest_of(tails, room)):
            taken, last = some
            readings += taken
        if sum(len(tail.indexes) for tail in tails) > room:
            return readings, last
    return readings, None


def _windows(snapshot: ReadingSnapshot, start: int, end: int) -> Iterator[dict[Owner, Columns]]:
    """The readings from `end` back to `start`, window by window."""
    slots = FIRST_WINDOW_SLOTS
    newest = snapshot.newest_ms(end)
    while newest is not None and newest >= start:
        begin = max(start, (newest // SLOT_MS - slots + 1) * SLOT_MS)
        yield snapshot.between(begin, newest)
        slots = min(2 * slots, SPAN_SLOTS)
        newest = snapshot.newest_ms(begin - 1)


def _tail(owner: Owner, columns: Columns, after: Position | None, count: int) -> _Tail:
    """The newest `count` readings that come after a position, which is to say before its time."""
    last = len(columns)
    if after is not None and columns.times[-1] >= after.time_ms:
        last = bisect_left(columns.times, after.time_ms)
        same = bisect_right(columns.times, after.time_ms) - last
        if owner.device_id < after.device_id:
            last += same
        elif owner.device_id == after.device_id:
            last += min(after.n, same)
    return _Tail(owner, columns, range(max(0, last - count), last))


def _newest_of(tails: Sequence[_Tail], room: int) -> tuple[list[Reading], Position] | None:
    """The newest readings of all tails, and the position of the last one; None without any."""
    tails = [tail for tail in tails if tail.indexes]
    if not tails:
        return None
    if len(tails) == 1:
        owner, columns, indexes = tails[0].owner, tails[0].columns, tails[0].indexes[-room:]
        part = columns.part(indexes.start, indexes.stop)
        return part.readings(*owner)[::-1], tails[0].position(indexes.start)
    entries = sorted(
        (
            (tail.position(index), number, index)
            for number, tail in enumerate(tails)
            for index in tail.indexes
        ),
        reverse=True,
    )[:room]
    readings = [
        tails[number].columns.reading(index, *tails[number].owner) for _, number, index in entries
    ]
    return readings, entries[-1][0]


def known_readings(
    connection: sqlite3.Connection, tenant_id: str, ids: Sequence[str]
) -> dict[str, Reading]:
    """The tenant's readings that are remembered under these ids, by id."""
    names = {key_bytes(row_id): row_id for row_id in ids}
    periods = live_periods(connection)
    found: dict[str, Reading] = {}
    keys = list(names)
    for first in range(0, len(keys), 500):
        some = keys[first : first + 500]
        sql = _KEYS.format(",".join("?" * len(periods)), ",".join("?" * len(some)))
        for key, digest, time_ms, received, content, tenant, device in connection.execute(
            sql, [*periods, *some]
        ).fetchall():
            if tenant != tenant_id:
                continue
            of_device = snapshot_of(connection, tenant, device).between(time_ms, time_ms)
            readings = of_device.get(Owner(tenant, device), Columns()).readings(tenant, device)
            same = [one for one in readings if checksum(row_of(one, 0)) == content]
            reading = same[-1] if same else _forgotten(tenant, device, time_ms)
            found[names[key]] = msgspec.structs.replace(
                reading, received_ms=received, source_digest=digest
            )
    if has_old_readings(connection):
        found |= _known_documents(connection, tenant_id, ids)
    return found


def _forgotten(tenant_id: str, device_id: str, time_ms: int) -> Reading:
    """What is left of a reading that was deleted before its key: only that it was there."""
    return Reading(
        tenant_id=tenant_id,
        device_id=device_id,
        timestamp_ms=time_ms,
        temp_tenths=None,
        setpoint_tenths=0,
        deadband_tenths=0,
        cool_active=False,
        heat_active=False,
        state="",
        sensor_ok=False,
    )


def _known_documents(
    connection: sqlite3.Connection, tenant_id: str, ids: Sequence[str]
) -> dict[str, Reading]:
    """Those of the readings that are still documents."""
    statement = queries.select_ids(OLD_READINGS, ids)
    documents = from_rows(connection.execute(*statement).fetchone()[0])
    readings = {document.id: reading_from(document.fields) for document in documents}
    return {name: one for name, one in readings.items() if one.tenant_id == tenant_id}
