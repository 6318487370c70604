"""TenantEvents: deletes a tenant's event history in Redis, and counts the servers there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from server.services.ports.event_log import LogUnavailable
from server.services.site.factory import redis_client
from server.services.site.redis_keys import (
    SITE_CHANNEL,
    events_key,
    head_key,
    known_keys,
    streams_key,
)

T = TypeVar("T")

# A notice that no process listens to: Redis answers how many processes get it.
PROBE = "- probe -"


class TenantEvents:
    """What a command does on the Redis of a site. Its failures are LogUnavailable."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def servers(self) -> int:
        """How many server processes read this Redis now."""
        return int(await _asked(self._client.publish(SITE_CHANNEL, PROBE)))

    async def delete_history(self, tenant_id: str) -> None:
        """Delete the history; the counters of the processes that wrote it expire by themselves."""
        keys = (
            head_key(tenant_id),
            events_key(tenant_id),
            streams_key(tenant_id),
            *known_keys(tenant_id),
        )
        await _asked(self._client.delete(*keys))


@asynccontextmanager
async def tenant_events(url: str) -> AsyncIterator[TenantEvents | None]:
    """Those on the Redis at `url`, until the context ends; None without a URL."""
    if not url:
        yield None
        return
    client = redis_client(url)
    try:
        yield TenantEvents(client)
    finally:
        await client.aclose()


async def _asked(call: Awaitable[T]) -> T:
    from redis.exceptions import RedisError  # loaded only where Redis is configured

    try:
        return await call
    except (RedisError, OSError) as error:
        raise LogUnavailable(message=f"{type(error).__name__}: {error}") from error
