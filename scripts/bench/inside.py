"""Budgets inside one process: run as a program of its own, it prints its figures as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from scripts.bench import stores
from scripts.bench.table import percentile
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.sse_service.factory import sse_service
from server.services.sse_service.memory_log import MemoryLog
from server.services.sse_service.service import SSEService
from server.services.sse_service.stream_request import StreamRequest

SUBSCRIBERS, EVENTS_A_SECOND, BURST, CALLS_A_SECOND = 100, 50, 100, 100
TENANT = "bench"
_NUMBER = re.compile(rb'"number":(\d+)')


def config_load() -> dict[str, float]:
    """The first load in this process."""
    began = time.perf_counter()
    ServerConfig.from_env()
    return {"config load": (time.perf_counter() - began) * 1000}


async def stream_service(seconds: float) -> dict[str, float]:
    """Start the service, then fan out to subscribers that take what comes at once."""
    config, clock = ServerConfig(), SystemClock()
    began = time.perf_counter()
    async with sse_service(
        MemoryLog(config.sse_history_events, config.sse_history_bytes),
        clock,
        Metrics(),
        queue_max=config.sse_queue_max,
        heartbeat_s=config.sse_heartbeat_s,
        limits=config.stream_limits,
    ) as sse:
        figures = {"SSE service init": (time.perf_counter() - began) * 1000}
        events = round(seconds * EVENTS_A_SECOND)
        gc.collect()
        gc.freeze()
        steady, publishing = await _fan_out(sse, events, 1 / EVENTS_A_SECOND)
        bursts = [await _fan_out(sse, BURST, 0.0) for _ in range(max(1, round(seconds)))]
    publishing += [delay for _, delays in bursts for delay in delays]
    return figures | {
        "fan-out to 100, 50 events/s, p99": percentile(steady, 99) * 1000,
        "fan-out to 100, burst of 100, p99": percentile(
            (delay for delays, _ in bursts for delay in delays), 99
        )
        * 1000,
        "publish p99": percentile(publishing, 99) * 1000,
    }


async def _fan_out(sse: SSEService, events: int, pause_s: float) -> tuple[list[float], list[float]]:
    """Delays from publish to each subscriber's hand, one for each delivery, and of publish itself.

    AssertionError if a delivery is missing or comes twice.
    """
    sent: dict[int, float] = {}
    delays: list[float] = []
    ready = asyncio.Semaphore(0)

    async def subscriber() -> None:
        subscription = await sse.subscribe(StreamRequest(TENANT))
        got = 0
        try:
            async for piece in subscription:
                now = time.perf_counter()
                numbers = [int(number) for number in _NUMBER.findall(piece)]
                assert numbers == list(range(got, got + len(numbers))), (got, numbers)
                delays.extend(now - sent[number] for number in numbers)
                got += len(numbers)
                if got == events:
                    return
                if not numbers:
                    ready.release()
        finally:
            subscription.close()
        raise AssertionError(f"a subscriber got {got} of {events} events")

    publishing: list[float] = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(SUBSCRIBERS):
            group.create_task(subscriber())
        for _ in range(SUBSCRIBERS):
            await ready.acquire()
        for number in range(events):
            sent[number] = time.perf_counter()
            await sse.publish(TENANT, "telemetry", {"number": number})
            publishing.append(time.perf_counter() - sent[number])
            if pause_s:
                await asyncio.sleep(pause_s)
    return delays, publishing


def main() -> None:
    """Measure everything here; the argument is for how many seconds events are fanned out."""
    seconds = float(sys.argv[1])
    figures = config_load()
    with (
        tempfile.TemporaryDirectory(prefix="bas-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures |= runner.run(stream_service(seconds))
        figures |= runner.run(stores.measure(Path(folder), round(CALLS_A_SECOND * seconds)))
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
