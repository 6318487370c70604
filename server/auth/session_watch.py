"""SessionWatch: ends the streams of sessions that are there no more, whoever ended them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from server.errors import Unavailable

log = logging.getLogger(__name__)

# A stream must be gone 5 s after its session: a look every 2 s, and one look may be slow.
EVERY_S = 2.0
AT_ONCE = 400


class SessionWatch:
    """Looks up the sessions that open streams live by, all at once, every two seconds.

    While the store does not answer, streams go on: a store that is away must not darken every
    dashboard. It is logged, and the next look makes up for it.
    """

    def __init__(
        self,
        owners: Callable[[], set[str]],
        lost: Callable[[set[str]], Awaitable[set[str]]],
        end: Callable[[set[str], str], None],
    ) -> None:
        self._owners = owners
        self._lost = lost
        self._end = end
        self._look_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="session-watch")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def look_now(self) -> None:
        """A session was ended here: do not wait for the next look."""
        self._look_now.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            try:
                await self._look()
            except Unavailable as error:
                log.warning("open streams' sessions could not be checked: %s", error)
            except Exception:  # the watch must outlive one bad document
                log.exception("open streams' sessions could not be checked")

    async def _look(self) -> None:
        owners = sorted(self._owners())
        for start in range(0, len(owners), AT_ONCE):
            lost = await self._lost_of(owners[start : start + AT_ONCE])
            if lost:
                self._end(lost, "session")

    async def _lost_of(self, owners: list[str]) -> set[str]:
        """Those that are lost. One whose documents cannot be read is, and none else for it."""
        try:
            return await self._lost(set(owners))
        except msgspec.ValidationError:
            if len(owners) == 1:
                log.exception("a stream is ended: its session or account cannot be read")
                return set(owners)
        middle = len(owners) // 2
        return await self._lost_of(owners[:middle]) | await self._lost_of(owners[middle:])
