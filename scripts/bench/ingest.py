"""How many readings a second are stored and answered: kept connections, or one for each reading."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.bench.host import cpu_s, server
from scripts.bench.table import percentile
from tools import wire
from tools.process import ServerProcess

CONNECTIONS, SECONDS, WARM_UP_S = 32, 10.0, 1.0
GATEWAYS, BATCH, EVERY_MS = 4, 1000, 2000
# How many devices a gateway's batch holds readings of, as many of each.
DEVICES = (50, 1000)
# Beside the batches a device posts by itself, so long after each answer.
PAUSE_S = 0.02
# Counts the batches of each gateway.
_batches_of: dict[str, Iterator[int]] = {}


async def measure(data_dir: Path, seconds: float = SECONDS) -> dict[str, float]:
    """Each way in turn on one server, each device or gateway posting as soon as it is answered."""
    with server(data_dir) as process:
        await load(process, WARM_UP_S)
        kept = await load(process, seconds)
        single = await load(process, seconds, close=True)
        batches, beside = {}, Load(seconds)
        for devices in DEVICES:
            await load_batches(process, WARM_UP_S, devices)
            batches[devices] = await load_batches(process, seconds, devices, beside)
    loads = [kept, single, beside, *batches.values()]
    figures: dict[str, float] = {"readings refused": sum(one.refused for one in loads)}
    for devices, one in batches.items():
        figures |= one.figures(f"ingest, batches of {devices} devices", BATCH)
    alone = beside.figures("ingest, a post beside batches")
    figures |= {name: figure for name, figure in alone.items() if name.endswith(("p50", "p99"))}
    figures |= kept.figures("ingest, 32 connections")
    return figures | single.figures("ingest, connection a reading")


class Load:
    """What came of it."""

    def __init__(self, seconds: float) -> None:
        self.delays: list[float] = []
        self.refused = 0
        self.cpu_s = 0.0
        self._seconds = seconds

    def figures(self, what: str, readings: int = 1) -> dict[str, float]:
        """Under their names in the table, with so many readings in a post."""
        return {
            what: len(self.delays) * readings / self._seconds,
            f"{what}, processor": self.cpu_s / (len(self.delays) * readings) * 1e6,
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


async def load_batches(
    process: ServerProcess, seconds: float, devices: int, beside: Load | None = None
) -> Load:
    """Batches of readings for so long, of so many gateways, each with devices of its own; with
    `beside` the posts of one more device, which come to it."""
    done = Load(seconds)
    done.cpu_s = -cpu_s(process.pid)
    end = time.perf_counter() + seconds
    posts = [_gateway(process.port, f"gateway-{n}", devices, end, done) for n in range(GATEWAYS)]
    if beside is not None:
        posts.append(_device(process.port, "beside", end, beside, close=False, pause_s=PAUSE_S))
    await asyncio.gather(*posts)
    done.cpu_s += cpu_s(process.pid)
    return done


async def _gateway(port: int, name: str, devices: int, end: float, done: Load) -> None:
    connection = wire.Connection(port)
    temperatures = _temperatures()
    # Made before, but for their dates: it is the server that is measured.
    bodies = [_batch(name, devices, temperatures) for _ in range(10)]
    for number, body in zip(itertools.count(), itertools.cycle(bodies)):
        dated = body % _dates(name, devices)
        began = time.perf_counter()
        if began >= end:
            break
        key = {"Idempotency-Key": f"{name}/{devices}/{began}/{number}"}
        try:
            _, answer = await connection.request("POST", "/api/sensor_data/batch", dated, key)
        except (wire.Refused, OSError, asyncio.IncompleteReadError):
            done.refused += BATCH
            connection.close()
        else:
            done.delays.append(time.perf_counter() - began)
            if not answer.startswith(b'{"accepted":%d,' % BATCH):
                done.refused += BATCH
    connection.close()


def _batch(name: str, devices: int, temperatures: Iterator[int]) -> bytes:
    """A body, with %d for the date of each reading."""
    rows = [
        {
            "device_id": f"{name}-{device}",
            "temp_tenths": next(temperatures),
            "sensor_ok": True,
            "timestamp": "%d",
        }
        for _ in range(BATCH // devices)
        for device in range(devices)
    ]
    return json.dumps(rows, separators=(",", ":")).replace('"%d"', "%d").encode()


def _dates(name: str, devices: int) -> tuple[int, ...]:
    """The dates of a gateway's batch, 2 s apart for each device, the newest now.

    No device dates two readings alike, in this batch or another: it would not do so in the field.
    """
    milliseconds = next(_batches_of.setdefault(name, itertools.count())) % EVERY_MS
    now_ms = (time.time_ns() // 1_000_000 // EVERY_MS + 1) * EVERY_MS + milliseconds
    each = BATCH // devices
    newest_last = (now_ms - EVERY_MS * (each - 1 - row) for row in range(each))
    return tuple(date for date in newest_last for _ in range(devices))


async def _device(
    port: int, name: str, end: float, done: Load, close: bool, pause_s: float = 0.0
) -> None:
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
        if pause_s:
            await asyncio.sleep(pause_s)
    connection.close()


def _temperatures() -> Iterator[int]:
    while True:
        yield from range(200, 260)
