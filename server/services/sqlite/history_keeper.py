"""HistoryKeeper: converts old readings and seals new ones, in small steps beside other work."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.lock_file import open_lock
from server.services.ports.documents import StoreUnavailable
from server.services.ports.readings import Compaction, Packed
from server.services.sqlite import day_sums, hour_sums, sealing
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.conversion import convert_some
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.reading_queries import snapshot
from server.services.sqlite.reading_tables import SLOT_MS
from server.services.sqlite.vacuum import give_back

A = TypeVar("A")
T = TypeVar("T")
log = logging.getLogger(__name__)

# The share of a core that steps may use: after each one, the keeper rests for a multiple of it.
# Until old readings are converted, figures over them take seconds: that may go faster.
SHARES = {"packed": 0.1, "converted": 0.3}
REST_MIN_S = 0.005
LOOK_EVERY_S = 60.0
LOOK_AGAIN_S = 0.2
# While another process packs, every so many looks it is counted what that has done: a count reads
# the whole table.
COUNT_EVERY = 25
MINUTE_MS = 60_000
# Readings that are converted between two rounds of sealing.
SEAL_EVERY = 50_000


class HistoryKeeper(BackgroundTask, Compaction):
    """Works in the background while `start`ed; of several processes on a file, one does the work.

    Readings are sealed when they are `older_min` minutes old.
    """

    def __init__(self, client: SqliteClient, path: Path, clock: Clock, older_min: int) -> None:
        super().__init__("history")
        self._client = client
        self._path = path
        self._lock = path.with_name(f"{path.name}.sealing")
        self._clock = clock
        self._older_ms = older_min * MINUTE_MS

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._alone() as mine:
                    if mine:
                        await self._work()
            except (StoreUnavailable, OSError) as error:
                log.warning(
                    "readings could not be packed, the next round in %g s retries: %s",
                    LOOK_EVERY_S,
                    error,
                )
            except Exception:
                log.exception("readings could not be packed: the next round retries")
            await self._pause(LOOK_EVERY_S)

    async def _work(self) -> None:
        steps = self._steps(self._older_ms)
        while not self._stop.is_set():
            began = self._clock.monotonic()
            step = await anext(steps, None)
            if step is None:
                return
            spent = self._clock.monotonic() - began
            await self._pause(max(REST_MIN_S, spent * (1 / SHARES[step.what] - 1)))

    async def pack(self, older_ms: int) -> AsyncIterator[Packed]:
        left = None
        for look in count():
            with self._alone() as mine:
                if look > 0 if mine else look % COUNT_EVERY == 0:
                    before, left = left, await self.unpacked()
                    by_others = 0 if before is None else max(0, before - left)
                    yield Packed("packed by another process", by_others)
                if mine:
                    async for done in self._steps(older_ms):
                        yield done
                    return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def unpacked(self) -> int:
        return await self._client.reports.run(_unpacked)

    async def give_back(self) -> AsyncIterator[tuple[int, int]]:
        steps = give_back(self._path)
        while (step := await asyncio.to_thread(next, steps, None)) is not None:
            yield step

    async def _steps(self, older_ms: int) -> AsyncIterator[Packed]:
        until = (self._clock.now_ms() - older_ms) // SLOT_MS
        async for done in self._convert(until):
            yield done
        close = partial(_on, sealing.close_until, until) if older_ms else sealing.close_all
        await self._client.writer.run(close)
        async for done in self._seal():
            yield done
        wait_ms = min(older_ms, hour_sums.FREEZE_AFTER_MS)
        frozen = (self._clock.now_ms() - wait_ms) // SLOT_MS
        await self._client.writer.run(partial(_on, hour_sums.freeze, frozen))
        async for done in self._sum_hours():
            yield done
        async for done in self._sum_days():
            yield done

    async def _convert(self, until: int) -> AsyncIterator[Packed]:
        """Convert what is still documents; what was converted before `until` is sealed on the way.

        So the figures of long spans need not read all that was converted row by row.
        """
        if not await self._client.reports.run(has_old_readings):
            return
        log.info("readings of an earlier version are converted in the background")
        total = 0
        while done := await self._client.writer.run(convert_some):
            total += done
            yield Packed("converted", done)
            if total % SEAL_EVERY < done:
                await self._client.writer.run(partial(_on, sealing.close_converted, until))
                async for step in self._seal():
                    yield step
        log.info("%d readings of an earlier version were converted", total)

    async def _seal(self) -> AsyncIterator[Packed]:
        async for done in self._seal_new():
            yield done
        async for done in self._seal_late():
            yield done

    async def _seal_new(self) -> AsyncIterator[Packed]:
        reports, writer = self._client.reports, self._client.writer
        while (span := await reports.run(sealing.next_span)) is not None:
            devices = await reports.run(partial(_on, sealing.unsealed_devices, span))
            for series in devices:
                block = await reports.run(_together(sealing.block_of, series, span))
                await writer.run(partial(_on, sealing.write_block, block))
                yield Packed("packed", block.readings)
            await writer.run(partial(_on, sealing.seal, span))
            while await writer.run(sealing.delete_sealed):
                yield Packed("packed", 0)
        while await writer.run(sealing.delete_sealed):
            yield Packed("packed", 0)

    async def _seal_late(self) -> AsyncIterator[Packed]:
        reports, writer = self._client.reports, self._client.writer
        while (found := await reports.run(sealing.next_late)) is not None:
            block = await reports.run(_together(sealing.block_with_late, *found))
            await writer.run(partial(_on, sealing.write_late, block))
            yield Packed("packed", block.late)

    async def _sum_hours(self) -> AsyncIterator[Packed]:
        """Sum up the hours that are frozen and not sealed yet."""
        reports, writer = self._client.reports, self._client.writer
        while (hour := await reports.run(hour_sums.next_hour)) is not None:
            devices = await reports.run(partial(_on, hour_sums.devices_of, hour))
            for start in range(0, len(devices), hour_sums.DEVICES_AT_ONCE):
                some = devices[start : start + hour_sums.DEVICES_AT_ONCE]
                found = await reports.run(_together(hour_sums.sums_of, some, hour))
                await writer.run(partial(_store_sums, hour, found))
                yield Packed("packed", 0)
            await writer.run(partial(_on, hour_sums.publish, hour))

    async def _sum_days(self) -> AsyncIterator[Packed]:
        """Sum up days that are over, and those of which an hour has changed."""
        reports, writer = self._client.reports, self._client.writer
        while True:
            while await writer.run(day_sums.sum_some):
                yield Packed("packed", 0)
            day = await reports.run(day_sums.next_day)
            if day is None:
                return
            await writer.run(partial(_on, day_sums.begin_day, day))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process does this work; the kernel ends a dead process's claim."""
        fd = open_lock(self._lock)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(fd)


def _unpacked(connection: sqlite3.Connection) -> int:
    tables = ["readings", "late_readings"]
    if has_old_readings(connection):
        tables.append(OLD_READINGS)
    sql = [f"SELECT count(*) FROM {name}" for name in tables]  # noqa: S608 - constants
    return sum(connection.execute(one).fetchone()[0] for one in sql)


def _on(do: Callable[[sqlite3.Connection, A], T], argument: A, connection: sqlite3.Connection) -> T:
    return do(connection, argument)


def _store_sums(
    hour: int, found: Mapping[int, hour_sums.HourSums], connection: sqlite3.Connection
) -> None:
    hour_sums.write_sums(connection, hour, found)


def _together(
    make: Callable[[sqlite3.Connection, A, int], T], of: A, number: int
) -> Callable[[sqlite3.Connection], T]:
    """A read of all that a block or sums need, as of one moment."""

    def read(connection: sqlite3.Connection) -> T:
        with snapshot(connection):
            return make(connection, of, number)

    return read
