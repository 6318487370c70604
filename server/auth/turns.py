"""Turns: one at a time for each name, and not too many in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.errors import Unavailable

WAITING_MAX = 64


class Turns:
    """Locks of this process by kind and name, kept only while someone holds or wants them."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, kind: str, name: str) -> AsyncIterator[None]:
        """Hold the turn meanwhile. Raises Unavailable when WAITING_MAX want it already."""
        key = (kind, name)
        lock, waiting = self._locks.get(key, (asyncio.Lock(), 0))
        if waiting >= WAITING_MAX:
            raise Unavailable("Too many log-ins at once", "BUSY", "try again in a moment")
        self._locks[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            waiting = self._locks[key][1] - 1
            if waiting:
                self._locks[key] = (lock, waiting)
            else:
                del self._locks[key]
