"""Outside: shows systemd and BAS_HEARTBEAT_URL that the server works, for as long as it does.

Both restart it or call for help when that sign stays away: a server that hangs cannot say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from types import TracebackType

from server.config.config import from_systemd
from server.processes.heartbeat import Heartbeat
from server.processes.systemd import Systemd

log = logging.getLogger(__name__)

BEAT_S = 60.0
# An idle server wakes up this often for the next check; systemd's limit may ask for more.
CHECK_S = 5.0


class Outside:
    """Gives the signs from `serving` until its block ends.

    `is_alive` decides about systemd's watchdog, `is_well` about the heartbeat. Both are asked on
    the event loop, so that one that hangs gives no sign.
    """

    def __init__(
        self,
        heartbeat_url: str,
        is_alive: Callable[[], bool],
        is_well: Callable[[], bool],
        systemd: Systemd | None = None,
    ) -> None:
        self._systemd = systemd or Systemd(from_systemd())
        self._heartbeat = Heartbeat(heartbeat_url) if heartbeat_url else None
        self._is_alive = is_alive
        self._is_well = is_well
        self._was_alive = True
        self._task: asyncio.Task[None] | None = None

    def serving(self) -> None:
        """Tell systemd that the service is ready, and begin with the signs."""
        self._systemd.say("READY=1")
        if self._systemd.watchdog_s or self._heartbeat is not None:
            self._task = asyncio.create_task(self._show_for_ever(), name="outside")

    def stopping(self) -> None:
        """Tell systemd that the service stops because it was asked to."""
        self._systemd.say("STOPPING=1")

    async def __aenter__(self) -> Outside:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _show_for_ever(self) -> None:
        # systemd advises to give the sign twice as often as it is needed.
        pause_s = min(CHECK_S, (self._systemd.watchdog_s or BEAT_S) / 2)
        loop = asyncio.get_running_loop()
        beat_at = loop.time()
        while True:
            self._pat()
            if self._heartbeat is not None and loop.time() >= beat_at and self._is_well():
                beat_at = loop.time() + BEAT_S
                self._heartbeat.beat()
            await asyncio.sleep(pause_s)

    def _pat(self) -> None:
        alive = self._is_alive()
        if alive:
            self._systemd.say("WATCHDOG=1")
        elif self._was_alive and self._systemd.watchdog_s:
            log.critical(
                "the thread that writes to the database has hung until all relays were off:"
                " systemd restarts this server. Look at the disk (dmesg)"
            )
        self._was_alive = alive
