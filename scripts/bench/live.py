"""From a posted reading to its frame: real process, real sockets, every event on every stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.bench.host import cpu_s, server
from scripts.bench.table import percentile
from tools import wire

CLIENTS, EVENTS_A_SECOND, SECONDS = 100, 50, 20.0
POSTERS, DEVICES = 10, 50
LATE_S = 30.0


async def measure(
    data_dir: Path, seconds: float = SECONDS, clients: int = CLIENTS
) -> dict[str, float]:
    """Open the streams, post at a steady rate, and compare what was posted with what was read."""
    with server(data_dir) as process:
        assert process.password is not None, process.output
        session = await wire.log_in(process.port, process.password)
        streams = await wire.open_streams(process.port, session, clients)
        used_s = cpu_s(process.pid)
        sent = await post([process.port], round(seconds * EVENTS_A_SECOND), EVENTS_A_SECOND)
        await until_read(streams, len(sent))
        used_s = cpu_s(process.pid) - used_s
        for stream in streams:
            stream.close()
    delays = delays_ms(streams, sent)
    lost, repeated = lost_and_repeated(streams, sent)
    return {
        "post to frame, p50": percentile(delays, 50),
        "post to frame, p99": percentile(delays, 99),
        "post to frame, max": max(delays),
        "processor, while they run": 100 * used_s / seconds,
        "events lost": lost,
        "events repeated": repeated,
    }


def delays_ms(streams: Iterable[wire.Stream], sent: Mapping[int, float]) -> list[float]:
    """From post to frame, one for each delivery of the events in `sent`."""
    return [
        (read - sent[stamp]) * 1000
        for stream in streams
        for stamp, read in stream.got
        if stamp in sent
    ]


def lost_and_repeated(streams: list[wire.Stream], sent: Mapping[int, float]) -> tuple[int, int]:
    """Deliveries that are missing, and those that came once more."""
    lost = repeated = 0
    for stream in streams:
        stamps = [stamp for stamp, _ in stream.got if stamp in sent]
        lost += len(sent) - len(set(stamps))
        repeated += len(stamps) - len(set(stamps))
    return lost, repeated


async def post(ports: Sequence[int], events: int, a_second: int) -> dict[int, float]:
    """When each event was posted, by the timestamp that identifies it: number n after
    `first_ms` went to port n modulo their number."""
    first_ms = time.time_ns() // 1_000_000 + wire.AHEAD_MS
    began = time.perf_counter()
    sent: dict[int, float] = {}

    async def poster(index: int) -> None:
        connection = wire.Connection(ports[index % len(ports)])
        for number in range(index, events, POSTERS):
            due = began + number / a_second
            await asyncio.sleep(due - time.perf_counter())
            stamp = first_ms + number
            # A device keeps to its poster, and so to its server.
            body = wire.reading(f"zone-{number % DEVICES}", 200 + number % 50, stamp)
            sent[stamp] = time.perf_counter()
            await connection.request("POST", "/api/sensor_data", body)
        connection.close()

    await asyncio.gather(*(poster(index) for index in range(POSTERS)))
    return sent


async def until_read(streams: list[wire.Stream], events: int) -> None:
    """Wait for the last frames, not for ever."""
    deadline = time.perf_counter() + LATE_S
    while time.perf_counter() < deadline:
        if all(len(stream.got) >= events for stream in streams):
            return
        await asyncio.sleep(0.02)
