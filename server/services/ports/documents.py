"""DocumentClient: the port that every store uses to keep documents, with its queries and errors.

A document is a flat or nested mapping of JSON values (str, int, float, bool, None, list, dict).
Times are integers, Unix milliseconds. A field named `expire_at` is the time after which retention
may delete the document; queries may return it until it is deleted, so readers filter on the field
too. It is a whole number and cannot be averaged, because Firestore stores it as a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from server.common.errors import Conflict, Unavailable

DocumentKey = tuple[str, str]
"""A document's collection and id."""
Fields = dict[str, Any]
Op = Literal["==", "<", "<=", ">", ">="]
Direction = Literal["asc", "desc"]

BATCH_MAX = 500
PAGE_MAX = 10_000


class StoreUnavailable(Unavailable):
    """The store did not answer in time, is full or is broken; a write may have taken effect."""

    error = "Store unavailable"
    code = "STORE_UNAVAILABLE"


class DatabaseDamaged(StoreUnavailable):
    """A part of the database file cannot be read; the other parts work."""


class StoreBusy(StoreUnavailable):
    """The store works, but too many calls wait for it: this call did not start."""


class AlreadyExists(Conflict):
    """A `Create` found an existing document. Nothing of its batch was written."""

    code = "ALREADY_EXISTS"

    def __init__(self, collection: str, doc_id: str) -> None:
        super().__init__("Already exists", message=f"{collection}/{doc_id}")
        self.collection, self.doc_id = collection, doc_id


class VersionConflict(Conflict):
    """A document did not have the version that a write requires. Its batch was not written."""

    code = "VERSION_CONFLICT"

    def __init__(self, collection: str, doc_id: str) -> None:
        super().__init__("Changed by another writer", message=f"{collection}/{doc_id}")
        self.collection, self.doc_id = collection, doc_id


class DemandUnmet(Conflict):
    """A document had the field that a write demands to be empty. Its batch was not written."""

    code = "DEMAND_UNMET"

    def __init__(self, collection: str, doc_id: str) -> None:
        super().__init__("Another document forbids it", message=f"{collection}/{doc_id}")
        self.collection, self.doc_id = collection, doc_id


class MissingIndex(Exception):
    """A query that Firestore would refuse: declare its index in infra/firestore.indexes.json."""


class Document(msgspec.Struct, frozen=True):
    """A stored document. `version` is opaque and changes with every write of the document.

    Documents that were written together may have the same version.
    """

    id: str
    version: str
    fields: Fields


class Create(msgspec.Struct, frozen=True, gc=False):
    """Write a new document; AlreadyExists if its id is taken."""

    collection: str
    id: str
    fields: Fields | msgspec.Struct
    """The document's fields, or a model. The store does not check a model: each of its values must
    have its type and be one that may be stored."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write a whole document, new or not; its fields are as in `Create`.

    With `if_version`, replace only that version.
    """

    collection: str
    id: str
    fields: Fields | msgspec.Struct
    if_version: str | None = None


class Update(msgspec.Struct, frozen=True):
    """Set these top-level fields of an existing document; VersionConflict if it is missing."""

    collection: str
    id: str
    fields: Fields
    if_version: str | None = None


class Delete(msgspec.Struct, frozen=True):
    """Delete a document; no error if it is missing. With `if_version`, delete only that version."""

    collection: str
    id: str
    if_version: str | None = None


Write = Create | Put | Update | Delete


class EmptyFields(NamedTuple):
    """What a write may demand: that a document, or each of these fields in it, is missing or empty.

    Null, an empty text and false are empty.
    """

    collection: str
    id: str
    fields: tuple[str, ...]


class Filter(msgspec.Struct, frozen=True):
    """`field op value`; a missing field or a value of another type never matches."""

    field: str
    op: Op
    value: str | int | float | bool


class Query(msgspec.Struct, frozen=True):
    """A query over one collection.

    `order_by` names at most one field. Documents with equal values are ordered by id, in the same
    direction; without `order_by`, all are ordered by id, ascending. Range filters are allowed on
    the `order_by` field only.
    """

    collection: str
    filters: tuple[Filter, ...] = ()
    order_by: str | None = None
    direction: Direction = "asc"


class Page(msgspec.Struct, frozen=True):
    """One page of a query. `next_cursor` is the start of the next page; None after the last."""

    documents: list[Document]
    next_cursor: str | None


class Aggregate(msgspec.Struct, frozen=True):
    """Figures over all documents of a query; all but `count` are None if no value matched."""

    count: int
    average: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class DocumentClient(Protocol):
    """Named collections of documents.

    Promises: a write that returned is on disk (or with the quorum), and every later read sees it. A
    batch is written whole or not at all. Equal values are ordered by id. A page cursor stays valid
    when documents are inserted or deleted. Every call ends within a few seconds, if need be with
    StoreUnavailable.

    Ids and values that Firestore would refuse are a ValueError when written, and are not found when
    read; so is a document over 1 MiB, on Firestore only. Fields that a query or an Update names
    match `[a-z_][a-z0-9_]*`, collections match `[a-z_]+`; neither starts with two underscores.
    """

    async def get(self, collection: str, doc_id: str) -> Document | None:
        """The document, or None."""

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        """The documents that exist among these (at most BATCH_MAX ids), by id."""

    async def write(self, writes: Sequence[Write]) -> list[str]:
        """Apply 1 to BATCH_MAX writes atomically; return each one's new version, "" for a Delete.

        Raises AlreadyExists or VersionConflict for the first write that cannot be applied.
        """

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        """At most `limit` (1 to PAGE_MAX) documents, after the `cursor` of a page if given.

        Raises Invalid for a malformed cursor, MissingIndex for a query without its index.
        """

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        """Count the query's documents; with `field`, also its average, minimum and maximum.

        ValueError for a field that cannot be averaged, MissingIndex as for a query. A concurrent
        write may be in some of the figures and not in others.
        """

    async def ping(self) -> None:
        """Check that the store answers a read and can take a write. Raises StoreUnavailable."""


class Reads(Protocol):
    """Two reads of `DocumentClient` that may return a cached document (see `DocumentCache`).

    A device key, session or account that is not in the cache is read from the store before a
    request is refused. After a role was raised or a lock ended, requests may be refused until the
    cached document expires.
    """

    async def get(self, collection: str, doc_id: str) -> Document | None: ...

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]: ...


class Retention(Protocol):
    """The port of stores that do not delete expired documents by themselves."""

    async def delete_expired(self, now_ms: int, limit: int) -> int:
        """Delete at most `limit` documents with `expire_at` before `now_ms`; return how many.

        A document that says by which setting of the clock it was dated (`booted_ms` of
        `common/clock.py`) and that has not expired by uptime stays.
        """


def plain(fields: Fields | msgspec.Struct) -> Fields:
    """A document's fields; those of a model are converted to plain values."""
    if isinstance(fields, msgspec.Struct):
        of_model: Fields = msgspec.to_builtins(fields)
        return of_model
    return fields
