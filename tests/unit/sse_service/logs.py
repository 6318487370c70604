"""Event logs with the ways of a networked one: they answer late, or not at all."""

from __future__ import annotations

import asyncio
from collections import deque

from server.services.sse_service.backend import Cursor, Entry, Listener, LogUnavailable
from server.services.sse_service.event import Event
from server.services.sse_service.memory_backend import MemoryLog


class RefusingLog:
    """A log of which parts can be out of reach: put the methods' names in `refuse`.

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

    def listen(self, listener: Listener) -> None:
        self._log.listen(listener)

    async def ping(self) -> None:
        self._ask("ping")


class LateLog:
    """A log whose answers, and whose news to the listener, take some turns of the event loop.

    The turns are taken from `turns`, over and over: a test varies them to try interleavings.
    """

    def __init__(self, turns: list[int]) -> None:
        self._log = MemoryLog(20_000, 10**9)
        self._turns = deque(turns)
        self._news: asyncio.Queue[tuple[str, Entry]] = asyncio.Queue()
        self._log.listen(lambda tenant_id, entry: self._news.put_nowait((tenant_id, entry)))
        self._teller: asyncio.Task[None] | None = None

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

    def listen(self, listener: Listener) -> None:
        self._teller = asyncio.create_task(self._tell(listener))

    async def _tell(self, listener: Listener) -> None:
        while True:
            tenant_id, entry = await self._news.get()
            await self._wait()
            listener(tenant_id, entry)

    async def ping(self) -> None:
        await self._wait()

    async def close(self) -> None:
        """End the task that tells the listener."""
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.gather(self._teller, return_exceptions=True)
