"""Ends the streams of sessions that ended in any process, and moves the ends of the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from server.common.errors import Unavailable
from server.common.session_end import SessionEnd

log = logging.getLogger(__name__)

# A stream must end within 5 s of its session: one check every 2 s, and a check may be slow.
CHECK_INTERVAL_S = 2.0
AT_ONCE = 400


class OwnedStreams(Protocol):
    """The open streams of this process, each with the session that it depends on, its owner."""

    def owners(self) -> set[str]: ...
    def end_owned(self, owners: set[str], reason: str) -> None: ...
    def move_ends(self, ends: Mapping[str, SessionEnd]) -> None: ...


class SessionWatch:
    """Checks the sessions of all open streams every two seconds.

    `ends` says when the sessions of these owners end; one that has ended is missing. While the
    store does not answer, streams continue, so that an outage of the store does not darken every
    dashboard. The failed check is logged, and the next one makes up for it.
    """

    def __init__(
        self,
        streams: OwnedStreams,
        ends: Callable[[set[str]], Awaitable[dict[str, SessionEnd]]],
    ) -> None:
        self._streams = streams
        self._ends = ends
        self._check_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to check."""
        self._task = asyncio.create_task(self._run(), name="session-watch")

    async def stop(self) -> None:
        """Stop checking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def check_now(self) -> None:
        """Check now: a session ended in this process."""
        self._check_now.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._check_now.wait()
            except TimeoutError:
                pass
            self._check_now.clear()
            try:
                await self._check()
            except Unavailable as error:
                log.warning(
                    "the sessions of open streams could not be checked, the next check retries: %s",
                    error,
                )
            except Exception:  # one unreadable document must not end the watch
                log.exception(
                    "the sessions of open streams could not be checked, the next check retries"
                )

    async def _check(self) -> None:
        owners = sorted(self._streams.owners())
        moved: dict[str, SessionEnd] = {}
        for start in range(0, len(owners), AT_ONCE):
            asked = owners[start : start + AT_ONCE]
            ends = await self._ends_of(asked)
            lost = set(asked) - ends.keys()
            if lost:
                self._streams.end_owned(lost, "session")
            moved |= ends
        self._streams.move_ends(moved)

    async def _ends_of(self, owners: list[str]) -> dict[str, SessionEnd]:
        """The ends without those of owners with unreadable documents, which affect no others."""
        try:
            return await self._ends(set(owners))
        except msgspec.ValidationError:
            if len(owners) == 1:
                log.exception("a stream ends because its session or account cannot be read")
                return {}
        middle = len(owners) // 2
        return await self._ends_of(owners[:middle]) | await self._ends_of(owners[middle:])
