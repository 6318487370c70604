"""Event logs that behave like one in a network: they answer late, or not at all."""

from __future__ import annotations

import asyncio
from collections import deque

from server.services.ports.event_log import Cursor, Entry, Event, Follower, LogUnavailable
from server.services.sse_service.memory_log import MemoryLog


class RefusingLog:
    """A log that refuses the methods whose names are in `refuse`.

    Its history is read only while `answering` is set.
    """

    def __init__(self) -> None:
        self._log = MemoryLog(20_000, 10**9)
        self.refuse: set[str] = set()
        self.answering = asyncio.Event()
        self.answering.set()

    def _ask(self, method: str) -> None:
        if method in self.refuse:
            raise LogUnavailable(message=f"no answer to {method}")

    async def append(self, tenant_id: str, event: Event) -> Cursor:
        self._ask("append")
        return await self._log.append(tenant_id, event)

    async def tip(self, tenant_id: str) -> Cursor:
        self._ask("tip")
        return await self._log.tip(tenant_id)

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        self._ask("read_after")
        await self.answering.wait()
        return await self._log.read_after(tenant_id, cursor, limit)

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        self._ask("follow")
        await self._log.follow(tenant_id, follower)

    def unfollow(self, tenant_id: str) -> None:
        self._log.unfollow(tenant_id)

    async def ping(self) -> None:
        self._ask("ping")


class LateLog:
    """A log that answers, and calls its follower, after some passes of the event loop.

    Their numbers come from `turns`, over and over: a test varies them to try interleavings.
    """

    def __init__(self, turns: list[int]) -> None:
        self._log = MemoryLog(20_000, 10**9)
        self._turns = deque(turns)
        self._deliveries: list[asyncio.Task[None]] = []

    async def _wait(self) -> None:
        self._turns.rotate(-1)
        for _ in range(self._turns[0]):
            await asyncio.sleep(0)

    async def append(self, tenant_id: str, event: Event) -> Cursor:
        await self._wait()
        cursor = await self._log.append(tenant_id, event)
        await self._wait()
        return cursor

    async def tip(self, tenant_id: str) -> Cursor:
        await self._wait()
        tip = await self._log.tip(tenant_id)
        await self._wait()
        return tip

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        await self._wait()
        page = await self._log.read_after(tenant_id, cursor, limit)
        await self._wait()
        return page

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        await self._wait()
        late = LateFollower(self, follower)
        await self._log.follow(tenant_id, late)
        self._deliveries.append(asyncio.create_task(late.run()))
        await self._wait()

    def unfollow(self, tenant_id: str) -> None:
        self._log.unfollow(tenant_id)

    async def ping(self) -> None:
        await self._wait()

    async def close(self) -> None:
        """Ends the tasks that call the followers."""
        for late in self._deliveries:
            late.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)


class LateFollower:
    """Passes entries on to a follower late, but in order."""

    def __init__(self, log: LateLog, follower: Follower) -> None:
        self._wait = log._wait
        self._follower = follower
        self._entries: asyncio.Queue[Entry] = asyncio.Queue()

    def begin(self, cursor: Cursor) -> None:
        self._follower.begin(cursor)

    def add(self, entry: Entry) -> None:
        self._entries.put_nowait(entry)

    def lose(self) -> None:
        self._follower.lose()

    async def run(self) -> None:
        while True:
            entry = await self._entries.get()
            await self._wait()
            self._follower.add(entry)
