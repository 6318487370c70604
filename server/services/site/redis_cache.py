"""RedisCache: a cache in Redis that all processes share; it also reads a history's tip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from server.services.ports.event_log import LogUnavailable
from server.services.site.redis_keys import copy_key, head_key

# A caller waits at most these seconds for an answer and then reads the store instead.
WAIT_S = 0.25
# After a late answer, this process asks nothing for these seconds.
PAUSE_S = 1.0
# After a change, no process may cache the key for these milliseconds: longer than any read of the
# store that began before the change.
FORGOTTEN_MS = 5000
AT_ONCE = 500
WAITING_MAX = 10_000

RedisCommand = tuple[str | bytes | int, ...]


class RedisCache:
    """`SharedCache` on Redis.

    Commands of concurrent callers are sent together, one batch after another, so that many callers
    use one connection.
    """

    def __init__(
        self,
        execute: Callable[[list[RedisCommand]], Awaitable[list[Any]]],
        now: Callable[[], float],
    ) -> None:
        """`execute` runs commands and returns their answers, None for a refused command.

        `now` is monotonic, in seconds.
        """
        self._execute = execute
        self._now = now
        self._paused_until = 0.0
        # How far Redis' clock (Unix milliseconds) is ahead of `now`. The answer to TIME takes a
        # while, so this may be a little too small: values then expire early.
        self._ahead_ms: float | None = None
        # Keys to drop with the next batch that Redis takes.
        self._keys_to_drop: dict[str, None] = {}
        self._waiting: asyncio.Queue[tuple[list[RedisCommand], asyncio.Future[list[Any]]]]
        self._waiting = asyncio.Queue(WAITING_MAX)

    async def read(self, keys: Sequence[str]) -> list[tuple[bytes, int]]:
        names = [copy_key(key) for key in keys]
        answers = await self._ask([(word, name) for name in names for word in ("GET", "PTTL")])
        if answers is None:
            return [(b"", 0)] * len(keys)
        values, times = answers[::2], answers[1::2]
        return [(value or b"", max(0, ms or 0)) for value, ms in zip(values, times, strict=True)]

    def keep(self, key: str, value: bytes, milliseconds: int) -> None:
        if milliseconds <= 0 or self._ahead_ms is None:
            return
        # An absolute time of Redis' clock: while Redis hangs, the command waits in a buffer.
        ends_at = int(self._now() * 1000 + self._ahead_ms) + milliseconds
        self._put([("SET", copy_key(key), value, "NX", "PXAT", ends_at)])

    async def forget(self, keys: Sequence[str]) -> None:
        """Drop these keys; if Redis does not answer, before this process's next command."""
        self._keys_to_drop |= dict.fromkeys(map(copy_key, keys))
        while len(self._keys_to_drop) > WAITING_MAX:
            del self._keys_to_drop[next(iter(self._keys_to_drop))]
        await self._ask([])

    async def history_tip(self, tenant_id: str) -> str:
        """The tip of the tenant's history. Raises LogUnavailable."""
        answers = await self._ask([("HMGET", head_key(tenant_id), "epoch", "tip")])
        if answers is None or answers[0] is None:
            raise LogUnavailable(message="Redis does not answer soon enough")
        return b"-".join(part or b"" for part in answers[0]).decode(errors="replace")

    async def work(self) -> None:
        """Send the waiting commands; runs until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            commands = [command for part, _ in batch for command in part]
            keys_to_drop, self._keys_to_drop = self._keys_to_drop, {}
            before = [command for name in keys_to_drop for command in _forgetting(name)]
            try:
                time, *answers = await self._execute([("TIME",), *before, *commands])
            except LogUnavailable as error:
                self._keys_to_drop = keys_to_drop | self._keys_to_drop
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # perhaps no caller waits: asyncio must not complain
                continue
            if time is not None:
                self._ahead_ms = int(time[0]) * 1000 + int(time[1]) / 1000 - self._now() * 1000
            del answers[: len(before)]
            for part, future in batch:
                own_answers, answers = answers[: len(part)], answers[len(part) :]
                if not future.done():
                    future.set_result(own_answers)

    def _put(self, commands: list[RedisCommand]) -> asyncio.Future[list[Any]] | None:
        if self._waiting.full():
            return None
        future = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((commands, future))
        return future

    async def _ask(self, commands: list[RedisCommand]) -> list[Any] | None:
        """The answers, or None if Redis does not answer in time."""
        if self._now() < self._paused_until:
            return None
        future = self._put(commands)
        if future is None:
            return None
        try:
            async with asyncio.timeout(WAIT_S):
                return await future
        except TimeoutError:
            self._paused_until = self._now() + PAUSE_S
            return None
        except LogUnavailable:
            return None


def _forgetting(name: str) -> list[RedisCommand]:
    # A full Redis refuses SET but still takes DEL.
    return [("DEL", name), ("SET", name, b"", "PX", FORGOTTEN_MS)]
