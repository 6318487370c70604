"""One server's life: start, rest, a log-in, many streams, SIGTERM. Its memory and its times."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from scripts.bench.host import resident_kb, server
from tools import wire

STREAMS = 200
REST_S, SETTLE_S = 5.0, 1.0


async def measure(
    data_dir: Path, rest_s: float = REST_S, streams: int = STREAMS
) -> dict[str, float]:
    """The figures of one fresh start on a folder in which an admin exists already."""
    with server(data_dir) as first:
        password = first.password
        assert password is not None, first.output
        first.terminate()
    began = time.perf_counter()
    with server(data_dir) as process:
        health = wire.Connection(process.port)
        await health.request("GET", "/api/health", close=True)
        started_s = time.perf_counter() - began
        await asyncio.sleep(rest_s)
        idle_kb = resident_kb(process.pid)
        session = await wire.log_in(process.port, password)
        await asyncio.sleep(SETTLE_S)
        used_kb = resident_kb(process.pid)
        opened = await wire.open_streams(process.port, session, streams)
        await asyncio.sleep(SETTLE_S)
        full_kb = resident_kb(process.pid)
        began = time.perf_counter()
        process.signal(signal.SIGTERM)
        # Its streams must be read until then: they get `bye` and end before it does.
        await asyncio.to_thread(process.wait)
        stopped_s = time.perf_counter() - began
        await asyncio.wait([stream.closed for stream in opened], timeout=SETTLE_S)
    return {
        "start to first 200": started_s * 1000,
        "idle memory": idle_kb / 1024,
        "memory after one log-in": used_kb / 1024,
        "memory per stream, of 200": (full_kb - used_kb) / streams,
        "SIGTERM with 200 streams to exit": stopped_s * 1000,
        "streams that got no bye": sum(not stream.said_bye for stream in opened),
    }
