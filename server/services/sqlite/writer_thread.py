"""WriterThread: commits all waiting writes together, so that they share an fsync."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from server.common.errors import BasError
from server.common.metrics import Metrics
from server.common.tracebacks import log_failure
from server.services.ports.documents import DatabaseDamaged, StoreUnavailable
from server.services.ports.failures import unavailable
from server.services.sqlite.database_file import DatabaseFile
from server.services.sqlite.outcomes import Outcome, awaited, settle
from server.services.sqlite.write_statements import WriteSet, apply_together

GROUP_MAX = 512
LOG_AGAIN_S = 60.0
GONE = "the file on its path is gone, or another one"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    apply: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class WriterThread:
    """Runs jobs on one connection, in order, in groups of at most GROUP_MAX per transaction.

    The thread is woken once for all jobs of one pass of the event loop: a wake-up takes as long as
    a good part of a job, and an earlier one would often find a single job.

    A job's effects are kept completely or, if it raises, not at all; the other jobs of its group
    are not affected. Call it only from the event loop that opened the writer.

    After each commit the writer checks that `file` is still the one that was opened. If not, the
    whole group fails, and the next group connects again. It also does so if the first connection
    failed.

    `on_failure` gets the error of each job that failed with the database or timed out.
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
        self.busy_since: float | None = None
        """Since when (monotonic, s) the thread works on one group; None while it waits for one."""
        self.on_failure: Callable[[StoreUnavailable], None] | None = None
        self._connect = connect
        self._begin = begin
        self._file = file
        self._connection: sqlite3.Connection | None = None
        # The error that was logged last. On a disk that is nearly full, small writes succeed
        # between the others: then it is not logged again for LOG_AGAIN_S.
        self._logged_error = ""
        self._logged_at = 0.0
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        # The loop appends, the thread takes. It waits for the bell when it finds no job.
        self._jobs: deque[_Job] = deque()
        self._bell = threading.Lock()
        self._will_ring = False
        self._closed = True
        self._ended: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Start the thread, which connects; raise the error of `connect`, if any.

        The first job then connects again.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened = self._loop.create_future()
        self._closed = False
        self._thread = threading.Thread(
            target=self._work, args=(opened, self._ended), name="sqlite-writer", daemon=True
        )
        self._thread.start()
        await opened

    async def close(self) -> None:
        """Refuse new jobs, commit the accepted ones, close the connection and end the thread."""
        if not self._closed:
            self._closed = True
            self._ring()
        if self._ended is not None:
            await asyncio.shield(self._ended)
            self._thread.join()

    def stuck_s(self) -> float:
        """Seconds for which the thread has not come back from one group; infinite if it ended."""
        if not self._closed and not self._thread.is_alive():
            return float("inf")
        since = self.busy_since
        return time.monotonic() - since if since is not None else 0.0

    async def run(self, apply: Callable[[sqlite3.Connection], T]) -> T:
        """Run `apply` in the writer's thread; return its result after the commit, or its error.

        Raises StoreUnavailable if too many jobs wait, the time is over, or the database fails. If
        the caller gives up before the job starts, the job is skipped.
        """
        if self._closed:
            raise unavailable(self._metrics, "closed", "The store is closed")
        if len(self._jobs) >= self._max_waiting:
            raise unavailable(self._metrics, "queue_full", "Too many writes are waiting")
        job = _Job(apply, self._loop.create_future())
        self._jobs.append(job)
        if not self._will_ring:
            self._will_ring = True
            self._loop.call_soon(self._ring)
        try:
            result: T = await awaited(self._loop, job.future, self._timeout_s)
            return result
        except TimeoutError:
            raise self._failure("write_timeout", "The write timed out") from None
        except sqlite3.Error as error:
            raise self._failure("write_error", f"The write failed: {error}") from error

    def _ring(self) -> None:
        """Wake the thread if it waits for jobs; only the event loop calls this."""
        self._will_ring = False
        if self._bell.locked():
            self._bell.release()

    def _failure(self, kind: str, message: str) -> StoreUnavailable:
        error = unavailable(self._metrics, kind, message)
        if kind == "write_error" and self._file.damage:
            error = DatabaseDamaged(message=message)
        if self.on_failure is not None:
            self.on_failure(error)
        return error

    def _work(self, opened: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        error: Exception | None = None
        try:
            self._connection = self._connect()
        except Exception as failure:  # noqa: BLE001 - open() raises it
            error = failure
        settle(self._loop, [(opened, error)])
        while group := self._take():
            self.busy_since = time.monotonic()
            jobs = [job for job in group if not job.future.done()]
            if jobs:
                settle(self._loop, self._commit(jobs))
            self.busy_since = None
        self._disconnect()
        settle(self._loop, [(ended, None)])

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _take(self) -> list[_Job]:
        """The waiting jobs; none when the writer is closed and all jobs are done."""
        while not self._jobs and not self._closed:
            self._bell.acquire()
        return [self._jobs.popleft() for _ in range(min(len(self._jobs), GROUP_MAX))]

    def _commit(self, jobs: list[_Job]) -> list[Outcome]:
        """Commit the jobs; return each one's future with its result or error."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._begin(self._connection)
            outcomes = self._apply_all(self._connection, jobs)
            self._connection.execute("COMMIT")
            self.commits += 1
            if time.monotonic() - self._logged_at > LOG_AGAIN_S:
                self._logged_error = ""
        except (sqlite3.Error, OSError) as error:
            outcomes = self._failed(jobs, error)
            if _is_broken(error):
                self._disconnect()
        except Exception as error:  # noqa: BLE001 - no error may end the thread
            log_failure(logger, error, "a group of %d writes failed", len(jobs))
            outcomes = self._failed(jobs, error)
        if self._connection is not None and not self._file.is_there():
            self._disconnect()
            outcomes = self._failed(jobs, sqlite3.OperationalError(GONE))
        return [(job.future, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def _failed(self, jobs: list[_Job], error: Exception) -> list[object]:
        """Roll back a group, log its error, and return the error for each job."""
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        if not self._file.note(error) and str(error) != self._logged_error:
            self._logged_error, self._logged_at = str(error), time.monotonic()
            logger.error("a group of %d writes failed: %s", len(jobs), self._file.explained(error))
        return [sqlite3.OperationalError(str(error)) for _ in jobs]

    def _apply_all(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[object]:
        """Apply the jobs, together if all are write sets without conflicts, else one by one."""
        sets = [job.apply for job in jobs if isinstance(job.apply, WriteSet)]
        if len(sets) == len(jobs):
            if apply_together(connection, sets):
                return [one.versions for one in sets]
            connection.execute("ROLLBACK")
            self._begin(connection)
        return [_apply(connection, job, self._file) for job in jobs]


def _is_broken(error: Exception) -> bool:
    """Whether the connection must be replaced: not after a lock or a full disk."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _apply(connection: sqlite3.Connection, job: _Job, file: DatabaseFile) -> object:
    """The job's result or error. Raises sqlite3.Error if SQLite has ended the transaction."""
    connection.execute("SAVEPOINT job")
    try:
        outcome = job.apply(connection)
    except BasError as refused:
        outcome = refused
    except Exception as error:  # noqa: BLE001 - it is the caller's
        if not file.note(error):
            log_failure(logger, error, "a write failed")
        outcome = error
    if isinstance(outcome, Exception):
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")
    return outcome
