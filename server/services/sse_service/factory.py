"""Builds a running SSE service over an event log, and the shared log over a Redis client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from server.clock import Clock
from server.metrics import Metrics
from server.services.sse_service.backend import Census, EventLog, LogUnavailable
from server.services.sse_service.hub import FLUSH_MAX_S, Hub
from server.services.sse_service.service import SSEService

if TYPE_CHECKING:
    from server.services.sse_service.redis_backend import RedisLog

# A command waits this long for a connection, and as long for its answer.
SOCKET_S = 1.0
# Enough that none of the tasks that keep the log has to wait for one: 8 tenants are sent at once, 4
# questions of clients are asked, and each task has one call at a time.
CONNECTIONS_MAX = 20


@asynccontextmanager
async def sse_service(
    event_log: EventLog,
    clock: Clock,
    metrics: Metrics,
    *,
    queue_max: int,
    heartbeat_s: int,
    max_streams: int,
    flush_max_s: float = FLUSH_MAX_S,
    census: Census | None = None,
) -> AsyncIterator[SSEService]:
    """The SSE service over `event_log`, with its hub running meanwhile."""
    hub = Hub(
        event_log,
        clock,
        metrics,
        queue_max=queue_max,
        heartbeat_s=heartbeat_s,
        max_streams=max_streams,
        flush_max_s=flush_max_s,
        on_count=census.changed if census is not None else None,
    )
    await hub.start()
    try:
        yield SSEService(hub, event_log, clock, metrics, heartbeat_s, census)
    finally:
        await hub.stop()


def redis_client(url: str) -> Any:
    """A client of the Redis at `url`, not connected yet. Raises LogUnavailable for a URL that
    redis-py does not understand."""
    # Imported only where Redis is configured: it costs 8 MB.
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.exceptions import ConnectionError as Disconnected

    # A socket of this machine knows no keep-alive.
    tcp: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    options: dict[str, Any] = dict(
        max_connections=CONNECTIONS_MAX,
        timeout=SOCKET_S,
        socket_timeout=SOCKET_S,
        socket_connect_timeout=SOCKET_S,
        # Once, for a connection that Redis closed meanwhile; the scripts bear being repeated.
        retry=Retry(ExponentialWithJitterBackoff(cap=0.1, base=0.02), 1, (Disconnected,)),
        protocol=2,
        client_name="bas",
        driver_info=None,
    )
    try:
        pool = BlockingConnectionPool.from_url(url, **tcp, **options)
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise LogUnavailable(
            "REDIS_URL is wrong", message=f"{without_password(url)}: {error}"
        ) from None
    return Redis.from_pool(pool)


@asynccontextmanager
async def redis_log(
    client: Any, url: str, clock: Clock, metrics: Metrics, *, max_events: int, max_bytes: int
) -> AsyncIterator[RedisLog]:
    """The log that all processes share, at work meanwhile; `client` is closed at the end.

    Raises LogUnavailable, naming the server in `url`, if it does not answer now.
    """
    from server.services.sse_service.redis_backend import RedisLog

    log = RedisLog(client, clock, metrics, max_events=max_events, max_bytes=max_bytes)
    try:
        await log.open()
    except LogUnavailable as error:
        await client.aclose()
        raise LogUnavailable(
            "Redis does not answer",
            message=f"{without_password(url)}: {error.message}. Start it, correct REDIS_URL, "
            "or unset it to serve with one process alone",
        ) from error
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def shared_log(
    url: str, clock: Clock, metrics: Metrics, *, max_events: int, max_bytes: int
) -> AsyncIterator[RedisLog | None]:
    """The log on the Redis at `url`, at work meanwhile; None without a URL."""
    if not url:
        yield None
        return
    bounds = {"max_events": max_events, "max_bytes": max_bytes}
    async with redis_log(redis_client(url), url, clock, metrics, **bounds) as log:
        yield log


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
