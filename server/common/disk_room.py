"""DiskRoom: knows whether the disk of a folder has room left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path

from server.common.errors import Unavailable

log = logging.getLogger(__name__)

MB = 1_000_000
CODE = "DISK_LOW"


class DiskRoom:
    """Compares the free bytes of the disk of `folder` with `least_mb` (0: every amount is enough).

    It logs when the room becomes too small, and when it is enough again.
    """

    def __init__(self, folder: Path, least_mb: int) -> None:
        self._folder = folder
        self._least_mb = least_mb
        self._asking: asyncio.Future[int | OSError] | None = None
        self._was_low = False

    async def free_bytes(self) -> int:
        """How much room the disk has. Raises Unavailable if that cannot be found out.

        The caller sets a time limit: a disk that hangs answers never. One thread waits for it then,
        and later calls wait for the same answer.
        """
        if self._asking is None or self._asking.done():
            loop = asyncio.get_running_loop()
            self._asking = loop.create_future()
            # Not in a shared pool: a disk that hangs would block its threads one by one.
            threading.Thread(
                target=self._ask, args=(loop, self._asking), name="disk-room", daemon=True
            ).start()
        free = await asyncio.shield(self._asking)
        if isinstance(free, OSError):
            raise Unavailable(
                code="DISK_UNKNOWN", message=f"the data folder cannot be looked at: {free.strerror}"
            )
        return free

    async def check(self) -> None:
        """Raise Unavailable if the room is too small, or cannot be found out; see `free_bytes`."""
        free = await self.free_bytes()
        low = free < self._least_mb * MB
        text = f"{free // MB} MB are free on the disk of the data folder"
        if low != self._was_low:
            self._was_low = low
            said = "only %s: free some, or readings will not be stored" if low else "%s again"
            log.warning(said, text)
        if low:
            raise Unavailable(
                code=CODE,
                message=f"only {text}, fewer than BAS_DISK_MIN_FREE_MB={self._least_mb}",
            )

    def _ask(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[int | OSError]) -> None:
        found: int | OSError
        try:
            disk = os.statvfs(self._folder)
            found = disk.f_bavail * disk.f_frsize
        except OSError as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(answer.set_result, found)
