"""A data folder full of readings, in seconds: they are packed here and not posted.

Blocks and sums are made by the server's own code (`codec.encode`, `summaries.summarise`), and
stored as its background work stores them (`sealing.write_block`). Only the way over the table of
new readings is left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bas_server import open_base
from scripts.bench.history.zones import Noise, Zone
from server.config.config import ServerConfig
from server.services.history.codec import encode
from server.services.history.columns import Columns
from server.services.history.summaries import summarise
from server.services.sqlite import day_sums, hour_sums, sealing
from server.services.sqlite.reading_tables import (
    HOUR_MS,
    ROW_COLUMNS,
    SLOT_MS,
    SPAN_MS,
    SPAN_SLOTS,
    Owner,
    StoredRow,
    row_of,
)
from server.services.sqlite.reading_writes import numbers_of

TENANT = "default"
# So many readings of the span before say what held at the start of a span.
_BEFORE = 60
# So many spans are committed together.
_AT_ONCE = 12
_NEW = f"INSERT INTO readings ({ROW_COLUMNS}) VALUES ({', '.join('?' * len(StoredRow._fields))})"


class Filled(NamedTuple):
    """What a folder holds: readings of `zones` from the start of a span to before an end."""

    zones: int
    start_ms: int
    end_ms: int
    readings: int


def device(number: int) -> str:
    """The device id of a zone."""
    return f"zone-{number}"


async def fill(
    folder: Path, zones: int, spans: range, *, new_ms: int = 0, has_clock: bool = True
) -> Filled:
    """Fill a folder with packed spans of so many zones, and with `new_ms` that are not packed."""
    await create(folder)
    noise = Noise()
    made = [Zone(number, noise, has_clock=has_clock) for number in range(zones)]
    end_ms, count = spans.stop * SPAN_MS + new_ms, 0
    with _opened(folder) as connection:
        owners = [Owner(TENANT, device(number)) for number in range(zones)]
        series = numbers_of(connection, owners)
        before: dict[int, Columns] = {}
        for span in spans:
            for number, zone in zip(series, made, strict=True):
                columns = zone.span(span)
                block = block_of(number, span, columns, before.get(number, Columns()))
                sealing.write_block(connection, block)
                before[number] = columns.part(len(columns) - _BEFORE, len(columns))
                count += len(columns)
            if span % _AT_ONCE == 0:
                connection.execute("COMMIT")
                connection.execute("BEGIN")
        _seal(connection, spans.stop)
        count += _add_new(connection, made, range(spans.stop, -(-end_ms // SPAN_MS)), end_ms)
        _sum_up(connection, end_ms)
    return Filled(zones, spans.start * SPAN_MS, end_ms, count)


def add_new(folder: Path, filled: Filled, new_ms: int) -> Filled:
    """Give the zones of a folder so much more that is not packed."""
    noise, end_ms = Noise(), filled.end_ms + new_ms
    made = [Zone(number, noise) for number in range(filled.zones)]
    spans = range(filled.end_ms // SPAN_MS, -(-end_ms // SPAN_MS))
    with _opened(folder) as connection:
        count = _add_new(connection, made, spans, end_ms)
        _sum_up(connection, end_ms)
    return filled._replace(end_ms=end_ms, readings=filled.readings + count)


def add_zones(folder: Path, filled: Filled, zones: int) -> Filled:
    """Give a filled folder `zones` zones in all, by copying the packed readings of those it has."""
    times = zones // filled.zones
    with _opened(folder) as connection:
        for copy in range(1, times):
            names = [Owner(TENANT, device(copy * filled.zones + n)) for n in range(filled.zones)]
            new = numbers_of(connection, names)
            shift = new[0] - 1
            for table in ("reading_blocks", "reading_hours"):
                found = connection.execute(f"SELECT * FROM {table} LIMIT 0").description
                others = ", ".join(name for name, *_ in found if name != "series")
                connection.execute(
                    f"INSERT INTO {table} (series, {others}) SELECT series + ?, {others}"
                    f" FROM {table} WHERE series <= ?",
                    (shift, filled.zones),
                )
    return filled._replace(zones=times * filled.zones, readings=times * filled.readings)


async def create(folder: Path) -> None:
    """Make the empty database of a folder."""
    async with open_base(ServerConfig(data_dir=folder)):
        pass


def block_of(series: int, span: int, columns: Columns, before: Columns) -> sealing.Block:
    """The block of a device's readings of a span, with the sums of its hours."""
    samples = Columns.joined([before, columns]).samples()
    first = span * SPAN_MS // HOUR_MS
    hours = {
        hour: summarise(samples, hour * HOUR_MS, (hour + 1) * HOUR_MS)
        for hour in range(first, first + SPAN_MS // HOUR_MS)
    }
    return sealing.Block(series, span, len(columns), columns.times[-1], encode(columns), hours)


def _add_new(
    connection: sqlite3.Connection, zones: Sequence[Zone], spans: range, end_ms: int
) -> int:
    """Add readings before an end that are not packed; how many."""
    owners = [Owner(TENANT, device(number)) for number in range(len(zones))]
    count = 0
    for span in spans:
        for number, zone, owner in zip(numbers_of(connection, owners), zones, owners, strict=True):
            columns = zone.span(span).between(0, end_ms - 1)
            rows = (row_of(reading, number) for reading in columns.readings(*owner))
            connection.executemany(_NEW, rows)
            count += len(columns)
    return count


def bytes_of(folder: Path) -> int:
    """How large all files of a folder are, without what a file only reserves."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(min(one.st_size, 512 * one.st_blocks) for one in found)


def database(folder: Path) -> Path:
    """The database file of a folder."""
    return ServerConfig(data_dir=folder).database


def _seal(connection: sqlite3.Connection, end_span: int) -> None:
    for name in ("closing", "sealed"):
        connection.execute(
            "UPDATE reading_marks SET value = ? WHERE name = ?", (end_span * SPAN_SLOTS, name)
        )


def _sum_up(connection: sqlite3.Connection, now_ms: int) -> None:
    """Make the sums that the background work has made by then."""
    hour_sums.freeze(connection, (now_ms - hour_sums.FREEZE_AFTER_MS) // SLOT_MS)
    while (hour := hour_sums.next_hour(connection)) is not None:
        found = hour_sums.sums_of(connection, hour_sums.devices_of(connection, hour), hour)
        hour_sums.write_sums(connection, hour, found)
        hour_sums.publish(connection, hour)
    while day_sums.sum_some(connection):
        pass
    while (day := day_sums.next_day(connection)) is not None:
        day_sums.begin_day(connection, day)
        while day_sums.sum_some(connection):
            pass


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database, in a transaction; a crash of the machine may damage it."""
    connection = sqlite3.connect(database(folder), isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    try:
        yield connection
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
