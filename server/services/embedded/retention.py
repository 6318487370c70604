"""The task that deletes expired documents, in small batches that never hold up a reading."""

from __future__ import annotations

import asyncio
import logging

from server.clock import Clock
from server.metrics import Metrics
from server.services.firestore.base import Retention, StoreUnavailable

logger = logging.getLogger(__name__)


class RetentionTask:
    """Every `every_s` seconds, deletes all that expired, `batch` documents at a time.

    A store that fails is logged and left until the next round.
    """

    def __init__(
        self,
        retention: Retention,
        clock: Clock,
        metrics: Metrics,
        *,
        batch: int = 200,
        pause_s: float = 0.05,
        every_s: float = 60.0,
    ) -> None:
        self._retention = retention
        self._clock = clock
        self._metrics = metrics
        self._batch = batch
        self._pause_s = pause_s
        self._every_s = every_s
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the first round at once, in a task of the running loop."""
        self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """Return when the task has ended: after the batch that is being deleted, if one is."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._round()
            except StoreUnavailable as error:
                logger.warning("Expired documents stay until the next round: %s", error)
            await self._pause(self._every_s)

    async def _round(self) -> None:
        while not self._stop.is_set():
            deleted = await self._retention.delete_expired(self._clock.now_ms(), self._batch)
            self._metrics.documents_expired.inc(deleted)
            if deleted < self._batch:
                return
            await self._pause(self._pause_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
