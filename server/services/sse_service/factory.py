"""Starts and stops the SSE service, and the shared event log on a site's Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.event_log import Census, EventLog
from server.services.sse_service.hub import FLUSH_MAX_S, Hub
from server.services.sse_service.service import SSEService
from server.services.sse_service.stream_limits import StreamLimits

if TYPE_CHECKING:
    from server.services.site.redis_site import RedisSite
    from server.services.sse_service.redis_backend import RedisLog


@asynccontextmanager
async def sse_service(
    event_log: EventLog,
    clock: Clock,
    metrics: Metrics,
    *,
    queue_max: int,
    heartbeat_s: int,
    limits: tuple[int, int, int, int],
    flush_max_s: float = FLUSH_MAX_S,
    census: Census | None = None,
) -> AsyncIterator[SSEService]:
    """The SSE service over `event_log`; its hub runs until the context ends.

    `limits` are those of `StreamLimits`, in its order.
    """
    hub = Hub(
        event_log,
        clock,
        metrics,
        queue_max=queue_max,
        heartbeat_s=heartbeat_s,
        limits=StreamLimits(*limits),
        flush_max_s=flush_max_s,
        on_count=census.changed if census is not None else None,
    )
    await hub.start()
    try:
        yield SSEService(hub, event_log, clock, metrics, heartbeat_s, census)
    finally:
        await hub.stop()


@asynccontextmanager
async def redis_log(
    site: RedisSite,
    clock: Clock,
    metrics: Metrics,
    folder: Path,
    *,
    max_events: int,
    max_bytes: int,
) -> AsyncIterator[RedisLog]:
    """The log that all processes share, running until the context ends; `site` closes later.

    Raises LogUnavailable for a Redis that refuses events or does not send them back; the check is
    left out for one that does not answer yet.
    """
    from server.services.sse_service.redis_backend import RedisLog

    log = RedisLog(site, clock, metrics, folder, max_events=max_events, max_bytes=max_bytes)
    log.start()
    try:
        if not site.opened_without_redis:
            await log.check()
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def shared_log(
    site: RedisSite | None,
    clock: Clock,
    metrics: Metrics,
    folder: Path,
    *,
    max_events: int,
    max_bytes: int,
) -> AsyncIterator[RedisLog | None]:
    """The log on the site's Redis, running until the context ends; None without a site."""
    if site is None:
        yield None
        return
    bounds = {"max_events": max_events, "max_bytes": max_bytes}
    async with redis_log(site, clock, metrics, folder, **bounds) as log:
        yield log
