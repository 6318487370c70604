"""This server beside that of an earlier commit, on the same loads in turn: most figures are ratios.

A ratio is one of the sums of all turns: it says more than the figures, where other programs run.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scripts.bench import ingest
from scripts.bench.history import earlier
from scripts.bench.history.filled import Filled, database, device, fill
from scripts.bench.history.inside import WINDOW, packed_end_ms
from scripts.bench.history.zones import EVERY_MS
from scripts.bench.host import cpu_s, server, server_of, written_bytes
from scripts.bench.ingest import BATCH, CONNECTIONS, Load
from server.services.sqlite.reading_tables import SPAN_MS
from tools import wire
from tools.process import REPOSITORY, ServerProcess

# Turns of each load; the order of the servers is turned round each time.
TURNS = 4
ZONES, WINDOWS = 10, 5
DEVICES, A_SECOND, A_DEVICE = (50, 1000), 10, "slow"
HERE = REPOSITORY / "bas_server.py"
CHECKPOINT_AGAIN_S = 0.05
# The readings have dates of some days ago, and none is to be deleted.
KEEP_ALL = {"BAS_TELEMETRY_DAYS": "3650"}


class Side(NamedTuple):
    """One of the two servers."""

    process: ServerProcess
    folder: Path
    session: str = ""


class Sums(NamedTuple):
    """What one server did in all turns of a load."""

    readings: int
    took_s: float
    cpu_s: float
    written: int

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return Sums(
            self.readings + other.readings,
            self.took_s + other.took_s,
            self.cpu_s + other.cpu_s,
            self.written + other.written,
        )


NOTHING = Sums(0, 0.0, 0.0, 0)
Turn = Callable[[Side], Awaitable[Sums]]


async def measure(folder: Path, spans: range, seconds: float) -> dict[str, float]:
    """The figures; none where the earlier commit is not to be had."""
    try:
        with earlier.program() as program:
            return await _reads(folder, program, spans) | await _writes(folder, program, seconds)
    except earlier.NotThere as why:
        sys.stderr.write(f"nothing is compared with an earlier version: {why}\n")
        return {}


async def _reads(folder: Path, program: Path, spans: range) -> dict[str, float]:
    """Windows of packed readings, and of as many that are documents."""
    here, there = folder / "window", folder / "window-earlier"
    filled = await fill(here, ZONES, spans)
    last = packed_end_ms(filled) // SPAN_MS
    documents = range(last - 1 - WINDOW * EVERY_MS // SPAN_MS, last + 1)
    password = earlier.fill_documents(there, program, ZONES, documents)
    with ExitStack() as stack:
        now = stack.enter_context(server(here, **KEEP_ALL))
        before = stack.enter_context(server_of(program, there, **KEEP_ALL))
        assert now.password is not None, now.output
        sides = (
            Side(now, here, await wire.log_in(now.port, now.password)),
            Side(before, there, await wire.log_in(before.port, password)),
        )
        one, other = await _in_turn(sides, lambda side: _windows(side, filled))
    return {
        "window of 10,000 from HTTP": one.took_s / (TURNS * WINDOWS) * 1000,
        "window of 10,000, of the earlier": one.took_s / other.took_s,
        "window of 10,000, processor, of the earlier": one.cpu_s / other.cpu_s,
    }


async def _windows(side: Side, filled: Filled) -> Sums:
    connection = wire.Connection(side.process.port)
    query = f"limit={WINDOW}&start={filled.start_ms}&end={packed_end_ms(filled)}"
    used_s, began = -cpu_s(side.process.pid), time.perf_counter()
    for number in range(WINDOWS):
        path = f"/api/telemetry/window?device_id={device(number % ZONES)}&{query}"
        _, body = await connection.request("GET", path, headers={"X-Session-ID": side.session})
        assert body.count(b'"device_id"') == WINDOW, body[:200]
    took_s = time.perf_counter() - began
    connection.close()
    return Sums(WINDOWS * WINDOW, took_s, used_s + cpu_s(side.process.pid), 0)


async def _writes(folder: Path, program: Path, seconds: float) -> dict[str, float]:
    """The loads of `ingest`, and a slow one, on empty folders."""
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        sides = []
        for name, one in (("ingest", HERE), ("ingest-earlier", program)):
            process = stack.enter_context(server_of(one, folder / name))
            sides.append(Side(process, folder / name))
        now, before = sides
        for side in sides:
            await ingest.load(side.process, ingest.WARM_UP_S)
        kept = await _in_turn((now, before), lambda side: _kept(side, seconds / TURNS))
        figures |= _rates("ingest, 32 connections", *kept) | _written("32 connections", *kept)
        for devices in DEVICES:
            for side in sides:
                await ingest.load_batches(side.process, ingest.WARM_UP_S, devices)
            turn = partial(_batches, devices, seconds / TURNS)
            both = await _in_turn((now, before), turn)
            figures |= _rates(f"ingest, batches of {devices} devices", *both)
        slow = await _in_turn((now, before), lambda side: _slowly(side, seconds / 2))
        return figures | _written("10 posts/s", *slow)


async def _in_turn(sides: tuple[Side, Side], turn: Turn) -> tuple[Sums, Sums]:
    one = other = NOTHING
    for number in range(TURNS):
        if number % 2:
            other = other.plus(await turn(sides[1]))
        one = one.plus(await turn(sides[0]))
        if not number % 2:
            other = other.plus(await turn(sides[1]))
    return one, other


async def _kept(side: Side, seconds: float) -> Sums:
    with _Writing(side) as writing:
        done = await ingest.load(side.process, seconds)
    return _sums(done, seconds, 1)._replace(written=writing.bytes)


async def _batches(devices: int, seconds: float, side: Side) -> Sums:
    return _sums(await ingest.load_batches(side.process, seconds, devices), seconds, BATCH)


def _sums(done: Load, seconds: float, readings: int) -> Sums:
    assert not done.refused, f"{done.refused} readings were refused"
    return Sums(len(done.delays) * readings, seconds, done.cpu_s, 0)


async def _slowly(side: Side, seconds: float) -> Sums:
    count = round(seconds * A_SECOND)
    connection = wire.Connection(side.process.port)
    with _Writing(side) as writing:
        for number in range(count):
            body = wire.reading(f"{A_DEVICE}-{number % ZONES}", 200 + number % 60)
            await connection.request("POST", "/api/sensor_data", body)
            await asyncio.sleep(1 / A_SECOND)
    connection.close()
    return Sums(count, seconds, 0.0, writing.bytes)


class _Writing:
    """Counts what a server writes within the block, and what it has left to be written.

    The -wal file is emptied before and after, because the process that empties it writes its
    content a second time, into the database.
    """

    def __init__(self, side: Side) -> None:
        self._side = side
        self.bytes = 0

    def __enter__(self) -> _Writing:
        self._empty()
        self.bytes = -self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self._empty()
        self.bytes += self._now()

    def _empty(self) -> None:
        with closing(sqlite3.connect(database(self._side.folder), timeout=10)) as connection:
            # It says 1, and does less, while somebody reads or writes.
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                time.sleep(CHECKPOINT_AGAIN_S)

    def _now(self) -> int:
        return written_bytes(self._side.process.pid) + written_bytes("self")


def _rates(what: str, now: Sums, before: Sums) -> dict[str, float]:
    return {
        f"{what}, times the earlier": now.readings / now.took_s / (before.readings / before.took_s),
        f"{what}, processor, of the earlier": (now.cpu_s / now.readings)
        / (before.cpu_s / before.readings),
    }


def _written(what: str, now: Sums, before: Sums) -> dict[str, float]:
    """None where nothing is written to a disk, as in a folder in memory."""
    if not before.written:
        sys.stderr.write("the folder is not on a disk: what is written there is not counted\n")
        return {}
    one, other = now.written / now.readings, before.written / before.readings
    return {
        f"written a reading, {what}": one,
        f"written a reading, {what}, of the earlier": one / other,
    }


assert CONNECTIONS == 32, "the names of the rows say 32 connections"
