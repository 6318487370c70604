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
        await load(process, WARM_UP_S)
        kept = await load(process, seconds)
        single = await load(process, seconds, close=True)
    figures: dict[str, float] = {"readings refused": kept.refused + single.refused}
    figures |= kept.figures("ingest, 32 connections")
    return figures | single.figures("ingest, connection a reading")


class Load:
    """What came of it."""

    def __init__(self, seconds: float) -> None:
        self.delays: list[float] = []
        self.refused = 0
        self.cpu_s = 0.0
        self._seconds = seconds

    def figures(self, what: str) -> dict[str, float]:
        """Under their names in the table."""
        return {
            what: len(self.delays) / self._seconds,
            f"{what}, processor": self.cpu_s / len(self.delays) * 1e6,
            f"{what}, p50": percentile(self.delays, 50) * 1000,
            f"{what}, p99": percentile(self.delays, 99) * 1000,
        }


async def load(process: ServerProcess, seconds: float, *, close: bool = False) -> Load:
    """Readings for so long; with `close` on a new connection each."""
    done, port = Load(seconds), process.port
    done.cpu_s = -cpu_s(process.pid)
    end = time.perf_counter() + seconds
    await asyncio.gather(
        *(_device(port, f"device-{index}", end, done, close) for index in range(CONNECTIONS))
    )
    done.cpu_s += cpu_s(process.pid)
    return done


async def _device(port: int, name: str, end: float, done: Load, close: bool) -> None:
    connection = wire.Connection(port)
    for temp_tenths in _temperatures():
        began = time.perf_counter()
        if began >= end:
            break
        try:
            body = wire.reading(name, temp_tenths)
            await connection.request("POST", "/api/sensor_data", body, close=close)
        except (wire.Refused, OSError, asyncio.IncompleteReadError):
            done.refused += 1
            connection.close()
        else:
            done.delays.append(time.perf_counter() - began)
    connection.close()


def _temperatures() -> Iterator[int]:
    while True:
        yield from range(200, 260)
