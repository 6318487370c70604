"""ShieldedTasks: tasks that finish even if their caller is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from server.common.tracebacks import log_failure

log = logging.getLogger(__name__)

T = TypeVar("T")


class ShieldedTasks:
    """Owns such tasks, so that a cancelled caller leaves no stored reading unannounced."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`; cancelling this call does not cancel `work`."""
        if asyncio.current_task() in self._running:
            return await work  # this task is one of these, so only `close` cancels it
        return await asyncio.shield(self._start(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work` as a task that need not be awaited: an error of it is logged."""
        task = self._start(work)
        task.add_done_callback(_report)
        return task

    def __len__(self) -> int:
        """How many tasks are running."""
        return len(self._running)

    async def close(self, timeout_s: float) -> None:
        """Wait for the running tasks, then cancel those that are left."""
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The caller that waits gets the error; asyncio warns unless it is read here too.
            log.debug("shielded work failed: %r", task.exception())


def _report(task: asyncio.Task[object]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log_failure(log, error, "background work failed")
