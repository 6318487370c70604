"""FileFigures: measures the files of the store for /metrics: room, sizes, how far packing is."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.documents import StoreUnavailable
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.hour_sums import mark
from server.services.sqlite.reading_tables import SLOT_MS, SPAN_SLOTS

# Prometheus asks every 15 s by default.
EVERY_S = 5.0
MINUTE_MS = 60_000


class _Sizes(NamedTuple):
    """In bytes; `free` is what this user may still use. A file that is not there has 0."""

    free: int
    disk: int
    file: int
    wal: int


class FileFigures(BackgroundTask):
    """Measures every EVERY_S, and settles what the process counted in memory.

    Several processes count in one folder, and a scrape reaches one of them: the others' counts must
    get there too. Readings can be packed when they are `older_min` minutes old.
    """

    def __init__(
        self, client: SqliteClient, path: Path, clock: Clock, metrics: Metrics, older_min: int
    ) -> None:
        super().__init__("figures")
        self._client = client
        self._path = path
        self._clock = clock
        self._metrics = metrics
        self._older_ms = older_min * MINUTE_MS

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self.measure()
            await self._pause(EVERY_S)
        self._metrics.settle()

    async def measure(self) -> None:
        """Measure once; a figure that cannot be had keeps its value."""
        self._metrics.settle()
        try:
            # In a thread: a disk that hangs must not stop the event loop.
            sizes = await asyncio.to_thread(_sizes, self._path)
        except OSError:
            pass  # the folder is gone, which /readyz and the log say
        else:
            self._metrics.disk_free_bytes.set(sizes.free)
            self._metrics.disk_bytes.set(sizes.disk)
            self._metrics.file_bytes.set(sizes.file)
            self._metrics.wal_bytes.set(sizes.wal)
        try:
            oldest = await self._client.reports.run(_oldest_unsealed)
        except StoreUnavailable:
            return  # counted as a failure of the store
        self._metrics.seal_lag_s.set(self._lag_ms(oldest) / 1000)

    def _lag_ms(self, oldest: int | None) -> int:
        if oldest is None:
            return 0
        over_ms = (oldest // SPAN_SLOTS + 1) * SPAN_SLOTS * SLOT_MS
        return max(0, self._clock.now_ms() - self._older_ms - over_ms)


def _sizes(path: Path) -> _Sizes:
    disk = os.statvfs(path.parent)
    wal = path.with_name(f"{path.name}-wal")
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return _Sizes(free, size, _size(path), _size(wal))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _oldest_unsealed(connection: sqlite3.Connection) -> int | None:
    """The slot of the oldest reading that is not packed; rows behind the mark are only leftovers.

    Late readings are not counted: their block exists, and they join it in the same rounds.
    """
    sql = "SELECT min(slot) FROM readings WHERE slot >= ?"
    (slot,) = connection.execute(sql, (mark(connection, "sealed"),)).fetchone()
    return None if slot is None else int(slot)
