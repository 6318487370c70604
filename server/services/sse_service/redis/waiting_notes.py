"""WaitingNotes: says on this machine's disk which tenants' events only a process's memory holds.

A process that is killed while its events wait for Redis takes them with it. The others find its
note and tell the clients that something is missing.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from server.common.clock import Clock

log = logging.getLogger(__name__)

SUFFIX = ".waiting"
# A disk that does not answer holds up no answer to a device.
NOTE_S = 1.0
# After a note that the disk did not take, the next event that waits tries again so much later.
TRY_AGAIN_S = 10.0


class WaitingNotes:
    """One file for each process whose events wait, locked for as long as that process lives."""

    def __init__(self, folder: Path, run: str, clock: Clock) -> None:
        """`run` is the name of this process; no other process has it."""
        self._folder = folder
        self._path = folder / f"{run}{SUFFIX}"
        self._fd: int | None = None
        self._noted: set[str] = set()
        self._clock = clock
        self._failed = False
        self._again_at = 0.0
        self._turn = threading.Lock()

    async def note(self, tenant_id: str) -> None:
        """Note that events of this tenant wait; returns when the disk has it, or after NOTE_S.

        What the disk did not take is noted with a later event of the tenant.
        """
        if tenant_id in self._noted or self._clock.monotonic() < self._again_at:
            return
        self._noted.add(tenant_id)
        try:
            async with asyncio.timeout(NOTE_S):
                await asyncio.to_thread(self._write, tenant_id)
        except (OSError, TimeoutError) as error:
            self._noted.discard(tenant_id)
            self._again_at = self._clock.monotonic() + TRY_AGAIN_S
            if not self._failed:
                log.warning(
                    "%s could not be written (%s): if this process is killed before Redis is back, "
                    "dashboards of other processes miss events and do not say so",
                    self._path,
                    error or "the disk does not answer",
                )
            self._failed = True

    async def clear(self) -> None:
        """Note that no event waits any more."""
        if self._noted or self._fd is not None:
            self._noted.clear()
            self._failed, self._again_at = False, 0.0
            with suppress(OSError):
                await asyncio.to_thread(self._remove)

    @asynccontextmanager
    async def left(self) -> AsyncIterator[list[str]]:
        """The tenants in the notes of processes that have ended.

        The notes are deleted when the block ends without an error.
        """
        found = await asyncio.to_thread(self._find)
        try:
            yield sorted({tenant_id for _, _, tenants in found for tenant_id in tenants})
            for path, _, _ in found:
                path.unlink(missing_ok=True)
        finally:
            for _, fd, _ in found:
                os.close(fd)

    def _write(self, tenant_id: str) -> None:
        with self._turn:
            if self._fd is None:
                # It has its name only once it is locked: nobody takes it for a dead process's.
                new = self._path.with_suffix(".new")
                fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                    new.rename(self._path)
                except OSError:
                    os.close(fd)
                    raise
                self._fd = fd
            # A full disk may have taken the beginning of the line before.
            line = f"\n{json.dumps(tenant_id)}\n".encode()
            if os.write(self._fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)

    def _remove(self) -> None:
        with self._turn:
            if self._fd is not None:
                self._path.unlink(missing_ok=True)
                os.close(self._fd)
                self._fd = None

    def _find(self) -> list[tuple[Path, int, list[str]]]:
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(fd)
                    continue
                found.append((path, fd, _tenants(path.read_text())))
        return found


def _tenants(text: str) -> list[str]:
    """The tenants of a note, without a line that was not written to its end."""
    tenants = []
    for line in text.splitlines():
        with suppress(ValueError):
            tenants.append(str(json.loads(line)))
    return tenants
