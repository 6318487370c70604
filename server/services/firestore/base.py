"""DocumentClient: the port every store is built on, with its queries and its errors.

A document is a flat or nested mapping of JSON values (str, int, float, bool, None, list, dict).
Times are integers, Unix milliseconds. A field named `expire_at` is the time after which retention
may delete the document; a query may still return it until then, so readers filter on it too. It is
a whole number, and has no figures: Firestore keeps it as a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from server.errors import Conflict, Unavailable

Fields = dict[str, Any]
Op = Literal["==", "<", "<=", ">", ">="]
Direction = Literal["asc", "desc"]

BATCH_MAX = 500
_ESCAPED = re.compile("[%_/]")
PAGE_MAX = 10_000


class StoreUnavailable(Unavailable):
    """The store did not answer in time, is full, or broken; a write may have taken effect."""

    error = "Store unavailable"
    code = "STORE_UNAVAILABLE"


class StoreBusy(StoreUnavailable):
    """Too many calls wait for the store, which works: this one was not begun."""


class AlreadyExists(Conflict):
    """A `Create` met an existing document. Nothing of its batch was written."""

    code = "ALREADY_EXISTS"

    def __init__(self, collection: str, doc_id: str) -> None:
        super().__init__("Already exists", message=f"{collection}/{doc_id}")
        self.collection, self.doc_id = collection, doc_id


class VersionConflict(Conflict):
    """A document was not at the version the write demanded. Nothing of its batch was written."""

    code = "VERSION_CONFLICT"

    def __init__(self, collection: str, doc_id: str) -> None:
        super().__init__("Changed meanwhile", message=f"{collection}/{doc_id}")
        self.collection, self.doc_id = collection, doc_id


class MissingIndex(Exception):
    """A query that Firestore would refuse: declare its index in infra/firestore.indexes.json."""


class Document(msgspec.Struct, frozen=True):
    """A stored document. `version` is opaque: it changes with every write of the document.

    It says nothing about other documents: those written together may have the same one.
    """

    id: str
    version: str
    fields: Fields


class Create(msgspec.Struct, frozen=True, gc=False):
    """Write a new document; AlreadyExists if its id is taken.

    `checked` says that the fields are surely values that may be stored, none of them nested.
    """

    collection: str
    id: str
    fields: Fields
    checked: bool = False


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write a whole document, new or not. With `if_version`, only over that version. `checked` as
    in `Create`."""

    collection: str
    id: str
    fields: Fields
    if_version: str | None = None
    checked: bool = False


class Update(msgspec.Struct, frozen=True):
    """Set these top-level fields of an existing document; VersionConflict if it is missing."""

    collection: str
    id: str
    fields: Fields
    if_version: str | None = None


class Delete(msgspec.Struct, frozen=True):
    """Remove a document; no error if it is not there. With `if_version`, only that version."""

    collection: str
    id: str
    if_version: str | None = None


Write = Create | Put | Update | Delete


class Filter(msgspec.Struct, frozen=True):
    """`field op value`; a missing field, or a value of another type, never matches."""

    field: str
    op: Op
    value: str | int | float | bool


class Query(msgspec.Struct, frozen=True):
    """A query over one collection.

    `order_by` names at most one field; ties, and queries without it, are ordered by id, in the same
    direction (ascending without a field). Range filters are on the `order_by` field alone.
    """

    collection: str
    filters: tuple[Filter, ...] = ()
    order_by: str | None = None
    direction: Direction = "asc"


class Page(msgspec.Struct, frozen=True):
    """One page of a query. `next_cursor` continues after its last document; None: no more."""

    documents: list[Document]
    next_cursor: str | None


class Aggregate(msgspec.Struct, frozen=True):
    """Counts over all documents of a query; the three figures are None when nothing matched."""

    count: int
    average: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class DocumentClient(Protocol):
    """Named collections of documents.

    Promises: a write that returned is on disk (or with the quorum) and seen by the next read of any
    caller; a batch is written whole or not at all; ties are broken by id; a page cursor survives
    inserts and deletes. Every call ends within a few seconds: StoreUnavailable when it cannot.
    Ids and values that Firestore would refuse are a ValueError when written, and are not found when
    read; so is a document over 1 MiB, on Firestore only. Fields that a query or an Update names
    match `[a-z_][a-z0-9_]*` and collections `[a-z_]+`, without two underscores in front.
    """

    async def get(self, collection: str, doc_id: str) -> Document | None:
        """The document, or None."""

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        """Those of the documents that exist, by id. At most BATCH_MAX ids."""

    async def write(self, writes: Sequence[Write]) -> list[str]:
        """Apply 1 to BATCH_MAX writes atomically; the new version of each ("" for a Delete).

        Raises AlreadyExists or VersionConflict for the first write that could not be applied.
        """

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        """At most `limit` (1 to PAGE_MAX) documents, after `cursor` (from a Page) if given.

        Raises Invalid for a malformed cursor, MissingIndex for a query without its index.
        """

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        """Count the query's documents; with `field`, its average, minimum and maximum as well.

        ValueError for a field without figures, MissingIndex as for a query. A write meanwhile may
        be in some of the figures and not in others.
        """

    async def ping(self) -> None:
        """Return when the store answers a read and could take a write; else StoreUnavailable."""


class Reads(Protocol):
    """Two reads of `DocumentClient`, of documents that may be a moment old (see `caching`).

    A device key, session or account that they do not have is asked of the store before anyone is
    refused; a role that was raised, or a lock that ended, may be refused for as long as a copy
    lives.
    """

    async def get(self, collection: str, doc_id: str) -> Document | None: ...

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]: ...


class Retention(Protocol):
    """A second, small port for stores that do not delete expired documents by themselves."""

    async def delete_expired(self, now_ms: int, limit: int) -> int:
        """Delete at most `limit` documents whose `expire_at` is before `now_ms`; how many went."""


def document_id(*parts: str) -> str:
    """One unambiguous id made of parts: joined by `_`, which is escaped inside a part.

    >>> document_id("a_b", "c") == document_id("a", "b_c")
    False
    """
    if not _ESCAPED.search("".join(parts)):
        return "_".join(parts)
    return "_".join(map(escaped, parts))


def escaped(part: str) -> str:
    """A part as it stands in a `document_id`."""
    if "%" in part or "_" in part or "/" in part:
        return part.replace("%", "%25").replace("_", "%5F").replace("/", "%2F")
    return part


def in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids, as many at a time as one call may name."""
    return (ids[start : start + BATCH_MAX] for start in range(0, len(ids), BATCH_MAX))


def required_index(query: Query) -> tuple[tuple[str, ...], tuple[str, Direction]] | None:
    """The composite index Firestore needs for a query: its equality fields (sorted), its order.

    None when single-field indexes do.
    Source: https://firebase.google.com/docs/firestore/query-data/index-overview
    """
    equal = tuple(sorted({f.field for f in query.filters if f.op == "=="}))
    if not equal or query.order_by is None:
        return None
    return equal, (query.order_by, query.direction)
