"""GroupedReads: combines reads of documents by id into one, while another read is under way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from server.services.ports.documents import BATCH_MAX, Document, StoreUnavailable

Found = Mapping[str, Mapping[str, Document]]
"""For each collection, its documents by id."""
ReadDocuments = Callable[[Mapping[str, Sequence[str]]], Awaitable[Found]]


class _Group:
    """One combined read: the ids by collection, and the future that all its callers await."""

    def __init__(self) -> None:
        self.wanted: dict[str, dict[str, None]] = {}
        self.size = 0
        self.found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()

    def add(self, collection: str, doc_ids: Sequence[str]) -> None:
        self.wanted.setdefault(collection, {}).update(dict.fromkeys(doc_ids))
        self.size += len(doc_ids)


class GroupedReads:
    """Combines reads by id, because handing one to a thread costs more than the read itself.

    A caller never gets the answer of a read that began before the call, so it sees every earlier
    write. Call it only from one event loop.
    """

    def __init__(
        self, read: ReadDocuments, max_waiting: int, refusal: Callable[[], StoreUnavailable]
    ) -> None:
        """`read` raises StoreUnavailable within a few seconds if it fails.

        `refusal` makes the error for a caller that comes while `max_waiting` callers wait.
        """
        self._read = read
        self._max_waiting = max_waiting
        self._refusal = refusal
        self._asking = 0
        self._waiting: deque[_Group] = deque()
        self._task: asyncio.Task[None] | None = None

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> dict[str, Document]:
        """The documents that exist among these, by id. Raises StoreUnavailable."""
        if self._asking >= self._max_waiting:
            raise self._refusal()
        if not self._waiting or self._waiting[-1].size + len(doc_ids) > BATCH_MAX:
            self._waiting.append(_Group())
        group = self._waiting[-1]
        group.add(collection, doc_ids)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        self._asking += 1
        try:
            found = (await asyncio.shield(group.found)).get(collection, {})
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

    async def _answer(self, group: _Group) -> None:
        try:
            found = await self._read({name: list(ids) for name, ids in group.wanted.items()})
        except Exception as error:  # noqa: BLE001 - the callers raise it
            self._fail(group, error)
            while self._waiting:  # their callers have already waited as long
                self._fail(self._waiting.popleft(), error)
        else:
            if not group.found.done():
                group.found.set_result(found)

    @staticmethod
    def _fail(group: _Group, error: Exception) -> None:
        if not group.found.done():
            group.found.set_exception(error)
            group.found.exception()  # perhaps no caller waits: asyncio must not complain
