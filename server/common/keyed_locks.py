"""KeyedLocks: locks by key; a lock exists only while a caller holds it or waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class TooManyWaiting(Exception):
    """The key has its maximum of callers, so this one may not wait for it."""


class KeyedLocks:
    """Lets `at_once` callers hold a key at a time; the others wait in the order of arrival.

    At most `callers_max` callers hold a key or wait for it. A lock belongs to one event loop.
    """

    def __init__(self, at_once: int = 1, callers_max: int | None = None) -> None:
        self._at_once = at_once
        self._callers_max = callers_max
        # Each key's lock, and how many callers hold it or wait for it.
        self._locks: dict[Hashable, tuple[asyncio.Semaphore, int]] = {}

    def __len__(self) -> int:
        """How many keys are held or waited for."""
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: Hashable, wait_s: float | None = None) -> AsyncIterator[None]:
        """Hold the key's lock within the block.

        Raises TooManyWaiting, and TimeoutError if the lock was not free within `wait_s` seconds.
        """
        lock, callers = self._locks.get(key, (asyncio.Semaphore(self._at_once), 0))
        if self._callers_max is not None and callers >= self._callers_max:
            raise TooManyWaiting
        self._locks[key] = (lock, callers + 1)
        try:
            async with asyncio.timeout(wait_s):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            callers = self._locks[key][1] - 1
            if callers:
                self._locks[key] = (lock, callers)
            else:
                del self._locks[key]
