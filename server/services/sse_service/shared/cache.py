"""RedisCache: short-lived values that every process may read, and where a history ends now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from server.services.sse_service.backend import LogUnavailable
from server.services.sse_service.shared.scripts import copy_key, head_key

# Who asks goes on without an answer after this: the store has it as well.
WAIT_S = 0.25
# After an answer that came too late nobody asks for so long.
PAUSE_S = 1.0
# A value that was read from the store before a change is kept by nobody once the change is this
# old: a read of the store ends sooner.
FORGOTTEN_MS = 5000
AT_ONCE = 500
WAITING_MAX = 10_000

Command = tuple[str | bytes | int, ...]


class RedisCache:
    """`SharedCache`. What is asked at the same time is sent together, one batch after another, so
    that a crowd takes one connection."""

    def __init__(
        self,
        execute: Callable[[list[Command]], Awaitable[list[Any]]],
        now: Callable[[], float],
    ) -> None:
        """`execute` runs commands and gives their answers, None for one that was refused; `now` is
        monotonic, in seconds."""
        self._execute = execute
        self._now = now
        self._paused_until = 0.0
        # How far Redis' clock (Unix milliseconds) is ahead of `now`; at most, as it was told.
        self._ahead_ms: float | None = None
        # To be forgotten with the next batch that Redis takes.
        self._owed: dict[str, None] = {}
        self._waiting: asyncio.Queue[tuple[list[Command], asyncio.Future[list[Any]]]]
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
        # By Redis' clock: a command may lie in a buffer for as long as Redis hangs.
        ends_at = int(self._now() * 1000 + self._ahead_ms) + milliseconds
        self._put([("SET", copy_key(key), value, "NX", "PXAT", ends_at)])

    async def forget(self, keys: Sequence[str]) -> None:
        """Also after an answer that did not come: before this process asks anything again."""
        self._owed |= dict.fromkeys(map(copy_key, keys))
        while len(self._owed) > WAITING_MAX:
            del self._owed[next(iter(self._owed))]
        await self._ask([])

    async def place(self, tenant_id: str) -> str:
        """Where the tenant's history ends. Raises LogUnavailable."""
        answers = await self._ask([("HMGET", head_key(tenant_id), "epoch", "tip")])
        if answers is None or answers[0] is None:
            raise LogUnavailable(message="Redis does not answer soon enough")
        return b"-".join(part or b"" for part in answers[0]).decode(errors="replace")

    async def work(self) -> None:
        """Send what is asked; runs until cancelled."""
        while True:
            asked = [await self._waiting.get()]
            while len(asked) < AT_ONCE and not self._waiting.empty():
                asked.append(self._waiting.get_nowait())
            commands = [command for part, _ in asked for command in part]
            owed, self._owed = self._owed, {}
            before = [command for name in owed for command in _forgetting(name)]
            try:
                time, *answers = await self._execute([("TIME",), *before, *commands])
            except LogUnavailable as error:
                self._owed = owed | self._owed
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # nobody may be waiting any more
                continue
            if time is not None:
                self._ahead_ms = int(time[0]) * 1000 + int(time[1]) / 1000 - self._now() * 1000
            del answers[: len(before)]
            for part, future in asked:
                mine, answers = answers[: len(part)], answers[len(part) :]
                if not future.done():
                    future.set_result(mine)

    def _put(self, commands: list[Command]) -> asyncio.Future[list[Any]] | None:
        if self._waiting.full():
            return None
        future = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((commands, future))
        return future

    async def _ask(self, commands: list[Command]) -> list[Any] | None:
        """The answers, or None if there are none in time."""
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


def _forgetting(name: str) -> list[Command]:
    # A full Redis refuses to set anything, but not to delete it.
    return [("DEL", name), ("SET", name, b"", "PX", FORGOTTEN_MS)]
