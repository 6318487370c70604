"""What a refused request must not change: all documents but audit entries, and the readings."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from bas_server import Container
from server.services.firestore.device_keys_store import KEYS
from server.services.firestore.routing import AUDIT, COLLECTIONS
from server.services.ports.documents import PAGE_MAX, Document, Query
from server.services.sqlite.client import SqliteClient

DOCUMENTS = tuple(name for name in COLLECTIONS if name not in {"telemetry", *AUDIT})
TENANTS = ("default", "elsewhere")

Kept = tuple[list[int], dict[tuple[str, str], str]]


# What was read last, with the number of commits before that.
Read = dict[tuple[str, ...], tuple[int, Kept]]
_read_last: WeakKeyDictionary[SqliteClient, Read] = WeakKeyDictionary()


async def kept(container: Container, *but: str) -> Kept:
    """The number of each tenant's readings, and the version of every document, but in these
    collections.

    Where SQLite has committed nothing since, it is what it was: a refused request costs no read.
    """
    client = container.base.client
    if not isinstance(client, SqliteClient):
        return await _read(container, but)
    # The count is taken before the read: a commit during it makes the next call read again.
    commits, known = client.writer.commits, _read_last.setdefault(client, {})
    if but not in known or known[but][0] != commits:
        known[but] = commits, await _read(container, but)
    return known[but][1]


async def _read(container: Container, but: tuple[str, ...]) -> Kept:
    client, telemetry = container.base.client, container.base.stores.telemetry
    pages = {
        name: await client.query(Query(name), PAGE_MAX) for name in DOCUMENTS if name not in but
    }
    readings = [len(await telemetry.query_recent(one, None, PAGE_MAX)) for one in TENANTS]
    versions = {
        (name, item.id): _version(name, item)
        for name, page in pages.items()
        for item in page.documents
    }
    return readings, versions


def _version(collection: str, document: Document) -> str:
    """The version; that of a key also changes a moment after its use, which is noted later."""
    if collection != KEYS:
        return document.version
    return repr(sorted(document.fields.items() - {("used_ms", document.fields["used_ms"])}))
