"""Work that is finished even if the caller who asked for it goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Work:
    """Owner of such tasks. A cancelled caller must not leave a stored reading unannounced."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; cancelling this call does not cancel `work`."""
        task = asyncio.create_task(work)
        self._keep(task)
        return await asyncio.shield(task)

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Let `work` go on by itself: nobody waits for it, and what it raises nobody is told."""
        self._keep(asyncio.create_task(work))

    def __len__(self) -> int:
        """How much is under way."""
        return len(self._running)

    async def close(self, timeout_s: float) -> None:
        """Wait for what is under way, then cancel what is left."""
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("ended in %r", task.exception())
