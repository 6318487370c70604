"""Connects a process to the others of its site through Redis, or sets up a site of one process."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.event_log import EventLog, LogUnavailable
from server.services.site.ports import NoNotices, SharedSite

if TYPE_CHECKING:
    from server.services.site.redis_site import RedisSite

log = logging.getLogger(__name__)

# A command waits this long for a connection, and as long for its answer.
SOCKET_S = 1.0
# Enough that no task of the event log waits for a connection: the sender uses 8 (tenants at once),
# reads for clients use 4, and each other task makes one call at a time.
CONNECTIONS_MAX = 20
# Options of redis-py that a URL may have and that win over what this server asks for, and the
# values that change nothing.
ANSWER_OPTIONS = {"protocol": {"2"}, "decode_responses": {"0", "f", "false", "n", "no", ""}}


def single_process_site(event_log: EventLog) -> SharedSite:
    """The site of a process that runs alone, with its own log."""

    async def history_tip(tenant_id: str) -> str:
        return str(await event_log.tip(tenant_id))

    return SharedSite(NoNotices(), None, history_tip)


def redis_client(url: str) -> Any:
    """A client of the Redis at `url`, not connected yet.

    Raises LogUnavailable for a URL that redis-py does not understand.
    """
    # Imported only if Redis is configured: the library takes 8 MB of memory.
    _refuse_options(url)
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.exceptions import ConnectionError as Disconnected

    # A Unix socket has no keep-alive.
    tcp: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    options: dict[str, Any] = dict(
        max_connections=CONNECTIONS_MAX,
        timeout=SOCKET_S,
        socket_timeout=SOCKET_S,
        socket_connect_timeout=SOCKET_S,
        # One retry, for a connection that Redis closed while it was idle. Repeating a script is
        # harmless.
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


def _refuse_options(url: str) -> None:
    """Raise LogUnavailable for options that would change what Redis' answers look like."""
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    wrong = [
        f"{name}={options[name]}"
        for name, usable in ANSWER_OPTIONS.items()
        if name in options and options[name].lower() not in usable
    ]
    if wrong:
        raise LogUnavailable(
            "REDIS_URL is wrong",
            message=f"{without_password(url)}: the server cannot read Redis' answers with "
            f"{' and '.join(wrong)}: delete this from the URL",
        )


@asynccontextmanager
async def redis_site(
    client: Any, url: str, clock: Clock, metrics: Metrics, patient: bool = False
) -> AsyncIterator[RedisSite]:
    """A process's connection to the site on this Redis; the context closes it and `client`.

    Raises LogUnavailable, with the server in `url`, for a Redis that cannot be used, and if Redis
    does not answer now, unless `patient`.
    """
    from server.services.site.redis_calls import is_outage
    from server.services.site.redis_check import UnusableRedis, check_redis
    from server.services.site.redis_site import RedisSite

    site = RedisSite(client, clock, metrics)
    try:
        await site.open()
        await check_redis(site.calls)
    except UnusableRedis as error:
        await site.close()
        raise LogUnavailable(
            "REDIS_URL leads to a Redis that cannot be used",
            message=f"{without_password(url)}: {error.message}",
        ) from error
    except LogUnavailable as error:
        where = f"{without_password(url)}: {error.message}"
        remedy = "Start it, correct REDIS_URL, or unset it to serve with one process alone"
        if not (patient and is_outage(error)):
            await site.close()
            raise LogUnavailable("Redis does not answer", message=f"{where}. {remedy}") from error
        log.error("Redis does not answer: %s. The server steers without it. %s", where, remedy)
        site.open_without_redis()
    try:
        yield site
    finally:
        await site.close()


@asynccontextmanager
async def shared_redis(
    url: str, clock: Clock, metrics: Metrics, patient: bool = False
) -> AsyncIterator[RedisSite | None]:
    """The process's connection to the site on the Redis at `url`; None without a URL.

    Raises LogUnavailable as `redis_site` does.
    """
    if not url:
        yield None
        return
    async with redis_site(redis_client(url), url, clock, metrics, patient) as site:
        yield site


def without_password(url: str) -> str:
    """The URL without user, password and query, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
