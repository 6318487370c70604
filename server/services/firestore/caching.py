"""CachingClient: a DocumentClient that drops copies of what is written through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.clock import Clock
from server.metrics import Metrics
from server.neighbours import Neighbours
from server.services.firestore.base import (
    Aggregate,
    Delete,
    Document,
    DocumentClient,
    Page,
    Query,
    Write,
)
from server.services.firestore.copies import LIFE_S, Copies, Key, shared_key
from server.services.firestore.recent import RecentReadings
from server.services.firestore.telemetry_store import COLLECTION as TELEMETRY

TOPIC = "document"


class CachingClient(DocumentClient):
    """`client`, and beside it what stores may read instead: `copies` of its documents in
    `collections`, and `recent` readings if telemetry is one of these.

    What is written through it is dropped from every process's copies. Its own process reads no
    older copy once the write returned; others see the change when they hear of it, a moment later,
    and after LIFE_S in any case.
    """

    def __init__(
        self,
        client: DocumentClient,
        collections: Iterable[str],
        neighbours: Neighbours,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._neighbours = neighbours
        collections = set(collections)
        self._collections = LIFE_S.keys() & collections
        self.recent: RecentReadings | None = None
        if TELEMETRY in collections:
            self.recent = RecentReadings(neighbours, clock, metrics)
        self.copies = Copies(client, self._collections, neighbours.cache, clock, metrics)
        neighbours.notices.listen(TOPIC, self._hear)

    async def get(self, collection: str, doc_id: str) -> Document | None:
        return await self._client.get(collection, doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        return await self._client.get_many(collection, doc_ids)

    async def write(self, writes: Sequence[Write]) -> list[str]:
        keys = [(one.collection, one.id) for one in writes if one.collection in self._collections]
        try:
            return await self._client.write(writes)
        finally:
            # Also if it failed: it may have taken effect, or an old copy may be why it failed.
            if keys:
                await self._forget(keys)
            if self.recent is not None:
                for tenant_id in _tenants(writes):
                    self.recent.stored(tenant_id)

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        return await self._client.query(query, limit, cursor)

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        return await self._client.aggregate(query, field)

    async def ping(self) -> None:
        await self._client.ping()

    async def _forget(self, keys: Sequence[Key]) -> None:
        # First what all share: from there the old copies would be read again.
        if self._neighbours.cache is not None:
            await self._neighbours.cache.forget([shared_key(key) for key in keys])
        self.copies.forget(keys)
        for key in keys:
            self._neighbours.notices.tell(TOPIC, "/".join(key))

    def _hear(self, name: str) -> None:
        collection, _, doc_id = name.partition("/")
        self.copies.forget([(collection, doc_id)])


def _tenants(writes: Sequence[Write]) -> set[str]:
    """Those whose readings these writes add to."""
    return {
        one.fields["tenant_id"]
        for one in writes
        if one.collection == TELEMETRY and not isinstance(one, Delete)
        if "tenant_id" in one.fields
    }
