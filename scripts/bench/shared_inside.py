"""Budgets of the shared log in one process: run as a program of its own with the URL of a Redis."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import uvloop

from scripts.bench.host import resident_kb
from scripts.bench.table import percentile
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.site.factory import redis_client, redis_site
from server.services.sse_service.factory import redis_log, sse_service
from server.services.sse_service.stream_limits import StreamLimits
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription

EVENTS_MAX, EVENTS_A_SECOND = 1000, 200
OWN_PID = "self"


async def measure(url: str, seconds: float) -> dict[str, float]:
    """Open the log, publish at a steady rate with one subscriber, and weigh what that took."""
    events = min(EVENTS_MAX, round(seconds * EVENTS_A_SECOND))
    client, clock, metrics = redis_client(url), SystemClock(), Metrics()
    await client.ping()
    gc.collect()
    before_kb = resident_kb(OWN_PID)
    began = time.perf_counter()
    bounds = {"max_events": 20_000, "max_bytes": 8_000_000}
    opening = redis_site(client, url, clock, metrics)
    folder = Path(tempfile.gettempdir())
    async with opening as site, redis_log(site, clock, metrics, folder, **bounds) as log:
        init_s = time.perf_counter() - began
        service = sse_service(
            log,
            clock,
            metrics,
            queue_max=100,
            heartbeat_s=20,
            limits=StreamLimits(1000),
            census=log.leases,
        )
        tracemalloc.start()
        async with service as sse:
            subscription = await sse.subscribe(StreamRequest("bench"))
            reader = asyncio.create_task(_read(subscription))
            publishing = []
            for number in range(events):
                began = time.perf_counter()
                await sse.publish("bench", "telemetry", {"number": number, "fill": "x" * 200})
                publishing.append(time.perf_counter() - began)
                await asyncio.sleep(1 / EVENTS_A_SECOND)
            gc.collect()
            traced, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            used_kb = resident_kb(OWN_PID) - before_kb
            connections = len(await client.client_list())
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            subscription.close()
    return {
        "shared log init": init_s * 1000,
        "shared log, publish p99": percentile(publishing, 99) * 1000,
        "shared log, memory a connection": used_kb / 1024 / connections,
        "hub on it, with its tail": traced / 1e6,
    }


async def _read(subscription: Subscription) -> None:
    async for _ in subscription:
        pass


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(measure(sys.argv[1], float(sys.argv[2])))))
