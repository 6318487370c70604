"""DocumentClient on Google Firestore, for production and the emulator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from google.cloud.firestore_v1 import AsyncClient

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.google import queries
from server.services.firestore.google.batch import FoldedBatch
from server.services.firestore.google.calls import Calls
from server.services.firestore.google.group_commit import GroupCommit
from server.services.firestore.google.rpc import Rpc
from server.services.ports.cursors import decode_cursor, encode_cursor
from server.services.ports.documents import (
    BATCH_MAX,
    Aggregate,
    Direction,
    Document,
    DocumentClient,
    Page,
    Query,
    Write,
)
from server.services.ports.indexes import Index, check_figures, check_limit, check_query
from server.services.ports.values import check_collection, is_id

# Seconds for all attempts of a call together: CALL_S, or LONG_S for a call about many documents.
CALL_S = 2.5
LONG_S = 10.0
LONG_PAGE = 1000
# For a copy, in place of both: nobody waits for an answer, and an emulator with 100,000 documents
# takes seconds for each page.
COPY_S = 60.0


class FirestoreClient(DocumentClient):
    """Firestore's documents. Call it only from the event loop on which Google's client was made.

    Each attempt of a call has a time-out. All attempts together take at most CALL_S, or LONG_S for
    an aggregate or a long page if Firestore answers at all. If `copying`, a call may take COPY_S in
    one attempt. While Firestore does not answer, it is
    called only every few seconds.

    Firestore's TTL deletes an expired document within a day. A list inside a list takes two of the
    DEPTH_MAX levels that a value may have. `database` is the full name of Firestore's database.
    """

    def __init__(
        self,
        google: AsyncClient,
        indexes: Iterable[Index],
        clock: Clock,
        metrics: Metrics,
        *,
        max_waiting: int = 10_000,
        copying: bool = False,
    ) -> None:
        self._call_s, self._long_s = (COPY_S, COPY_S) if copying else (CALL_S, LONG_S)
        self.database: str = google._database_string
        self._indexes = frozenset(indexes)
        self._clock = clock
        self._metrics = metrics
        target = _target(google)
        self.calls = Calls(
            target,
            clock,
            metrics,
            max_waiting=max_waiting,
            copy_s=COPY_S if copying else None,
        )
        self._rpc = Rpc(google, self.calls)
        self.writer = GroupCommit(
            self._rpc.commit,
            self._rpc.stored,
            clock,
            metrics,
            target=target,
            timeout_s=self._call_s,
            max_waiting=max_waiting,
        )

    async def close(self) -> None:
        """Store every accepted write and disconnect; later calls raise StoreUnavailable."""
        await self.writer.close()
        self.calls.close()
        await self._rpc.close()

    async def get(self, collection: str, doc_id: str) -> Document | None:
        return (await self.get_many(collection, (doc_id,))).get(doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        check_collection(collection)
        if len(doc_ids) > BATCH_MAX:
            raise ValueError(f"At most {BATCH_MAX} ids, not {len(doc_ids)}")
        keys = {(collection, doc_id) for doc_id in doc_ids if is_id(doc_id)}
        found = await self._rpc.documents(keys, self._deadline(self._call_s))
        return {document.id: document for document in found}

    async def write(self, writes: Sequence[Write]) -> list[str]:
        if not 1 <= len(writes) <= BATCH_MAX:
            raise ValueError(f"A batch is 1 to {BATCH_MAX} writes, not {len(writes)}")
        began = self._clock.monotonic()
        batch = FoldedBatch(writes)
        try:
            return await self.writer.run(batch)
        finally:
            self._metrics.store_seconds.observe(self._clock.monotonic() - began)

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        check_query(query, self._indexes)
        check_limit(limit)
        position = None if cursor is None else decode_cursor(query, cursor)
        asked = queries.page(query, limit + 1, position, self._rpc.root)
        deadline = await self._long() if limit > LONG_PAGE else self._deadline(self._call_s)
        found = await self._rpc.query(asked, deadline, self._long_s)
        if len(found) <= limit:
            return Page(found, None)
        return Page(found[:limit], encode_cursor(query, found[limit - 1]))

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        check_query(query, self._indexes)
        if field is not None:
            check_figures(query, field, self._indexes)
        deadline = await self._long()
        if field is None:
            return Aggregate(int(await self._rpc.aggregation(queries.count(query), deadline) or 0))
        count, average, minimum, maximum = await asyncio.gather(
            self._rpc.aggregation(queries.count(query), deadline),
            self._rpc.aggregation(queries.average(query, field), deadline),
            self._extreme(query, field, "asc", deadline),
            self._extreme(query, field, "desc", deadline),
        )
        return Aggregate(int(count or 0), average, minimum, maximum)

    async def ping(self) -> None:
        deadline = self._deadline(self._call_s)
        await self._answers(deadline)
        # An empty commit writes nothing, and Firestore refuses it if it would refuse a write.
        await self._rpc.commit([], deadline)

    async def time_ms(self) -> float:
        """Firestore's time in Unix milliseconds. Raises StoreUnavailable."""
        return await self._rpc.time_ms(self._deadline(self._call_s))

    async def _answers(self, deadline: float) -> None:
        await self._rpc.documents([("health", "ping")], deadline)

    async def _long(self) -> float:
        """The deadline of a long call; a small read first checks that Firestore answers at all."""
        await self._answers(self._deadline(self._call_s))
        return self._deadline(self._long_s)

    def _deadline(self, seconds: float) -> float:
        return self._clock.monotonic() + seconds

    async def _extreme(
        self, query: Query, field: str, direction: Direction, deadline: float
    ) -> float | None:
        asked = queries.extreme(query, field, direction)
        found = await self._rpc.query(asked, deadline, self._long_s)
        return float(found[0].fields[field]) if found else None


def _target(google: AsyncClient) -> str:
    """The name of this Firestore for messages, with the remedy for an emulator that is down."""
    emulator = google._emulator_host
    if emulator:
        return f"The Firestore emulator at {emulator} (scripts/setup_emulators.sh starts one)"
    return f"Firestore's {google._database_string}"
