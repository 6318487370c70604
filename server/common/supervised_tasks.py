"""SupervisedTasks: the tasks of a part that must run until the server stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

from server.common.tracebacks import log_failure

log = logging.getLogger(__name__)

PAUSE_S = 1.0
CLOSE_S = 0.5
# A library may swallow one cancellation, as redis-py does on Python 3.11.
CANCELS = 2


class SupervisedTasks:
    """Owns such tasks; log lines name the `part` that they belong to."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._running: set[asyncio.Task[None]] = set()

    def keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`, and restart it if it fails: the part must survive one bad message."""
        self.begin(self._supervised(work))

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` once, in a separate task."""
        # Its log lines are not those of the request that began it.
        task = asyncio.create_task(work, context=Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Cancel all tasks, and wait CLOSE_S at most for their end after each attempt."""
        for _ in range(CANCELS):
            for task in list(self._running):
                task.cancel()
            if self._running:
                await asyncio.wait(set(self._running), timeout=CLOSE_S)

    async def _supervised(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
                return
            except Exception as error:  # noqa: BLE001 - the part must go on
                log_failure(log, error, "a task of %s failed and is started again", self._part)
                await asyncio.sleep(PAUSE_S)
