"""LoopTurns: lets the event loop do other work between long computations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LoopTurns:
    """Lets one caller compute at a time, in the order of arrival; other ready work runs first.

    One computation takes only a few milliseconds, but all writes of one commit continue together.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Return in a pass of the event loop in which no other caller has a turn."""
        async with self.turns():
            pass

    @asynccontextmanager
    async def turns(self) -> AsyncIterator[None]:
        """Give the caller several turns in a row; it awaits `asyncio.sleep(0)` between them."""
        async with self._lock:
            await asyncio.sleep(0)
            yield
