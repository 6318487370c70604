"""BackgroundTask: work that goes on in rounds until it is stopped, and ends between two steps."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod


class BackgroundTask(ABC):
    """Runs `_run` as a task."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task in the running loop; its first round begins at once."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End the task after the step that is under way, and wait for its end."""
        self._stop.set()
        if self._task is not None:
            await self._task

    @abstractmethod
    async def _run(self) -> None:
        """Do the work; return soon after `_stop` is set, between two steps."""

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the task is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
