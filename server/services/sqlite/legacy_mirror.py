"""LegacyMirror: writes new readings into the existing application's own database file, too."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.seldom import Spell
from server.services.ports.readings import Reading

log = logging.getLogger(__name__)

WAITING_MAX, WRITTEN_AT_ONCE = 10_000, 500
# How long a write waits while the existing application holds the file, and a failure is a pause.
BUSY_S, PAUSE_S = 2.0, 1.0
TENANT = "default"
_INSERT = (
    "INSERT INTO telemetry (timestamp, temp_tenths, setpoint_tenths, deadband_tenths, cool_active,"
    " heat_active, state, sensor_ok) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


class LegacyMirror(BackgroundTask):
    """Takes the readings of tenant `default` without waiting, and writes them from one thread.

    What cannot be written, or finds WAITING_MAX readings waiting, is lost to the file and counted.
    """

    def __init__(self, path: Path, clock: Clock, metrics: Metrics) -> None:
        super().__init__("legacy mirror")
        self._path = path
        self._lost = metrics.legacy_mirror_lost
        self._spell = Spell(clock.monotonic)
        self._waiting: deque[Reading] = deque()
        self._woken = asyncio.Event()

    def take(self, readings: Iterable[Reading]) -> None:
        """Take stored readings; never blocks and never raises."""
        for reading in readings:
            if reading.tenant_id != TENANT:
                continue
            if len(self._waiting) >= WAITING_MAX:
                self._lost.inc()
                continue
            self._waiting.append(reading)
        self._woken.set()

    async def stop(self) -> None:
        """Write what waits, and end."""
        self._stop.set()
        self._woken.set()
        await super().stop()

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                count = min(len(self._waiting), WRITTEN_AT_ONCE)
                some = [self._waiting.popleft() for _ in range(count)]
                if not await self._written(some):
                    if self._stop.is_set():
                        self._lost.inc(len(self._waiting))
                        return
                    await self._pause(PAUSE_S)
            if self._stop.is_set():
                return

    async def _written(self, readings: list[Reading]) -> bool:
        try:
            await asyncio.to_thread(self._write, readings)
        except (sqlite3.Error, OSError) as error:
            self._lost.inc(len(readings))
            if self._spell.goes_on():
                log.warning(
                    "readings are not written to %s of BAS_LEGACY_MIRROR (%s), and those are lost"
                    " to it: check that it is the existing server's database and can be written",
                    self._path,
                    error,
                )
            return False
        if over := self._spell.over():
            log.info("readings are written to %s again, after %d failures", self._path, over[0])
        return True

    def _write(self, readings: list[Reading]) -> None:
        # It must be there: a file of this server's making would not be the application's.
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection, connection:
            connection.executemany(_INSERT, map(_row, readings))


def _row(one: Reading) -> tuple[object, ...]:
    relays = one.cool_active, one.heat_active, one.state, one.sensor_ok
    values = one.temp_tenths, one.setpoint_tenths, one.deadband_tenths
    return (float(one.timestamp_ms), *values, *relays)
