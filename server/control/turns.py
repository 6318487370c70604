"""Turns: long computations take turns with all else that the event loop has to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """One caller at a time, in the order in which they came; what else is ready goes first.

    A few milliseconds each are short, but what was committed together goes on at once.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Return in a pass of the event loop in which nobody else's turn is."""
        async with self.turns():
            pass

    @asynccontextmanager
    async def turns(self) -> AsyncIterator[None]:
        """As many turns in a row as the caller needs: `asyncio.sleep(0)` is between two."""
        async with self._lock:
            await asyncio.sleep(0)
            yield
