"""The CSV file of a zone's readings, and a device that posts beside it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from scripts.bench.history.filled import Filled, device
from scripts.bench.history.packing import post
from scripts.bench.host import cpu_s, peak_kb, server
from scripts.bench.table import percentile
from tools import wire

CHUNK = 1 << 18
# Nothing is packed and nothing deleted.
SETTINGS = {"BAS_TELEMETRY_DAYS": "3650", "BAS_SEAL_AFTER_MINUTES": "525600"}


async def measure(folder: Path, filled: Filled, password: str) -> dict[str, float]:
    """Download the whole history of a zone, without posts beside it and then with posts.

    `password` is that of the folder's admin.
    """
    with server(folder, **SETTINGS) as process:
        session = await wire.log_in(process.port, password)
        await post(process, lambda took_s: took_s >= 1)
        began, used_s = time.perf_counter(), -cpu_s(process.pid)
        rows = await _download(process.port, session, filled)
        took_s, used_s = time.perf_counter() - began, used_s + cpu_s(process.pid)
        alone = await post(process, lambda so_far_s: so_far_s >= took_s)
        download = asyncio.create_task(_download(process.port, session, filled))
        beside = await post(process, lambda _: download.done())
        await download
        peak_mb = peak_kb(process.pid) / 1024
    with_it, without = (percentile(one.delays, 99) for one in (beside, alone))
    return {
        "CSV of a zone": rows / took_s,
        "CSV of a zone, processor": used_s / rows * 1e6,
        "CSV of a zone, most memory": peak_mb,
        "a post beside a CSV, p99": with_it,
        "a post beside a CSV, p99 more": with_it - without,
    }


async def _download(port: int, session: str, filled: Filled) -> int:
    """The number of rows, without the head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    query = f"device_id={device(0)}&start={filled.start_ms}&end={filled.end_ms}"
    head = f"GET /api/telemetry/export.csv?{query} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"User-Agent: {wire.AGENT}\r\nX-Session-ID: {session}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    rows, rest, field = 0, b"", f",{device(0)},".encode()
    while chunk := await reader.read(CHUNK):
        text = rest + chunk
        rows += text.count(field)
        rest = text[1 - len(field) :]
    writer.close()
    assert rows == filled.readings // filled.zones, rows
    return rows
