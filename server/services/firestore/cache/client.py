"""CachingClient: passes calls to a DocumentClient, and drops written documents from the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.cache.documents import LIFE_S, DocumentCache, shared_key
from server.services.firestore.cache.recent_readings import RecentReadings
from server.services.firestore.document_history import COLLECTION as TELEMETRY
from server.services.ports.documents import (
    Aggregate,
    Delete,
    Document,
    DocumentClient,
    DocumentKey,
    Page,
    Query,
    Write,
    plain,
)
from server.services.site.ports import SharedSite

TOPIC = "document"


class CachingClient(DocumentClient):
    """`client` with two caches that stores may read instead.

    `copies` caches its documents in `collections`, and `recent` its newest readings if telemetry is
    one of these. A document that is written here is dropped from every process's cache. After the
    write, this process reads no older copy. Other processes see the change when they get the
    notice, a moment later, and after LIFE_S in any case.
    """

    def __init__(
        self,
        client: DocumentClient,
        collections: Iterable[str],
        site: SharedSite,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._site = site
        collections = set(collections)
        self._collections = LIFE_S.keys() & collections
        self.recent: RecentReadings | None = None
        if TELEMETRY in collections:
            self.recent = RecentReadings(site, clock, metrics)
        self.copies = DocumentCache(client, self._collections, site.cache, clock, metrics)
        site.notices.listen(TOPIC, self._on_notice)

    async def get(self, collection: str, doc_id: str) -> Document | None:
        return await self._client.get(collection, doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        return await self._client.get_many(collection, doc_ids)

    async def write(self, writes: Sequence[Write]) -> list[str]:
        keys = [(one.collection, one.id) for one in writes if one.collection in self._collections]
        try:
            return await self._client.write(writes)
        finally:
            # Also after a failure: the write may have taken effect, or an old copy was the cause.
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

    async def _forget(self, keys: Sequence[DocumentKey]) -> None:
        # The shared cache first: this process would read the old documents from there again.
        if self._site.cache is not None:
            await self._site.cache.forget([shared_key(key) for key in keys])
        self.copies.forget(keys)
        for key in keys:
            self._site.notices.publish(TOPIC, "/".join(key))

    def _on_notice(self, name: str) -> None:
        collection, _, doc_id = name.partition("/")
        self.copies.forget([(collection, doc_id)])


def _tenants(writes: Sequence[Write]) -> set[str]:
    """The tenants for which these writes store readings."""
    added = (one for one in writes if one.collection == TELEMETRY and not isinstance(one, Delete))
    found = (plain(one.fields).get("tenant_id") for one in added)
    return {tenant_id for tenant_id in found if tenant_id is not None}
