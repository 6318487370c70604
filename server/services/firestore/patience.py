"""Repeats the calls of a copy for minutes while a store does not answer, in smaller parts."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from server.services.ports.documents import StoreUnavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

# A copy goes on if a store answers again within this time; a person may have to restart it.
PATIENCE_S = 300.0
# The pauses between two attempts double from the first to the second.
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 10.0


class Patience:
    """The size of the parts of one copy, and how long it waits for a store.

    After a failure parts are half as large, down to `least`: a store that is too slow for a large
    part takes a small one. After a success they are twice as large again, up to `most`.
    """

    def __init__(self, most: int = 1, least: int = 1) -> None:
        self.size = most
        self._most, self._least = most, least
        self._failures = 0
        self._lost_at = 0.0

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`, which is repeated while it raises StoreUnavailable.

        Each attempt reads `size` again. Raises the last error once PATIENCE_S are over.
        """
        while True:
            try:
                result = await attempt()
            except StoreUnavailable as error:
                await self._wait(error)
            else:
                self._succeeded()
                return result

    async def _wait(self, error: StoreUnavailable) -> None:
        now = asyncio.get_running_loop().time()
        if not self._failures:
            self._lost_at = now
            log.warning(
                "%s: the copy retries for %.0f s, in smaller parts",
                error.message or error.error,
                PATIENCE_S,
            )
        pause_s = min(PAUSE_MIN_S * 2**self._failures, PAUSE_MAX_S)
        if now + pause_s - self._lost_at > PATIENCE_S:
            raise error
        self._failures += 1
        self.size = max(self._least, self.size // 2)
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - no secret

    def _succeeded(self) -> None:
        if self._failures:
            self._failures = 0
            log.warning("the store answers again, and the copy goes on")
        else:
            self.size = min(self._most, 2 * self.size)
