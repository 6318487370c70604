"""Packing in the background of a server that gets posts: what it costs them, and the machine."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from scripts.bench.history.filled import Filled, add_new, database
from scripts.bench.host import cpu_s, peak_kb, server
from scripts.bench.table import percentile
from server.services.sqlite.reading_tables import SLOT_MS
from tools import wire
from tools.process import ServerProcess

# Readings older than a minute are packed at once, and none is deleted.
SETTINGS = {"BAS_SEAL_AFTER_MINUTES": "1", "BAS_TELEMETRY_DAYS": "3650"}
WARM_UP_S, PAUSE_S, LOOK_S, WAIT_S = 1.0, 0.01, 0.1, 120.0


class Posts(NamedTuple):
    """Posts of one device, each a moment after the answer to the one before; delays in ms."""

    delays: list[float]
    took_s: float
    cpu_s: float


async def measure(folder: Path, filled: Filled, new_ms: int, idle_mb: float) -> dict[str, float]:
    """Post to a server while it packs so much more of all zones, and as long after that.

    `idle_mb` is what the server holds without anything to pack.
    """
    more = add_new(folder, filled, new_ms)
    count = more.readings - filled.readings
    with server(folder, **SETTINGS) as process:
        began = time.perf_counter()
        await post(process, lambda took_s: took_s >= WARM_UP_S)
        with closing(sqlite3.connect(database(folder))) as connection:
            beside = await post(process, _is_packed(connection, more.end_ms))
        packing_s = time.perf_counter() - began
        peak = peak_kb(process.pid)
        after = await post(process, lambda took_s: took_s >= beside.took_s)
    with_it, without = (percentile(one.delays, 99) for one in (beside, after))
    rates = [one.cpu_s / one.took_s for one in (beside, after)]
    posts = [len(one.delays) / one.took_s for one in (beside, after)]
    # Posts that wait are fewer: what they would have used is not the packing's.
    used = rates[0] - rates[1] * posts[0] / posts[1]
    return {
        "a post while packing, p99": with_it,
        "a post while packing, p99 more": with_it - without,
        "packing, of a core": 100 * used,
        "packing, processor": used * packing_s / count * 1e6,
        "memory more while packing": peak / 1024 - idle_mb,
    }


def _is_packed(connection: sqlite3.Connection, until_ms: int) -> Callable[[float], bool]:
    """Whether nothing before a time is left in the table of new readings; looks now and then."""
    next_s = 0.0

    def look(took_s: float) -> bool:
        nonlocal next_s
        if took_s < next_s:
            return False
        next_s = took_s + LOOK_S
        if took_s > WAIT_S:
            raise TimeoutError(f"nothing was packed in {WAIT_S:g} s")
        found = connection.execute(
            "SELECT 1 FROM readings WHERE slot < ? LIMIT 1", (until_ms // SLOT_MS,)
        )
        return found.fetchone() is None

    return look


async def post(process: ServerProcess, is_over: Callable[[float], bool]) -> Posts:
    """Post again and again until it is over, which is asked with the seconds since the start."""
    connection = wire.Connection(process.port)
    delays: list[float] = []
    used_s, began = -cpu_s(process.pid), time.perf_counter()
    while not is_over(time.perf_counter() - began):
        sent = time.perf_counter()
        body = wire.reading("beside", 200 + len(delays) % 60)
        await connection.request("POST", "/api/sensor_data", body)
        delays.append((time.perf_counter() - sent) * 1000)
        await asyncio.sleep(PAUSE_S)
    connection.close()
    return Posts(delays, time.perf_counter() - began, used_s + cpu_s(process.pid))
