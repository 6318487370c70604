"""Builds a running SSE service over an event log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.clock import Clock
from server.metrics import Metrics
from server.services.sse_service.backend import EventLog
from server.services.sse_service.hub import Hub
from server.services.sse_service.service import SSEService


@asynccontextmanager
async def sse_service(
    event_log: EventLog,
    clock: Clock,
    metrics: Metrics,
    *,
    queue_max: int,
    heartbeat_s: int,
    max_streams: int,
) -> AsyncIterator[SSEService]:
    """The SSE service over `event_log`, with its hub running meanwhile."""
    hub = Hub(
        event_log,
        clock,
        metrics,
        queue_max=queue_max,
        heartbeat_s=heartbeat_s,
        max_streams=max_streams,
    )
    await hub.start()
    try:
        yield SSEService(hub, event_log, clock, metrics, heartbeat_s)
    finally:
        await hub.stop()
