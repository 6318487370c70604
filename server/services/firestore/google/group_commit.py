"""Group commit: sends batches that wait for earlier commits together in one commit."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from server.common.clock import Clock
from server.common.errors import BasError
from server.common.metrics import Metrics
from server.common.tracebacks import log_failure
from server.services.firestore.google.batch import FoldedBatch, Stored, WriteRefused
from server.services.ports.documents import BATCH_MAX, DocumentKey
from server.services.ports.failures import unavailable

IN_FLIGHT_MAX = 8
# Firestore takes 10 MiB; the size that is counted here is only an estimate.
BYTES_MAX = 4_000_000
CONFLICT_PAUSE_S = 0.02

Versions = list[str]
logger = logging.getLogger(__name__)


Commit = Callable[[Sequence[FoldedBatch], float], Awaitable[list[Versions]]]
"""Store batches as one commit before a deadline (monotonic); return each one's versions.

Raises WriteRefused."""

ReadStored = Callable[[Iterable[DocumentKey], float], Awaitable[Mapping[DocumentKey, Stored]]]
"""Read the documents that exist among these, before a deadline (monotonic)."""


@dataclass(eq=False)
class _Waiting:
    batch: FoldedBatch
    deadline: float
    answer: asyncio.Future[Versions] = field(default_factory=asyncio.Future)
    alone: bool = False
    unsure: bool = False


class GroupCommit:
    """Sends batches in the order in which they came, at most IN_FLIGHT_MAX commits at a time.

    A commit has whole batches that share no document, with at most BATCH_MAX writes together. After
    a refusal each batch is sent again alone, so that only the faulty one fails. `commits` counts
    the commits that were sent; `target` is the database's name in messages. Call it only from one
    event loop.
    """

    def __init__(
        self,
        commit: Commit,
        read: ReadStored,
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

    async def run(self, batch: FoldedBatch) -> Versions:
        """Store a batch and return the version of each write.

        Raises AlreadyExists or VersionConflict, or StoreUnavailable if too many batches wait or the
        time is over.
        """
        if self._closed:
            raise unavailable(self._metrics, "closed", "The store is closed")
        if len(self._queue) >= self._max_waiting:
            raise unavailable(self._metrics, "queue_full", "Too many writes are waiting")
        waiting = _Waiting(batch, self._clock.monotonic() + self._timeout_s)
        self._queue.append(waiting)
        self._send_waiting()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting.answer
        except TimeoutError:
            raise unavailable(
                self._metrics, "write_timeout", f"{self._target}: the write timed out"
            ) from None

    async def close(self) -> None:
        """Refuse new batches and wait until the earlier ones are answered or time out."""
        self._closed = True
        deadline = self._clock.monotonic() + self._timeout_s
        while self._tasks and (left := deadline - self._clock.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        left_over = list(self._tasks)
        self._queue.clear()
        for task in left_over:
            task.cancel()
        await asyncio.gather(*left_over, return_exceptions=True)

    def _send_waiting(self) -> None:
        while len(self._tasks) < IN_FLIGHT_MAX and (group := self._next_group()):
            task = asyncio.create_task(self._send(group), name="firestore-commit")
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._send_waiting()

    def _next_group(self) -> list[_Waiting]:
        """Take the batches for one commit off the queue; drop those whose callers gave up."""
        group: list[_Waiting] = []
        documents: set[DocumentKey] = set()
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
        except (WriteRefused, ValueError) as error:
            if len(group) == 1:
                _fail(group, error)
                return
            for waiting in reversed(group):
                waiting.alone, waiting.unsure = (
                    True,
                    isinstance(error, WriteRefused) and error.unsure,
                )
                self._queue.appendleft(waiting)
        except BasError as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - their callers must get an answer
            log_failure(logger, error, "a commit of %d batches failed", len(group))
            _fail(group, unavailable(self._metrics, "write_error", "The write failed"))
        else:
            for waiting, answer in zip(group, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)

    async def _store(self, batches: Sequence[FoldedBatch], deadline: float) -> list[Versions]:
        self.commits += 1
        return await self._commit(batches, deadline)

    async def _store_alone(self, waiting: _Waiting) -> Versions:
        """Store one batch; after a refusal, read back whether an earlier attempt stored it."""
        batch, deadline = waiting.batch, waiting.deadline
        while True:
            if not batch.impossible:
                try:
                    return (await self._store([batch], deadline))[0]
                except WriteRefused as refused:
                    waiting.unsure |= refused.unsure
            stored = await self._read(batch.effects, deadline)
            for found in stored.values():
                if found.token == batch.token:
                    return batch.versions(found.version)
            refusal = batch.refusal(stored)
            if refusal is not None:
                if waiting.unsure and not batch.leaves_marks:
                    # This batch or another writer deleted the documents: nothing shows which one.
                    raise unavailable(
                        self._metrics, "write_unsure", "The write may have taken effect"
                    )
                raise refusal
            # The conflict is gone by now: retry.
            if self._clock.monotonic() >= deadline:
                raise unavailable(
                    self._metrics, "write_timeout", f"{self._target}: the write timed out"
                )
            await asyncio.sleep(random.uniform(0, CONFLICT_PAUSE_S))  # noqa: S311 - no secret


def _fail(group: Iterable[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
