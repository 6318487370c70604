"""What a refused request must not change: all documents but audit entries, and the readings."""

from __future__ import annotations

from bas_server import Container
from server.services.firestore.routing import AUDIT, COLLECTIONS
from server.services.ports.documents import PAGE_MAX, Query

DOCUMENTS = tuple(name for name in COLLECTIONS if name not in {"telemetry", *AUDIT})
TENANTS = ("default", "elsewhere")

Kept = tuple[list[int], dict[tuple[str, str], str]]


async def kept(container: Container, *but: str) -> Kept:
    """The number of each tenant's readings, and the version of every document, but in these
    collections."""
    client, telemetry = container.base.client, container.base.stores.telemetry
    pages = {
        name: await client.query(Query(name), PAGE_MAX) for name in DOCUMENTS if name not in but
    }
    readings = [len(await telemetry.query_recent(one, None, PAGE_MAX)) for one in TENANTS]
    versions = {
        (name, item.id): item.version for name, page in pages.items() for item in page.documents
    }
    return readings, versions
