"""What is asked of Redis, within bounds and behind a breaker; failures are LogUnavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from server.breaker import Breaker
from server.metrics import Metrics
from server.services.sse_service.backend import LogUnavailable
from server.services.sse_service.shared.scripts import Script, head_key
from server.services.sse_service.shared.subscriber import Wire

log = logging.getLogger(__name__)

# A call is given up after this, so that a reading's answer does not wait for Redis much longer.
CALL_S = 1.5

T = TypeVar("T")


class RedisCalls:
    """Calls to Redis, each within a bound and behind a breaker; what fails is LogUnavailable."""

    def __init__(
        self, client: Redis, breaker: Breaker, metrics: Metrics, on_back: Callable[[], None]
    ) -> None:
        """`on_back` is told when Redis answers again after the breaker was open."""
        self._client = client
        self._breaker = breaker
        self._metrics = metrics
        self._on_back = on_back

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script returns."""
        return await self._guarded(lambda: self._evaluate(script, keys, args))

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._guarded(self._client.ping)

    async def publish(self, channel: str, text: str) -> None:
        """Send a text to whoever hears this channel."""
        await self._guarded(lambda: self._client.publish(channel, text))

    async def heads(self, tenants: Sequence[str]) -> list[list[bytes | None]]:
        """Epoch, tip and mark of these tenants' histories."""

        def ask() -> Awaitable[list[list[bytes | None]]]:
            pipeline = self._client.pipeline(transaction=False)
            for tenant_id in tenants:
                pipeline.hmget(head_key(tenant_id), ["epoch", "tip", "mark"])
            return pipeline.execute()

        return await self._guarded(ask)

    async def _evaluate(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return await self._client.evalsha(script.sha, len(keys), *keys, *args)
        except NoScriptError:  # Redis was started anew
            return await self._client.eval(script.source, len(keys), *keys, *args)

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        if not self._breaker.allows():
            raise LogUnavailable(message="Redis does not answer; asked again in some seconds")
        try:
            async with asyncio.timeout(CALL_S):
                answer = await call()
        except (RedisError, OSError) as error:  # a time-out is an OSError
            kind = type(error).__name__
            self._metrics.log_failures.labels(kind=kind).inc()
            if self._breaker.failed():
                self._metrics.log_breaker_open.set(1)
                log.error("Redis does not answer (%s: %s)", kind, error)
            raise LogUnavailable(message=f"{kind}: {error}") from error
        if self._breaker.is_open:
            self._metrics.log_breaker_open.set(0)
            log.warning("Redis answers again")
            self._breaker.succeeded()
            self._on_back()
        self._breaker.succeeded()
        return answer


class RedisWire(Wire):
    """A connection of its own, outside the pool, for what is published."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, client: Redis) -> Wire:
        """A new connection of the client's kind. Raises LogUnavailable."""
        pool: Any = client.connection_pool
        connection = pool.make_connection()
        try:
            await connection.connect()
        except (RedisError, OSError) as error:
            raise LogUnavailable(message=str(error)) from error
        return cls(connection)

    async def send(self, *words: str) -> None:
        try:
            await self._connection.send_command(*words, check_health=False)
        except (RedisError, OSError) as error:
            raise LogUnavailable(message=str(error)) from error

    async def receive(self, timeout_s: float) -> list[bytes]:
        try:
            message = await self._connection.read_response(disable_decoding=True, timeout=timeout_s)
        except (RedisError, OSError) as error:
            raise LogUnavailable(message=str(error)) from error
        if message is None:
            raise LogUnavailable(message=f"nothing was heard for {timeout_s:g} s")
        return message if isinstance(message, list) else [message]

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)
