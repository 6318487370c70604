"""From a posted reading to its frame: real process, real sockets, every event on every stream."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from scripts.bench import wire
from scripts.bench.host import cpu_s, server
from scripts.bench.table import percentile

CLIENTS, EVENTS_A_SECOND, SECONDS = 100, 50, 20.0
POSTERS, DEVICES = 10, 50
LATE_S = 5.0
HOUR_MS = 3_600_000


async def measure(
    data_dir: Path, seconds: float = SECONDS, clients: int = CLIENTS
) -> dict[str, float]:
    """Open the streams, post at a steady rate, and compare what was posted with what was read."""
    with server(data_dir) as process:
        assert process.password is not None, process.output
        session = await wire.log_in(process.port, process.password)
        streams = await wire.open_streams(process.port, session, clients)
        used_s = cpu_s(process.pid)
        sent = await _post(process.port, round(seconds * EVENTS_A_SECOND))
        await _until_read(streams, len(sent))
        used_s = cpu_s(process.pid) - used_s
        for stream in streams:
            stream.close()
    delays = [
        (read - sent[stamp]) * 1000
        for stream in streams
        for stamp, read in stream.got
        if stamp in sent
    ]
    distinct = [len({stamp for stamp, _ in stream.got} & sent.keys()) for stream in streams]
    return {
        "post to frame, p50": percentile(delays, 50),
        "post to frame, p99": percentile(delays, 99),
        "post to frame, max": max(delays),
        "processor meanwhile": 100 * used_s / seconds,
        "events lost": sum(len(sent) - count for count in distinct),
        "events repeated": len(delays) - sum(distinct),
    }


async def _post(port: int, events: int) -> dict[int, float]:
    """When each event was posted, by the timestamp that tells it from the others."""
    first_ms = time.time_ns() // 1_000_000 - HOUR_MS
    began = time.perf_counter()
    sent: dict[int, float] = {}

    async def poster(index: int) -> None:
        connection = wire.Connection(port)
        for number in range(index, events, POSTERS):
            due = began + number / EVENTS_A_SECOND
            await asyncio.sleep(due - time.perf_counter())
            stamp = first_ms + number
            body = wire.reading(f"zone-{number % DEVICES}", 200 + number % 50, stamp)
            sent[stamp] = time.perf_counter()
            await connection.request("POST", "/api/sensor_data", body)
        connection.close()

    await asyncio.gather(*(poster(index) for index in range(POSTERS)))
    return sent


async def _until_read(streams: list[wire.Stream], events: int) -> None:
    """Wait for the last frames, not for ever."""
    deadline = time.perf_counter() + LATE_S
    while time.perf_counter() < deadline:
        if all(len(stream.got) >= events for stream in streams):
            return
        await asyncio.sleep(0.02)
