"""From a reading to the webhook that has its notice, and 10,000 zones that are silent at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from scripts.bench.host import server
from scripts.bench.table import percentile
from tools import wire
from tools.process import ServerProcess

# A target gets four messages within ten seconds, so an alarm that begins and ends needs five.
TARGETS, ALARMS, EVERY_S = 10, 20, 5.5
ZONES, BATCH, PERIOD_S, SILENT_S = 10_000, 1000, 2.5, 10.0
BESIDE_S, PAUSE_S, LATE_S = 25.0, 0.02, 60.0


class Receiver:
    """Webhooks on a free port: when each notice came, by its kind, state and target."""

    def __init__(self) -> None:
        self.came: dict[tuple[str, str, str], float] = {}
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:")
        )
        body = json.loads(await reader.readexactly(length))
        for one in body["notices"]:
            self.came.setdefault(
                (one["kind"], one["state"], head.split(" ")[1]), time.perf_counter()
            )
        writer.write(b"HTTP/1.1 204 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def until(self, kind: str, state: str, targets: int) -> list[float]:
        """When the targets got such a notice since the last call."""
        deadline = time.perf_counter() + LATE_S
        while True:
            found = [at for key, at in self.came.items() if key[:2] == (kind, state)]
            if len(found) >= targets:
                self.came.clear()
                return found
            assert time.perf_counter() < deadline, f"{kind} {state}: {len(found)} of {targets}"
            await asyncio.sleep(0.01)


async def measure(data_dir: Path, alarms: int = ALARMS, zones: int = ZONES) -> dict[str, float]:
    """Both on a server of their own."""
    delays = await _delays(data_dir / "one", alarms)
    return {
        "reading to webhook, p50": percentile(delays, 50),
        "reading to webhook, p99": percentile(delays, 99),
    } | await _storm(data_dir / "many", zones)


async def _delays(data_dir: Path, alarms: int) -> list[float]:
    """Seconds from the post of a fault to its notice, for each target."""
    delays: list[float] = []
    async with _site(data_dir, TARGETS) as (process, receiver):
        connection = wire.Connection(process.port)

        async def post(reading: bytes) -> float:
            began = time.perf_counter()
            await connection.request("POST", "/api/sensor_data", reading)
            return began

        await post(wire.reading("lab", 215))
        for _ in range(alarms):
            began = await post(b'{"device_id":"lab","temp_tenths":null,"sensor_ok":false}')
            delays += [at - began for at in await receiver.until("fault", "active", TARGETS)]
            await post(wire.reading("lab", 215))
            await receiver.until("fault", "cleared", TARGETS)
            await asyncio.sleep(EVERY_S - (time.perf_counter() - began))
        connection.close()
    return [1000 * one for one in delays]


async def _storm(data_dir: Path, zones: int) -> dict[str, float]:
    async with _site(data_dir, 1) as (process, receiver):
        connection = wire.Connection(process.port)
        for number in range(4):  # so that the server knows their period
            if number:
                await asyncio.sleep(PERIOD_S)
            first_ended = 0.0
            for start in range(0, zones, BATCH):
                rows = [
                    {"device_id": f"zone{one}", "temp_tenths": 215, "sensor_ok": True}
                    for one in range(start, min(start + BATCH, zones))
                ]
                await connection.request(
                    "POST", "/api/sensor_data/batch", json.dumps(rows).encode()
                )
                first_ended = first_ended or time.perf_counter()
        connection.close()
        quiet = await _beside(process, SILENT_S - 2)
        loud = asyncio.create_task(_beside(process, BESIDE_S))
        (arrived,) = await receiver.until("many_silent", "active", 1)
        stormy = await loud
    return {
        "silent zones, notice of the site's alarm": arrived - first_ended - SILENT_S,
        "a post before they are silent, p99": percentile(quiet, 99) * 1000,
        "a post while they are, p99": percentile(stormy, 99) * 1000,
        "a post while they are, p99 more": (percentile(stormy, 99) - percentile(quiet, 99)) * 1000,
        "a post while they are, max": max(stormy) * 1000,
    }


async def _beside(process: ServerProcess, seconds: float) -> list[float]:
    """Seconds that each post of a device took that posts all the time."""
    connection, took = wire.Connection(process.port), []
    ends = time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends:
        await connection.request("POST", "/api/sensor_data", wire.reading("beside", 215))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE_S)
    connection.close()
    return took


@asynccontextmanager
async def _site(data_dir: Path, targets: int) -> AsyncIterator[tuple[ServerProcess, Receiver]]:
    receiver = Receiver()
    webhooks = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = webhooks.sockets[0].getsockname()[1]
    settings = {"BAS_NOTICE_PRIVATE_ADDRESSES": "127.0.0.0/8", "BAS_NEW_ZONES_PER_HOUR": "20000"}
    with server(data_dir, **settings) as process:
        assert process.password is not None, process.output
        session = await wire.log_in(process.port, process.password)
        headers = {"X-Session-ID": session}
        async with httpx.AsyncClient(base_url=process.url, headers=headers) as client:
            for number in range(targets):
                url = f"http://127.0.0.1:{receiver.port}/{number}"
                about = {"id": f"hook{number}", "name": "hook", "kind": "webhook", "url": url}
                answer = await client.post("/api/notice-targets", json=about)
                assert answer.status_code == 200, answer.text
        yield process, receiver
    webhooks.close()
