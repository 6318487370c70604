"""ReaderThreads: runs reads on a few threads, each with a connection; stops late ones."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import msgspec

from server.common.metrics import Metrics
from server.services.history.codec import DamagedBlock
from server.services.ports.documents import StoreUnavailable
from server.services.ports.failures import unavailable
from server.services.sqlite.outcomes import awaited, settle

# Steps of SQLite's virtual machine (about 2 ms) between two checks whether the caller still waits.
STEPS_PER_CHECK = 10_000
# At most one log line about failed reads in this time, so that callers cannot fill the disk.
LOG_INTERVAL_S = 1.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    read: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class ReaderThreads:
    """Runs reads on up to `count` threads; another thread starts when all are busy.

    Call it only from one event loop. When `generation` changes, the database is another file, and
    each thread connects again. If no thread can connect, each read fails at once. An error is not
    logged here if `is_noted` returns true for it.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        generation: Callable[[], int],
        metrics: Metrics,
        *,
        count: int,
        timeout_s: float,
        max_waiting: int,
        is_noted: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self._connect = connect
        self._generation = generation
        self._metrics = metrics
        self._is_noted = is_noted
        self._count = count
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._waiting = 0
        self._quiet_until = 0.0
        self._closed = True
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def open(self) -> None:
        """Start a thread that connects. Raises sqlite3.Error if the database cannot be opened."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        opened = self._start()
        opened.add_done_callback(partial(self._started, self._threads[-1]))
        await opened

    async def close(self) -> None:
        """Stop running reads, refuse all others, close the connections and end the threads."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        while self._threads:
            self._threads.pop().join()  # a read stops within a few milliseconds of the flag

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run `read` in a reader's thread and return its result.

        Raises StoreUnavailable if too many reads wait, the time is over, or the database fails.
        """
        if self._closed:
            raise self._closed_error()
        if self._waiting >= self._max_waiting:
            raise self.refusal()
        job = _Job(read, self._loop.create_future())
        self._jobs.put(job)
        self._waiting += 1
        if len(self._threads) < min(self._waiting, self._count):
            self._start().add_done_callback(partial(self._started, self._threads[-1]))
        try:
            result: T = await awaited(self._loop, job.future, self._timeout_s)
            return result
        except TimeoutError:
            raise unavailable(self._metrics, "read_timeout", "The read timed out") from None
        except (sqlite3.Error, msgspec.DecodeError, DamagedBlock) as error:
            if self._closed:
                raise self._closed_error() from error
            self._log_failure("a read failed: %s", error)
            raise unavailable(self._metrics, "read_error", "The read failed") from error
        finally:
            self._waiting -= 1

    def refusal(self) -> StoreUnavailable:
        """The error for a read that exceeds `max_waiting`."""
        return unavailable(self._metrics, "queue_full", "Too many reads are waiting")

    def _closed_error(self) -> StoreUnavailable:
        """The error for a read that `close` refused or stopped, which is no failure to log."""
        return unavailable(self._metrics, "closed", "The store is closed")

    def _start(self) -> asyncio.Future[None]:
        """Start a thread; the future is done when it has connected, or has the error."""
        opened: asyncio.Future[None] = self._loop.create_future()
        thread = threading.Thread(
            target=self._work, args=(opened,), name="sqlite-reader", daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return opened

    def _started(self, thread: threading.Thread, opened: asyncio.Future[None]) -> None:
        if not opened.cancelled() and (error := opened.exception()) is not None:
            self._log_failure("a reading connection could not be opened: %s", error)
            if thread in self._threads:
                self._threads.remove(thread)
            while not self._threads and not self._jobs.empty():  # no thread is left for these
                if (job := self._jobs.get_nowait()) is not None and not job.future.done():
                    job.future.set_exception(sqlite3.OperationalError(str(error)))

    def _log_failure(self, text: str, error: BaseException) -> None:
        """Log an error, unless another one was logged a moment ago."""
        if self._is_noted(error):
            return
        if self._loop.time() >= self._quiet_until:
            self._quiet_until = self._loop.time() + LOG_INTERVAL_S
            logger.error(text, error)

    def _work(self, opened: asyncio.Future[None]) -> None:
        generation = self._generation()  # first, because the file may change while it connects
        try:
            connection = self._connect()
        except Exception as error:  # noqa: BLE001 - open() raises it
            settle(self._loop, [(opened, error)])
            return
        settle(self._loop, [(opened, None)])
        try:
            while (job := self._jobs.get()) is not None:
                if job.future.done():
                    continue
                if generation != self._generation():
                    try:
                        connection.close()
                        generation, connection = self._generation(), self._connect()
                    except sqlite3.Error as error:
                        generation = -1  # the next job connects again
                        settle(self._loop, [(job.future, error)])
                        continue
                settle(self._loop, [(job.future, self._answer(connection, job))])
        finally:
            connection.close()

    def _answer(self, connection: sqlite3.Connection, job: _Job) -> object:
        """The job's result or error. A read is stopped when its caller no longer waits."""
        if self._closed:
            return sqlite3.OperationalError("closed")
        connection.set_progress_handler(lambda: job.future.done() or self._closed, STEPS_PER_CHECK)
        try:
            return job.read(connection)
        except Exception as error:  # noqa: BLE001 - run() raises it
            return error
