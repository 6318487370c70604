"""A few read-only connections on threads of their own; a read that timed out is really stopped."""

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

from server.metrics import Metrics
from server.services.embedded.outcomes import tell
from server.services.firestore.base import StoreBusy, StoreUnavailable

# Steps of SQLite's virtual machine between two looks whether somebody waits: about 2 ms.
STEPS_PER_LOOK = 10_000
# One line in so long about reads that fail: those who ask must not fill the disk.
SAY_EVERY_S = 1.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    read: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class Readers:
    """Runs reads on threads of their own, `count` at most: another one begins when all are busy.

    Calls belong to one event loop. When `generation` has changed, a thread connects again: the
    database is another file now. Where none can connect, each read fails at once.
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
    ) -> None:
        self._connect = connect
        self._generation = generation
        self._metrics = metrics
        self._count = count
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._waiting = 0
        self._quiet_until = 0.0
        self._closed = True
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def open(self) -> None:
        """Connect; sqlite3.Error when the database cannot be opened."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        opened = self._start()
        opened.add_done_callback(partial(self._started, self._threads[-1]))
        await opened

    async def close(self) -> None:
        """Stop what runs, refuse what waits or comes, close the connections, end the threads."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        while self._threads:
            self._threads.pop().join()  # a read stops within a few milliseconds of the flag

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What `read` returns; it runs in a reader's thread.

        StoreUnavailable when too many wait, the time is over, or the database fails.
        """
        if self._closed:
            raise self._unavailable("closed", "The store is closed")
        if self._waiting >= self._max_waiting:
            raise self.refusal()
        job = _Job(read, self._loop.create_future())
        self._jobs.put(job)
        self._waiting += 1
        if len(self._threads) < min(self._waiting, self._count):
            self._start().add_done_callback(partial(self._started, self._threads[-1]))
        try:
            async with asyncio.timeout(self._timeout_s):
                result: T = await job.future
            return result
        except TimeoutError:
            raise self._unavailable("read_timeout", "The read timed out") from None
        except (sqlite3.Error, msgspec.DecodeError) as error:
            self._say("A read failed: %s", error)
            raise self._unavailable("read_error", "The read failed") from error
        finally:
            self._waiting -= 1

    def refusal(self) -> StoreUnavailable:
        """The error for one read too many."""
        return self._unavailable("queue_full", "Too many reads are waiting")

    def _start(self) -> asyncio.Future[None]:
        """One thread more; done, or raising, once it has connected."""
        opened: asyncio.Future[None] = self._loop.create_future()
        thread = threading.Thread(
            target=self._work, args=(opened,), name="sqlite-reader", daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return opened

    def _started(self, thread: threading.Thread, opened: asyncio.Future[None]) -> None:
        if not opened.cancelled() and (error := opened.exception()) is not None:
            self._say("A reader could not be opened: %s", error)
            if thread in self._threads:
                self._threads.remove(thread)
            while not self._threads and not self._jobs.empty():  # nobody is left for these
                if (job := self._jobs.get_nowait()) is not None and not job.future.done():
                    job.future.set_exception(sqlite3.OperationalError(str(error)))

    def _say(self, text: str, error: BaseException) -> None:
        """Log it, unless that was done a moment ago."""
        if self._loop.time() >= self._quiet_until:
            self._quiet_until = self._loop.time() + SAY_EVERY_S
            logger.error(text, error)

    def _work(self, opened: asyncio.Future[None]) -> None:
        generation = self._generation()  # before: another file may be opened meanwhile
        try:
            connection = self._connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, open() raises it
            tell(self._loop, [(opened, error)])
            return
        tell(self._loop, [(opened, None)])
        try:
            while (job := self._jobs.get()) is not None:
                if job.future.done():
                    continue
                if generation != self._generation():
                    try:
                        connection.close()
                        generation, connection = self._generation(), self._connect()
                    except sqlite3.Error as error:
                        generation = -1  # the next job tries again
                        tell(self._loop, [(job.future, error)])
                        continue
                tell(self._loop, [(job.future, self._answer(connection, job))])
        finally:
            connection.close()

    def _answer(self, connection: sqlite3.Connection, job: _Job) -> object:
        """What the job returns or raises. It is done before that when nobody waits any more."""
        if self._closed:
            return sqlite3.OperationalError("closed")
        connection.set_progress_handler(lambda: job.future.done() or self._closed, STEPS_PER_LOOK)
        try:
            return job.read(connection)
        except Exception as error:  # noqa: BLE001 - raised again by run()
            return error

    def _unavailable(self, kind: str, message: str) -> StoreUnavailable:
        self._metrics.store_failures.labels(kind=kind).inc()
        error = StoreBusy if kind == "queue_full" else StoreUnavailable
        return error(message=message)
