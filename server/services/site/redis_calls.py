"""Calls Redis with time-outs, bounds and a circuit breaker; failures are LogUnavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from server.common.breaker import Breaker
from server.common.metrics import Metrics
from server.services.ports.event_log import LogForbidden, LogRefused, LogUnavailable
from server.services.site.redis_keys import head_key
from server.services.site.redis_listener import PubSubConnection
from server.services.site.redis_script import Script

log = logging.getLogger(__name__)

# A call is given up after these seconds, so that the answer to a reading does not wait much longer.
CALL_S = 1.5

# Concurrent `run_shared` calls, for clients that resume and for /api/health: fewer than the pool
# has connections.
SHARED_AT_ONCE = 4
# When many clients reconnect at once, each waits at most these seconds for its turn.
SHARED_WAIT_S = 10.0
PASSING = ("OOM", "READONLY", "MISCONF", "LOADING", "NOREPLICAS", "MASTERDOWN", "BUSY")
# Redis answers with these about one key or one right: it may be one tenant's trouble alone.
OF_ONE_KEY = (
    NoPermissionError,
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    TryAgainError,
)
# A script that lacks a right is refused with one of these texts (Redis 7 and newer, Redis 6.2).
OF_A_SCRIPT = ("ACL failure in script", "The user executing the script")
# After a long freeze redis-py uses a connection that it has closed itself: AttributeError.
FAILURES = (RedisError, OSError, AttributeError)

T = TypeVar("T")


class RedisCalls:
    """Calls to Redis, each with a time-out and behind a breaker; failures are LogUnavailable.

    `run_shared` calls, which clients cause by the hundred, wait in a separate queue, and equal
    calls that wait are sent once. Otherwise many clients at once could make Redis look dead.
    """

    def __init__(
        self, client: Redis, breaker: Breaker, metrics: Metrics, on_back: Callable[[], None]
    ) -> None:
        """`on_back` is called when Redis answers again after the breaker was open."""
        self._client = client
        self._breaker = breaker
        self._metrics = metrics
        self._on_back = on_back
        self._shared_turns = asyncio.Semaphore(SHARED_AT_ONCE)
        # Calls that wait for their turn, which equal calls may join; then all `run_shared` calls.
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._shared_calls: set[asyncio.Task[Any]] = set()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script and return its result."""
        return await self._guarded(lambda: self._evaluate(script, keys, args))

    async def run_shared(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script for one of many clients; a repeated run must be harmless.

        The result is never older than this call: a call joins an equal one only while that waits.
        """
        call = (script.sha, *keys, *args)
        task = self._waiting.get(call)
        if task is None:
            task = asyncio.create_task(self._run_in_turn(call, script, keys, args))
            self._waiting[call] = task
            self._shared_calls.add(task)
            task.add_done_callback(self._shared_ended)
        return await asyncio.shield(task)

    def _shared_ended(self, task: asyncio.Task[Any]) -> None:
        self._shared_calls.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a read from Redis failed: %r", task.exception())

    async def _run_in_turn(
        self, call: Hashable, script: Script, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        try:
            async with asyncio.timeout(SHARED_WAIT_S):
                await self._shared_turns.acquire()
        except TimeoutError:
            raise LogUnavailable(message="too many reads of Redis at once; try again") from None
        finally:
            self._waiting.pop(call, None)
        try:
            return await self.run(script, keys, args)
        finally:
            self._shared_turns.release()

    async def close(self) -> None:
        """Cancel the `run_shared` calls that wait or run."""
        for task in self._shared_calls:
            task.cancel()
        await asyncio.gather(*self._shared_calls, return_exceptions=True)

    async def ping(self) -> None:
        """Check that Redis answers. Raises LogUnavailable."""
        await self._guarded(self._client.ping)

    async def time_ms(self) -> float:
        """The time of Redis' machine: Unix milliseconds, with fractions."""
        (answer,) = await self.execute([("TIME",)])
        if answer is None:
            raise LogUnavailable(message="Redis refuses TIME: its user needs the right +time")
        seconds, microseconds = answer
        return int(seconds) * 1000 + int(microseconds) / 1000

    async def info(self) -> dict[str, Any] | None:
        """What Redis says about itself; None if it refuses to."""
        found = await self.execute([("INFO", "server"), ("INFO", "memory")])
        about: dict[str, Any] = {}
        for part in found:
            about |= part or {}
        return about or None

    async def publish(self, channel: str, text: str) -> None:
        """Send a text to all subscribers of this channel."""
        await self._guarded(lambda: self._client.publish(channel, text))

    async def execute(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send these commands together; return their answers, None for a refused command."""

        def ask() -> Awaitable[list[Any]]:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute(raise_on_error=False)

        answers = await self._guarded(ask)
        return [None if isinstance(answer, RedisError) else answer for answer in answers]

    async def heads(self, tenants: Sequence[str]) -> list[list[bytes | None] | None]:
        """Epoch, tip and mark of these tenants' histories; None for one that Redis refuses."""

        async def ask() -> list[Any]:
            pipeline = self._client.pipeline(transaction=False)
            for tenant_id in tenants:
                pipeline.hmget(head_key(tenant_id), ["epoch", "tip", "mark"])
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            refusals = [answer for answer in answers if isinstance(answer, RedisError)]
            if refusals and len(refusals) == len(answers):
                raise refusals[0]
            return [None if isinstance(answer, RedisError) else answer for answer in answers]

        return await self._guarded(ask)

    async def _evaluate(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return await self._client.evalsha(script.sha, len(keys), *keys, *args)
        except NoScriptError:  # Redis restarted and lost the script
            return await self._client.eval(script.source, len(keys), *keys, *args)

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        if not self._breaker.allows():
            raise LogUnavailable(
                message="circuit breaker open: Redis did not answer; retrying in a few seconds"
            )
        try:
            async with asyncio.timeout(CALL_S):
                answer = await call()
        except FAILURES as error:  # a time-out is an OSError
            kind = type(error).__name__
            self._metrics.log_failures.labels(kind=kind).inc()
            if _is_of_one_key(error):
                self._breaker.succeeded()  # a refusal is an answer too
                raise LogForbidden(message=f"{kind}: {error}") from error
            if type(error) is ResponseError and not _passes(error):
                self._breaker.succeeded()
                raise LogRefused(message=str(error)) from error
            if self._breaker.failed():
                self._metrics.log_breaker_open.set(1)
                log.error("Redis does not answer, the circuit breaker is open: %s: %s", kind, error)
            raise LogUnavailable(message=f"{kind}: {error}") from error
        if self._breaker.is_open:
            self._metrics.log_breaker_open.set(0)
            log.warning("Redis answers again, the circuit breaker is closed")
            self._breaker.succeeded()
            self._on_back()
        self._breaker.succeeded()
        return answer


def is_outage(error: LogUnavailable) -> bool:
    """Whether Redis did not answer at all; false for a wrong password and other refusals."""
    cause = error.__cause__
    refusals = ResponseError, AuthenticationError
    return isinstance(cause, FAILURES) and not isinstance(cause, refusals)


def _passes(error: ResponseError) -> bool:
    """Whether Redis may take the same call later: it lacks memory, cannot write, and so on.

    Redis 6.2 gives such an error in the middle of the text that a script failed.
    """
    text = str(error)
    return text.startswith(PASSING) or any(f" -{code} " in text for code in PASSING)


def _is_of_one_key(error: Exception) -> bool:
    """Whether Redis refuses this call for a key or a right, and takes it once that is corrected."""
    if isinstance(error, MasterDownError):
        return False
    return isinstance(error, OF_ONE_KEY) or any(text in str(error) for text in OF_A_SCRIPT)


class RedisWire(PubSubConnection):
    """A separate connection, outside the pool, that receives published messages."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, client: Redis) -> PubSubConnection:
        """A new connection of the client's kind. Raises LogUnavailable."""
        pool: Any = client.connection_pool
        connection = pool.make_connection()
        try:
            await connection.connect()
        except FAILURES as error:
            raise LogUnavailable(message=str(error)) from error
        return cls(connection)

    async def send(self, *words: str) -> None:
        try:
            await self._connection.send_command(*words, check_health=False)
        except FAILURES as error:
            raise LogUnavailable(message=str(error)) from error

    async def receive(self, timeout_s: float) -> list[bytes]:
        try:
            message = await self._connection.read_response(disable_decoding=True, timeout=timeout_s)
        except FAILURES as error:
            raise LogUnavailable(message=str(error)) from error
        if message is None:
            raise LogUnavailable(message=f"nothing was received for {timeout_s:g} s")
        return message if isinstance(message, list) else [message]

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)
