"""Threads: a pool for sync code with limits on its threads, its queue and the time of its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from server.common.errors import Unavailable
from server.common.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

# How many calls per thread may wait, and how long each; then the caller should ask another server.
WAITING_PER_THREAD = 8
WAIT_S = 15.0


class Busy(Unavailable):
    """All threads are busy, and too many calls wait, or this call has waited too long."""

    error = "Too many calls at once"
    code = "BUSY"


class Stopped(Unavailable):
    """The pool accepts no more calls."""

    error = "Server is shutting down"
    code = "DRAINING"


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.result: Future[Any] = Future()

    def run(self, finished: Callable[[], None]) -> None:
        """Run the work; `finished` is called before the result is set."""
        try:
            value = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again on the loop
            finished()
            self.result.set_exception(_for_a_task(error))
        else:
            finished()
            self.result.set_result(value)

    def refuse(self, error: Exception) -> None:
        """Raise `error` where the call was made; its work has not begun."""
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)


def _for_a_task(error: BaseException) -> Exception:
    """Return the error in a form that a task can raise.

    A task cannot raise StopIteration, and an error that is no Exception (SystemExit) would end the
    whole loop.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    raised = RuntimeError(f"sync code raised {error!r}")
    raised.__cause__ = error
    return raised


class Threads:
    """A pool of at most `size` threads, each started when it is first needed.

    They are daemons: a call that never ends does not delay the end of the process; a warning names
    it. A pool belongs to one event loop.
    """

    def __init__(
        self,
        name: str,
        size: int,
        metrics: Metrics,
        *,
        waiting_max: int | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self.name = name
        self._size = size
        self._metrics = metrics
        self._waiting_max = size * WAITING_PER_THREAD if waiting_max is None else waiting_max
        self._wait_s = wait_s
        self._ready = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._alive = 0
        self._stopped = False
        self._all_ended = asyncio.Event()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread with this task's context variables; return or raise its result.

        Cancelling this call drops work that has not begun; work that has begun runs to its end, and
        its result is dropped. Raises Busy, Stopped.
        """
        job = _Job(partial(contextvars.copy_context().run, work))
        self._add(job)
        late = asyncio.get_running_loop().call_later(self._wait_s, self._refuse_late, job)
        try:
            result: T = await asyncio.wrap_future(job.result)
        finally:
            late.cancel()
            self._withdraw(job)
        return result

    def stop(self) -> None:
        """Accept no more calls, and refuse those that wait."""
        with self._ready:
            self._stopped = True
            waiting, self._jobs = list(self._jobs), deque()
            if not self._threads:
                self._all_ended.set()
            self._ready.notify_all()
        for job in waiting:
            job.refuse(Stopped())

    async def join(self, timeout_s: float) -> None:
        """Wait until the threads have ended, at most `timeout_s`. Call `stop` before."""
        try:
            await asyncio.wait_for(self._all_ended.wait(), timeout_s)
        except TimeoutError:
            left = [thread.name for thread in self._threads if thread.is_alive()]
            log.warning("%d %s calls did not end in time: %s", len(left), self.name, left)
            return
        for thread in self._threads:
            thread.join()  # short: each has done its last call

    def _add(self, job: _Job) -> None:
        with self._ready:
            if self._stopped:
                raise Stopped
            if self._pending >= self._size + self._waiting_max:
                self._metrics.sync_refusals.labels(pool=self.name).inc()
                raise Busy(message="try again in a moment")
            if len(self._threads) <= self._pending and len(self._threads) < self._size:
                self._start_thread()
            self._pending += 1
            self._jobs.append(job)
            self._ready.notify()

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=self._work,
            args=(asyncio.get_running_loop(),),
            name=f"{self.name}-{len(self._threads)}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no more threads
            log.error("no new thread for %s: %s", self.name, error)
            if not self._threads:
                raise Busy(message="no thread can be started") from error
        else:
            self._threads.append(thread)
            self._alive += 1

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while job := self._next():
            job.run(self._finished)
            del job
        with self._ready:
            self._alive -= 1
            last = not self._alive
        if last:
            with contextlib.suppress(RuntimeError):  # the loop has closed without waiting
                loop.call_soon_threadsafe(self._all_ended.set)

    def _next(self) -> _Job | None:
        with self._ready:
            while not self._stopped:
                if not self._jobs:
                    self._ready.wait()
                    continue
                job = self._jobs.popleft()
                if job.result.set_running_or_notify_cancel():
                    return job
                self._pending -= 1
            return None

    def _finished(self) -> None:
        with self._ready:
            self._pending -= 1

    def _refuse_late(self, job: _Job) -> None:
        if self._withdraw(job):
            self._metrics.sync_refusals.labels(pool=self.name).inc()
            job.refuse(Busy(message=f"no thread was free for {self._wait_s:g} s"))

    def _withdraw(self, job: _Job) -> bool:
        """Remove a job that has not begun; return whether it was removed."""
        with self._ready:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            self._pending -= 1
            return True
