"""DocumentCache: copies of documents, in this process and in the cache that processes share."""

from __future__ import annotations

import itertools
import logging
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar

import msgspec

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.documents import Document, DocumentKey, Reads
from server.services.ports.indexes import EXPIRY
from server.services.site.ports import SharedCache

# The longest time in seconds that a copy is used. Even if a notice is lost, permissions are checked
# on copies younger than this: a stream must end within 5 s of its session and is checked every 2 s,
# and a revoked key within 5 s. A device is only read to see whether it needs a key.
LIFE_S: Mapping[str, float] = {
    "sessions": 2.0,
    "api_tokens": 2.0,
    "users": 2.0,
    "login_attempts": 2.0,
    "devices": 30.0,
    "device_keys": 4.0,
    "zone_settings": 10.0,
}
# In these collections, the absence of a document is cached too: most accounts have no failed
# log-ins, most devices no key and many zones no name. The absence of a session is not: it may start
# the next moment.
ABSENT = {"login_attempts", "devices", "zone_settings"}
# Copies have these values instead: the password check reads the account from the store.
HIDDEN: Mapping[str, Mapping[str, Any]] = {"users": {"password_hash": "", "password_history": []}}
# Copies expire at different times, so that they are not all read again at once.
JITTER = 0.25
COPIES_MAX = 20_000

T = TypeVar("T")

log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Held(msgspec.Struct, array_like=True):
    """A document as it is stored in the shared cache; None: it was missing."""

    document: Document | None


_decoder = msgspec.json.Decoder(Held)


class Copy(NamedTuple):
    """A document as it was read (None: it was missing), and its time of expiry (monotonic)."""

    document: Document | None
    until: float


class DocumentCache(Reads):
    """`Reads` from this process's copies, then from the shared cache, then from the store."""

    def __init__(
        self,
        client: Reads,
        collections: AbstractSet[str],
        shared: SharedCache | None,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._collections = collections
        self._shared = shared
        self._clock = clock
        self._metrics = metrics
        self._copies: OrderedDict[DocumentKey, Copy] = OrderedDict()
        # For each read that is under way, the keys that `forget` dropped since it began.
        self._under_way: dict[int, set[DocumentKey]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """The number of copies in this process."""
        return len(self._copies)

    async def get(self, collection: str, doc_id: str) -> Document | None:
        return (await self.get_many(collection, [doc_id])).get(doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        if collection not in self._collections:
            return await self._client.get_many(collection, doc_ids)
        now = self._clock.monotonic()
        known = {doc_id: self._copies.get((collection, doc_id)) for doc_id in doc_ids}
        found = {
            doc_id: copy.document for doc_id, copy in known.items() if copy and now < copy.until
        }
        self._count(collection, "process", len(found))
        missing = [doc_id for doc_id in known if doc_id not in found]
        if missing:
            found |= await self._read(collection, missing)
        return {doc_id: document for doc_id, document in found.items() if document is not None}

    def forget(self, keys: Sequence[DocumentKey]) -> None:
        """Drop these copies, also those that a read under way would add."""
        for key in keys:
            self._copies.pop(key, None)
        for forgotten in self._under_way.values():
            forgotten.update(keys)

    async def _read(self, collection: str, doc_ids: list[str]) -> dict[str, Document | None]:
        number, forgotten = next(self._numbers), set[DocumentKey]()
        self._under_way[number] = forgotten
        try:
            shared = await self._read_shared(collection, doc_ids)
            rest = [doc_id for doc_id in doc_ids if doc_id not in shared]
            began = self._clock.monotonic()
            stored = await self._client.get_many(collection, rest) if rest else {}
        finally:
            del self._under_way[number]
        self._count(collection, "store", len(rest))
        for doc_id, copy in shared.items():
            self._keep((collection, doc_id), copy, forgotten)
        fresh = {doc_id: _without_secrets(collection, stored.get(doc_id)) for doc_id in rest}
        for doc_id, document in fresh.items():
            # The answer of a slow store may be as old as the request, so its life begins there.
            until = began + self._life_s(collection, document)
            rest_s = until - self._clock.monotonic()
            if rest_s <= 0:
                continue
            key = (collection, doc_id)
            self._keep(key, Copy(document, until), forgotten)
            if self._shared is not None:
                milliseconds = int(rest_s * 1000)
                self._shared.keep(shared_key(key), _encoder.encode(Held(document)), milliseconds)
        return {doc_id: copy.document for doc_id, copy in shared.items()} | fresh

    async def _read_shared(self, collection: str, doc_ids: list[str]) -> dict[str, Copy]:
        if self._shared is None:
            return {}
        values = await self._shared.read([shared_key((collection, one)) for one in doc_ids])
        now = self._clock.monotonic()
        found = {}
        for doc_id, (value, milliseconds) in zip(doc_ids, values, strict=True):
            if not value or milliseconds > LIFE_S[collection] * 1000:
                continue  # missing, or valid for too long, because Redis' clock was set back
            held = decoded(_decoder, value)
            if held is not None:
                found[doc_id] = Copy(held.document, now + milliseconds / 1000)
        self._count(collection, "shared", len(found))
        return found

    def _life_s(self, collection: str, document: Document | None) -> float:
        life_s = LIFE_S[collection] * random.uniform(1 - JITTER, 1)  # noqa: S311 - no secret
        expire_at = document.fields.get(EXPIRY) if document else None
        if isinstance(expire_at, int):
            rest_s = (expire_at - self._clock.now_ms()) / 1000
            if rest_s > 0:
                return min(life_s, rest_s)
            document = None  # expired: treated as deleted
        return life_s if document is not None or collection in ABSENT else 0.0

    def _keep(self, key: DocumentKey, copy: Copy, forgotten: AbstractSet[DocumentKey]) -> None:
        if key in forgotten:
            return
        if len(self._copies) >= COPIES_MAX:
            self._copies.popitem(last=False)
        self._copies[key] = copy

    def _count(self, collection: str, source: str, number: int) -> None:
        if number:
            self._metrics.cache_reads.labels(collection=collection, source=source).inc(number)


def shared_key(key: DocumentKey) -> str:
    """The key of a document in the shared cache."""
    return "/".join(key)


def _without_secrets(collection: str, document: Document | None) -> Document | None:
    hidden = HIDDEN.get(collection)
    if document is None or hidden is None:
        return document
    fields = {name: hidden.get(name, value) for name, value in document.fields.items()}
    return msgspec.structs.replace(document, fields=fields)


def decoded(decoder: msgspec.json.Decoder[T], value: bytes) -> T | None:
    """Decode a value of the shared cache; None if another version of the server wrote it."""
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning(
            "a cached document in Redis was written by another version of this server and is "
            "ignored: %s",
            error,
        )
        return None
