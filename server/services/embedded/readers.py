"""A few read-only connections on threads of their own; a read that timed out is really stopped."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import msgspec

from server.metrics import Metrics
from server.services.firestore.base import StoreUnavailable

# Steps of SQLite's virtual machine between two looks at the stop flag: about 2 ms.
STEPS_PER_LOOK = 10_000

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _Stop:
    """Whether nobody waits for a read any more."""

    def __init__(self) -> None:
        self.wanted = False


class Readers:
    """Runs reads on `count` threads of their own. Calls belong to one event loop."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        metrics: Metrics,
        *,
        count: int,
        timeout_s: float,
        max_waiting: int,
    ) -> None:
        self._connect = connect
        self._metrics = metrics
        self._count = count
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._waiting = 0
        self._closed = True
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="sqlite-reader")

    async def open(self) -> None:
        """Connect; sqlite3.Error when the database cannot be opened."""
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            self._idle.put(await loop.run_in_executor(self._pool, self._connect))
        self._closed = False

    async def close(self) -> None:
        """Stop what runs, refuse what waits or comes, close the connections, end the threads."""
        self._closed = True
        self._pool.shutdown(wait=True)  # a read stops within a few milliseconds of the flag
        while not self._idle.empty():
            self._idle.get().close()

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What `read` returns; it runs in a reader's thread.

        StoreUnavailable when too many wait, the time is over, or the database fails.
        """
        if self._closed:
            raise self._unavailable("closed", "The store is closed")
        if self._waiting >= self._max_waiting:
            raise self.refusal()
        stop = _Stop()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, self._answer, read, stop)
        except TimeoutError:
            raise self._unavailable("read_timeout", "The read timed out") from None
        except (sqlite3.Error, msgspec.DecodeError) as error:
            logger.error("A read failed: %s", error)
            raise self._unavailable("read_error", "The read failed") from error
        finally:
            self._waiting -= 1
            stop.wanted = True

    def refusal(self) -> StoreUnavailable:
        """The error for one read too many."""
        return self._unavailable("queue_full", "Too many reads are waiting")

    def _answer(self, read: Callable[[sqlite3.Connection], T], stop: _Stop) -> T:
        connection = self._idle.get()
        try:
            if self._closed:
                raise sqlite3.OperationalError("closed")
            connection.set_progress_handler(lambda: stop.wanted or self._closed, STEPS_PER_LOOK)
            return read(connection)
        finally:
            self._idle.put(connection)

    def _unavailable(self, kind: str, message: str) -> StoreUnavailable:
        self._metrics.store_failures.labels(kind=kind).inc()
        return StoreUnavailable(message=message)
