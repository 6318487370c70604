"""TenantDocuments: finds, counts and deletes the documents of one tenant in any collection."""

from __future__ import annotations

from collections.abc import AsyncIterator

from server.services.ports.documents import Delete, DocumentClient, Filter, Query

# A commit this small ends in time even on a slow store.
DELETED_AT_ONCE = 100


class TenantDocuments:
    """The documents on a `DocumentClient` whose field `tenant_id` names their tenant."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client

    async def tenant_ids(self, collection: str) -> list[str]:
        """Every tenant that has a document there, in order; one small query for each of them."""
        found = [""]
        while True:
            after = Filter("tenant_id", ">", found[-1])
            query = Query(collection, (after,), order_by="tenant_id")
            page = await self._client.query(query, 1)
            if not page.documents:
                return found[1:]
            found.append(page.documents[0].fields["tenant_id"])

    async def count_of(self, collection: str, tenant_id: str) -> int:
        """The number of the tenant's documents there."""
        return (await self._client.aggregate(_of(collection, tenant_id))).count

    async def delete_of(self, collection: str, tenant_id: str) -> AsyncIterator[int]:
        """Delete the tenant's documents there; yield how many at each step."""
        cursor: str | None = None
        while True:
            query = _of(collection, tenant_id)
            page = await self._client.query(query, DELETED_AT_ONCE, cursor)
            if page.documents:
                await self._client.write([Delete(collection, one.id) for one in page.documents])
                yield len(page.documents)
            cursor = page.next_cursor
            if cursor is None:
                return


def _of(collection: str, tenant_id: str) -> Query:
    return Query(collection, (Filter("tenant_id", "==", tenant_id),))
