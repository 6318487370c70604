"""Group commit: batches that wait while others are on their way go out together; pure."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from server.clock import Clock
from server.errors import BasError
from server.metrics import Metrics
from server.services.firestore.base import BATCH_MAX, StoreBusy, StoreUnavailable
from server.services.firestore.batches import Batch, Key, Refused, Stored

IN_FLIGHT_MAX = 8
# Firestore takes 10 MiB; what is counted here is about the size, not the size.
BYTES_MAX = 4_000_000
CONFLICT_PAUSE_S = 0.02

Versions = list[str]
logger = logging.getLogger(__name__)


Commit = Callable[[Sequence[Batch], float], Awaitable[list[Versions]]]
"""Store batches as one commit before a deadline (monotonic): each batch's versions, or Refused."""

Read = Callable[[Iterable[Key], float], Awaitable[Mapping[Key, Stored]]]
"""Those of the documents that exist, before a deadline (monotonic)."""


@dataclass(eq=False)
class _Waiting:
    batch: Batch
    deadline: float
    answer: asyncio.Future[Versions] = field(default_factory=asyncio.Future)
    alone: bool = False
    unsure: bool = False


class GroupWriter:
    """Sends batches in the order they came, at most IN_FLIGHT_MAX commits at a time.

    A commit holds whole batches, of at most BATCH_MAX writes together, that share no document. One
    that is refused is sent again in parts, each batch alone: only the one at fault fails.
    `commits` counts those that were sent; `target` names the database in messages. Calls belong
    to one event loop.
    """

    def __init__(
        self,
        commit: Commit,
        read: Read,
        clock: Clock,
        metrics: Metrics,
        *,
        target: str,
        timeout_s: float,
        max_waiting: int,
    ) -> None:
        self.commits = 0
        self._target = target
        self._commit = commit
        self._read = read
        self._clock = clock
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._closed = False
        self._queue: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, batch: Batch) -> Versions:
        """The version of each write, once stored.

        AlreadyExists or VersionConflict; StoreUnavailable when too many wait or the time is over.
        """
        if self._closed:
            raise self._unavailable("closed", "The store is closed")
        if len(self._queue) >= self._max_waiting:
            raise self._unavailable("queue_full", "Too many writes are waiting")
        waiting = _Waiting(batch, self._clock.monotonic() + self._timeout_s)
        self._queue.append(waiting)
        self._send_waiting()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting.answer
        except TimeoutError:
            raise self._unavailable(
                "write_timeout", f"{self._target}: the write timed out"
            ) from None

    async def close(self) -> None:
        """Refuse new batches, and return when all that came before are answered."""
        self._closed = True
        deadline = self._clock.monotonic() + self._timeout_s
        while self._tasks and (left := deadline - self._clock.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        left_over = list(self._tasks)
        self._queue.clear()
        for task in left_over:
            task.cancel()
        await asyncio.gather(*left_over, return_exceptions=True)

    def _unavailable(self, kind: str, message: str) -> StoreUnavailable:
        self._metrics.store_failures.labels(kind=kind).inc()
        error = StoreBusy if kind == "queue_full" else StoreUnavailable
        return error(message=message)

    def _send_waiting(self) -> None:
        while len(self._tasks) < IN_FLIGHT_MAX and (group := self._next_group()):
            task = asyncio.create_task(self._send(group), name="firestore-commit")
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._send_waiting()

    def _next_group(self) -> list[_Waiting]:
        """The batches for one commit, taken off the queue; those nobody waits for are dropped."""
        group: list[_Waiting] = []
        documents: set[Key] = set()
        size = 0
        while self._queue:
            waiting = self._queue[0]
            keys = waiting.batch.effects.keys()
            if not waiting.answer.done():
                if group and (
                    waiting.alone
                    or len(documents) + len(keys) > BATCH_MAX
                    or size + waiting.batch.size > BYTES_MAX
                    or not documents.isdisjoint(keys)
                ):
                    break
                group.append(waiting)
                documents |= keys
                size += waiting.batch.size
            self._queue.popleft()
            if group and group[0].alone:
                break
        return group

    async def _send(self, group: list[_Waiting]) -> None:
        deadline = max(waiting.deadline for waiting in group)
        try:
            if len(group) == 1:
                answers = [await self._store_alone(group[0])]
            else:
                answers = await self._store([one.batch for one in group], deadline)
        except (Refused, ValueError) as error:
            if len(group) == 1:
                _fail(group, error)
                return
            for waiting in reversed(group):
                waiting.alone, waiting.unsure = True, isinstance(error, Refused) and error.unsure
                self._queue.appendleft(waiting)
        except BasError as error:
            _fail(group, error)
        except Exception:
            logger.exception("A commit of %d batches failed", len(group))
            _fail(group, self._unavailable("write_error", "The write failed"))
        else:
            for waiting, answer in zip(group, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)

    async def _store(self, batches: Sequence[Batch], deadline: float) -> list[Versions]:
        self.commits += 1
        return await self._commit(batches, deadline)

    async def _store_alone(self, waiting: _Waiting) -> Versions:
        """Store one batch; a conflict is told from one's own success by reading it back."""
        batch, deadline = waiting.batch, waiting.deadline
        while True:
            if not batch.impossible:
                try:
                    return (await self._store([batch], deadline))[0]
                except Refused as refused:
                    waiting.unsure |= refused.unsure
            stored = await self._read(batch.effects, deadline)
            for found in stored.values():
                if found.token == batch.token:
                    return batch.versions(found.version)
            refusal = batch.refusal(stored)
            if refusal is not None:
                if waiting.unsure and not batch.leaves_marks:
                    # Deleted by this batch or by someone else: nothing is left to tell by.
                    raise self._unavailable("write_unsure", "The write may have taken effect")
                raise refusal
            # What stood in the way has gone since: try again.
            if self._clock.monotonic() >= deadline:
                raise self._unavailable("write_timeout", f"{self._target}: the write timed out")
            await asyncio.sleep(random.uniform(0, CONFLICT_PAUSE_S))  # noqa: S311 - no secret


def _fail(group: Iterable[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
