"""Gathered: reads of documents by id that come while one is under way are one read together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from server.services.firestore.base import BATCH_MAX, Document, StoreUnavailable

Found = Mapping[str, Mapping[str, Document]]
"""Documents by their ids, by collection."""
Read = Callable[[Mapping[str, Sequence[str]]], Awaitable[Found]]


class _Round:
    """What is read together: ids by collection, and for all who asked, what was found."""

    def __init__(self) -> None:
        self.wanted: dict[str, dict[str, None]] = {}
        self.size = 0
        self.found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()

    def add(self, collection: str, doc_ids: Sequence[str]) -> None:
        self.wanted.setdefault(collection, {}).update(dict.fromkeys(doc_ids))
        self.size += len(doc_ids)


class Gathered:
    """Handing a read to a thread costs more than the read: of many at once it is paid once.

    Nobody gets the answer of a read that began before they asked, so each sees all that was written
    before. Belongs to one event loop.
    """

    def __init__(
        self, read: Read, max_waiting: int, refusal: Callable[[], StoreUnavailable]
    ) -> None:
        """`read` raises StoreUnavailable, within a few seconds; `refusal` makes the error for who
        comes while `max_waiting` callers wait."""
        self._read = read
        self._max_waiting = max_waiting
        self._refusal = refusal
        self._asking = 0
        self._waiting: deque[_Round] = deque()
        self._task: asyncio.Task[None] | None = None

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> dict[str, Document]:
        """Those of the documents that exist, by id. Raises StoreUnavailable."""
        if self._asking >= self._max_waiting:
            raise self._refusal()
        if not self._waiting or self._waiting[-1].size + len(doc_ids) > BATCH_MAX:
            self._waiting.append(_Round())
        mine = self._waiting[-1]
        mine.add(collection, doc_ids)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        self._asking += 1
        try:
            found = (await asyncio.shield(mine.found)).get(collection, {})
        finally:
            self._asking -= 1
        return {doc_id: found[doc_id] for doc_id in doc_ids if doc_id in found}

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._waiting.popleft())
        finally:
            self._task = None
            while self._waiting:
                self._fail(self._waiting.popleft(), StoreUnavailable(message="The store is closed"))

    async def _answer(self, this: _Round) -> None:
        try:
            found = await self._read({name: list(ids) for name, ids in this.wanted.items()})
        except Exception as error:  # noqa: BLE001 - raised again by whoever asked
            self._fail(this, error)
            while self._waiting:  # they have waited as long already
                self._fail(self._waiting.popleft(), error)
        else:
            if not this.found.done():
                this.found.set_result(found)

    @staticmethod
    def _fail(this: _Round, error: Exception) -> None:
        if not this.found.done():
            this.found.set_exception(error)
            this.found.exception()  # whoever asked may have gone
