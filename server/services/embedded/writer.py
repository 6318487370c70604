"""The one thread that writes: it commits all that waits at once, so that writes share an fsync."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from server.errors import BasError
from server.metrics import Metrics
from server.services.embedded.database_file import DatabaseFile
from server.services.embedded.outcomes import Outcome, tell
from server.services.embedded.writes import WriteSet, apply_together
from server.services.firestore.base import StoreBusy, StoreUnavailable

GROUP_MAX = 512
GONE = "the file on its path is gone, or another one"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    apply: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class Writer:
    """Runs jobs on one connection, in order, in groups of at most GROUP_MAX per transaction.

    A job's effects are kept whole or, when it raises, not at all; a job that raises leaves the
    others of its group alone. A call belongs to the event loop that opened the writer.

    After a commit `file` says whether it is still the one that was opened; else all of the group
    fails, and the next group connects again. So it does if it could not at the start.

    `on_failure` is told of each job that failed with the database, or was not confirmed in time.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        begin: Callable[[sqlite3.Connection], None],
        file: DatabaseFile,
        metrics: Metrics,
        *,
        timeout_s: float,
        max_waiting: int,
    ) -> None:
        self.commits = 0
        self.on_failure: Callable[[StoreUnavailable], None] | None = None
        self._connect = connect
        self._begin = begin
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._said = ""  # the error that the log has already
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = True
        self._ended: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Start the thread and connect in it; what `connect` raises comes out here, and is tried
        again for the first job."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._work, args=(opened, self._ended), name="sqlite-writer", daemon=True
        )
        self._thread.start()
        self._closed = False
        await opened

    async def close(self) -> None:
        """Refuse new jobs, commit all that were accepted, close the connection, end the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        if self._ended is not None:
            await asyncio.shield(self._ended)
            self._thread.join()

    async def run(self, apply: Callable[[sqlite3.Connection], T]) -> T:
        """What `apply` returns, once committed, or raises. It runs in the writer's thread.

        StoreUnavailable when too many wait, the time is over, or the database fails; a job that had
        not begun when its caller gave up is skipped.
        """
        if self._closed:
            raise self._unavailable("closed", "The store is closed")
        if self._jobs.qsize() >= self._max_waiting:
            raise self._unavailable("queue_full", "Too many writes are waiting")
        job = _Job(apply, self._loop.create_future())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(self._timeout_s):
                result: T = await job.future
                return result
        except TimeoutError:
            raise self._failure("write_timeout", "The write timed out") from None
        except sqlite3.Error as error:
            raise self._failure("write_error", f"The write failed: {error}") from error

    def _failure(self, kind: str, message: str) -> StoreUnavailable:
        error = self._unavailable(kind, message)
        if self.on_failure is not None:
            self.on_failure(error)
        return error

    def _unavailable(self, kind: str, message: str) -> StoreUnavailable:
        self._metrics.store_failures.labels(kind=kind).inc()
        error = StoreBusy if kind == "queue_full" else StoreUnavailable
        return error(message=message)

    def _work(self, opened: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        error: Exception | None = None
        try:
            self._connection = self._connect()
        except Exception as failure:  # noqa: BLE001 - whatever it is, open() raises it
            error = failure
        tell(self._loop, [(opened, error)])
        more = True
        while more:
            group = self._take()
            more = group[-1] is not None
            jobs = [job for job in group if job is not None and not job.future.done()]
            if jobs:
                tell(self._loop, self._commit(jobs))
        self._disconnect()
        tell(self._loop, [(ended, None)])

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _take(self) -> list[_Job | None]:
        """Everything that waits, at least one; nothing follows a None."""
        group = [self._jobs.get()]
        while len(group) < GROUP_MAX and not self._jobs.empty():
            group.append(self._jobs.get())
        return group

    def _commit(self, jobs: list[_Job]) -> list[Outcome]:
        """Each job's future with its result or error, after the commit."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._begin(self._connection)
            outcomes = self._apply_all(self._connection, jobs)
            self._connection.execute("COMMIT")
            self.commits += 1
            self._said = ""
        except (sqlite3.Error, OSError) as error:
            outcomes = self._failed(jobs, error)
            if _is_broken(error):
                self._disconnect()
        except Exception as error:
            logger.exception("A group of %d writes failed", len(jobs))
            outcomes = self._failed(jobs, error)
        if self._connection is not None and not self._file.is_there():
            self._disconnect()
            outcomes = self._failed(jobs, sqlite3.OperationalError(GONE))
        return [(job.future, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def _failed(self, jobs: list[_Job], error: Exception) -> list[object]:
        """The error of each job of a group that was not committed."""
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        if str(error) != self._said:
            self._said = str(error)
            logger.error("A group of %d writes failed: %s", len(jobs), self._file.explained(error))
        return [sqlite3.OperationalError(str(error)) for _ in jobs]

    def _apply_all(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[object]:
        """Each job's result or error; together if they are write sets at peace, else one by one."""
        sets = [job.apply for job in jobs if isinstance(job.apply, WriteSet)]
        if len(sets) == len(jobs):
            if apply_together(connection, sets):
                return [one.versions for one in sets]
            connection.execute("ROLLBACK")
            self._begin(connection)
        return [_apply(connection, job) for job in jobs]


def _is_broken(error: Exception) -> bool:
    """Whether another try on the same connection is no use: not for a lock or a full disk."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _apply(connection: sqlite3.Connection, job: _Job) -> object:
    """The job's result or error. sqlite3.Error when SQLite itself has ended the transaction."""
    connection.execute("SAVEPOINT job")
    try:
        outcome = job.apply(connection)
    except BasError as refused:
        outcome = refused
    except Exception as error:
        logger.exception("A write failed")
        outcome = error
    if isinstance(outcome, Exception):
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")
    return outcome
