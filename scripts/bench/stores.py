"""The embedded store: single documents, the dashboard's query, an account."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bas_server import open_base
from scripts.bench.table import percentile
from server.config.config import ServerConfig
from server.services.ports.documents import Create
from server.services.ports.readings import NewRow, Reading

COLLECTION = "bench_documents"
TENANT, DEVICES, STORED, NEWEST, AT_ONCE = "bench", 10, 20_000, 100, 500


async def measure(folder: Path, calls: int) -> dict[str, float]:
    """The p99 of each call, one at a time, with 20,000 readings in the store."""
    now_ms = time.time_ns() // 1_000_000
    async with open_base(ServerConfig(data_dir=folder)) as base:
        readings = base.stores.telemetry
        for first in range(0, STORED, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            await base.client.write([creation(number, now_ms) for number in numbers])
            await readings.write([], [row(number, now_ms) for number in numbers])
        await base.admin.create_user("someone", "a long password", "admin", TENANT)
        return {
            "document get p99": await timed(
                calls, lambda index: base.client.get(COLLECTION, f"reading-{index}")
            ),
            "document write p99": await timed(
                calls, lambda index: base.client.write([creation(STORED + index, now_ms)])
            ),
            "telemetry query p99": await timed(
                calls, lambda index: readings.query_recent(TENANT, device(index), NEWEST)
            ),
            "user look-up p99": await timed(
                calls, lambda _: base.stores.users.get_user_by_username("someone")
            ),
        }


async def timed(count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """The p99 of so many calls in a row, in ms."""
    delays = []
    for index in range(count):
        began = time.perf_counter()
        await call(index)
        delays.append(time.perf_counter() - began)
    return percentile(delays, 99) * 1000


def device(number: int) -> str:
    """The device of a reading, by its number."""
    return f"device-{number % DEVICES}"


def creation(number: int, now_ms: int) -> Create:
    """The write of a document that is as large as a reading."""
    return Create(COLLECTION, f"reading-{number}", row(number, now_ms).reading)


def row(number: int, now_ms: int) -> NewRow:
    """A reading: a second older for each number, of ten devices in turn."""
    reading = Reading(
        tenant_id=TENANT,
        device_id=device(number),
        timestamp_ms=now_ms - 1000 * number,
        received_ms=now_ms,
        temp_tenths=235,
        setpoint_tenths=230,
        deadband_tenths=10,
        cool_active=False,
        heat_active=True,
        state="IDLE_WITH_LEDS",
        sensor_ok=True,
    )
    return NewRow(f"reading-{number}", reading)
