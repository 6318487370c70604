"""Reads of a filled folder in one process, without HTTP: run as a program, it prints its figures.

Its arguments are the folder, the number of zones, the start and the end of their readings, how many
calls of each it makes, and the days that the longest calls go back.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import uvloop

from bas_server import open_base
from scripts.bench.history.filled import TENANT, Filled, device
from scripts.bench.history.zones import DAY_MS
from scripts.bench.table import percentile
from server.config.config import ServerConfig
from server.services.sqlite.reading_tables import SPAN_MS

POINTS, WINDOW = 1000, 10_000


class Delays(NamedTuple):
    """Of calls one after another, in ms; and the processor time of one, in ms."""

    p50: float
    p99: float
    processor: float


async def delays(count: int, call: Callable[[int], Awaitable[object]]) -> Delays:
    """The delays of so many calls, after one that is not counted."""
    await call(0)
    gc.collect()
    found = []
    used_s = -time.process_time()
    for index in range(count):
        began = time.perf_counter()
        await call(index)
        found.append((time.perf_counter() - began) * 1000)
    used_s += time.process_time()
    return Delays(percentile(found, 50), percentile(found, 99), used_s * 1000 / count)


async def measure(folder: Path, filled: Filled, calls: int, days: float) -> Mapping[str, Delays]:
    """Statistics of a zone and of all, charts of a day and of `days`, and a window of blocks."""
    start_ms, end_ms = filled.end_ms - round(days * DAY_MS), filled.end_ms - 1

    async with open_base(ServerConfig(data_dir=folder)) as base:
        telemetry = base.stores.telemetry

        def zone(index: int) -> str:
            return device(index % filled.zones)

        return {
            "statistics of a zone": await delays(
                calls,
                lambda index: telemetry.get_device_statistics(
                    TENANT, zone(index), start_ms, end_ms
                ),
            ),
            "statistics of all zones": await delays(
                calls, lambda _: telemetry.get_device_statistics(TENANT, None, start_ms, end_ms)
            ),
            "chart of a day": await delays(
                calls,
                lambda index: telemetry.chart(TENANT, zone(index), end_ms - DAY_MS, end_ms, POINTS),
            ),
            "chart": await delays(
                calls,
                lambda index: telemetry.chart(TENANT, zone(index), start_ms, end_ms, POINTS),
            ),
            "setpoints": await delays(
                calls, lambda index: telemetry.setpoints(TENANT, zone(index), start_ms, end_ms)
            ),
            "window of 10,000": await delays(
                calls,
                lambda index: telemetry.query_window(
                    TENANT, zone(index), filled.start_ms, packed_end_ms(filled), WINDOW
                ),
            ),
        }


def packed_end_ms(filled: Filled) -> int:
    """A time before which all is packed, in a block: the end of a window is seldom that of one."""
    return filled.end_ms - 3 * SPAN_MS // 2


if __name__ == "__main__":
    gc.freeze()
    folder, *numbers, back = sys.argv[1:]
    what, many = Filled(*map(int, numbers[:4])), int(numbers[4])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(Path(folder), what, many, float(back)))
    sys.stdout.write(json.dumps({name: one._asdict() for name, one in figures.items()}))
