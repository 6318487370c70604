"""What is asked of Redis, within bounds and behind a breaker; failures are LogUnavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from server.breaker import Breaker
from server.metrics import Metrics
from server.services.sse_service.backend import LogRefused, LogUnavailable
from server.services.sse_service.shared.scripts import Script, head_key
from server.services.sse_service.shared.subscriber import Wire

log = logging.getLogger(__name__)

# A call is given up after this, so that a reading's answer does not wait for Redis much longer.
CALL_S = 1.5

# For clients that resume, and for /api/health: together fewer than the pool has connections.
ASKED_AT_ONCE = 4
# A client that comes back in a crowd waits this long for its turn.
ASKED_S = 10.0
PASSING = ("OOM", "READONLY", "MISCONF", "LOADING", "NOREPLICAS", "MASTERDOWN", "BUSY", "NOPERM")

T = TypeVar("T")


class RedisCalls:
    """Calls to Redis, each within a bound and behind a breaker; what fails is LogUnavailable.

    What clients ask for by the hundred (`asked` calls) waits in a queue of its own, and what is
    asked twice while it waits is asked once: a crowd must not make Redis look dead.
    """

    def __init__(
        self, client: Redis, breaker: Breaker, metrics: Metrics, on_back: Callable[[], None]
    ) -> None:
        """`on_back` is told when Redis answers again after the breaker was open."""
        self._client = client
        self._breaker = breaker
        self._metrics = metrics
        self._on_back = on_back
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        # Questions that wait for their turn, which others may still join; and all under way.
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._questions: set[asyncio.Task[Any]] = set()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script returns."""
        return await self._guarded(lambda: self._evaluate(script, keys, args))

    async def asked(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script returns, for one of many clients; asking once more must do no harm.

        Who asks gets what holds then or later: nobody joins a question that was sent already.
        """
        question = (script.sha, *keys, *args)
        task = self._waiting.get(question)
        if task is None:
            task = asyncio.create_task(self._ask(question, script, keys, args))
            self._waiting[question] = task
            self._questions.add(task)
            task.add_done_callback(self._answered)
        return await asyncio.shield(task)

    def _answered(self, task: asyncio.Task[Any]) -> None:
        self._questions.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a question failed, maybe after all who asked had gone: %r", task.exception())

    async def _ask(
        self, question: Hashable, script: Script, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        try:
            async with asyncio.timeout(ASKED_S):
                await self._asking.acquire()
        except TimeoutError:
            raise LogUnavailable(message="too many ask at once; try again") from None
        finally:
            self._waiting.pop(question, None)
        try:
            return await self.run(script, keys, args)
        finally:
            self._asking.release()

    async def close(self) -> None:
        """End the questions under way."""
        for task in self._questions:
            task.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._guarded(self._client.ping)

    async def publish(self, channel: str, text: str) -> None:
        """Send a text to whoever hears this channel."""
        await self._guarded(lambda: self._client.publish(channel, text))

    async def execute(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answer of each of these commands, sent together; None for one that was refused."""

        def ask() -> Awaitable[list[Any]]:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute(raise_on_error=False)

        answers = await self._guarded(ask)
        return [None if isinstance(answer, RedisError) else answer for answer in answers]

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
            if type(error) is ResponseError and not _passes(error):
                self._breaker.succeeded()  # it did answer
                raise LogRefused(message=str(error)) from error
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


def _passes(error: ResponseError) -> bool:
    """Whether Redis may take the same call later: it lacks memory, a writable server, …"""
    return str(error).startswith(PASSING)


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
