"""How many readings a second are stored and answered: kept connections, or one for each reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.bench import wire
from scripts.bench.host import cpu_s, server
from scripts.bench.table import percentile
from tests.support.process import ServerProcess

CONNECTIONS, SECONDS, WARM_UP_S = 32, 10.0, 1.0


async def measure(data_dir: Path, seconds: float = SECONDS) -> dict[str, float]:
    """Both ways in turn on one server, each device posting as soon as it is answered."""
    with server(data_dir) as process:
        await _load(process, WARM_UP_S, close=False)
        kept = await _load(process, seconds, close=False)
        single = await _load(process, seconds, close=True)
    figures: dict[str, float] = {"readings refused": kept.refused + single.refused}
    for what, load in (("32 connections", kept), ("connection a reading", single)):
        figures |= {
            f"ingest, {what}": len(load.delays) / seconds,
            f"ingest, {what}, processor": load.cpu_s / len(load.delays) * 1e6,
            f"ingest, {what}, p50": percentile(load.delays, 50) * 1000,
            f"ingest, {what}, p99": percentile(load.delays, 99) * 1000,
        }
    return figures


class _Load:
    def __init__(self) -> None:
        self.delays: list[float] = []
        self.refused = 0
        self.cpu_s = 0.0


async def _load(process: ServerProcess, seconds: float, *, close: bool) -> _Load:
    load, port = _Load(), process.port
    load.cpu_s = -cpu_s(process.pid)
    end = time.perf_counter() + seconds
    await asyncio.gather(
        *(_device(port, f"device-{index}", end, load, close) for index in range(CONNECTIONS))
    )
    load.cpu_s += cpu_s(process.pid)
    return load


async def _device(port: int, name: str, end: float, load: _Load, close: bool) -> None:
    connection = wire.Connection(port)
    for temp_tenths in _temperatures():
        began = time.perf_counter()
        if began >= end:
            break
        try:
            body = wire.reading(name, temp_tenths)
            await connection.request("POST", "/api/sensor_data", body, close=close)
        except (wire.Refused, OSError, asyncio.IncompleteReadError):
            load.refused += 1
            connection.close()
        else:
            load.delays.append(time.perf_counter() - began)
    connection.close()


def _temperatures() -> Iterator[int]:
    while True:
        yield from range(200, 260)
