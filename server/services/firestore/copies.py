"""Copies: documents in memory that stores may read for a while instead of the store's own."""

from __future__ import annotations

import itertools
import logging
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeVar

import msgspec

from server.clock import Clock
from server.metrics import Metrics
from server.neighbours import SharedCache
from server.services.firestore.base import Document, Reads
from server.services.firestore.indexes import EXPIRY

# Seconds that a copy may be used at most. Who may do what is decided by copies younger than this,
# even if a notice is lost: a stream ends within 5 s of its session, and is looked at every 2 s.
LIFE_S: Mapping[str, float] = {
    "sessions": 2.0,
    "users": 2.0,
    "login_attempts": 2.0,
    "devices": 30.0,
    "device_keys": 30.0,
}
# That a document is not there is remembered too: most accounts have no failures counted, and most
# devices no key. A session that is not there may be opened the next moment.
ABSENT = {"login_attempts", "devices"}
# Kept out of copies: whoever checks a password reads the account itself.
SECRET = {"users": "password_hash"}
# Copies end at different times, so that not all are read anew at once.
JITTER = 0.25
COPIES_MAX = 20_000

Key = tuple[str, str]
T = TypeVar("T")

log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Held(msgspec.Struct, array_like=True):
    """What the processes share of a document; None: it was not there."""

    document: Document | None


_decoder = msgspec.json.Decoder(Held)


class Copy(NamedTuple):
    """A document as it was read, None if it was not there, and until when (monotonic) it counts."""

    document: Document | None
    until: float


class Copies(Reads):
    """`Reads`: first this process's copies, then those that all processes share, then the store."""

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
        self._copies: OrderedDict[Key, Copy] = OrderedDict()
        # For each read that is under way, the keys that were forgotten meanwhile.
        self._under_way: dict[int, set[Key]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many there are."""
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

    def forget(self, keys: Sequence[Key]) -> None:
        """Drop these copies, and those that are being read now."""
        for key in keys:
            self._copies.pop(key, None)
        for forgotten in self._under_way.values():
            forgotten.update(keys)

    async def _read(self, collection: str, doc_ids: list[str]) -> dict[str, Document | None]:
        number, forgotten = next(self._numbers), set[Key]()
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
        fresh = {doc_id: _without_secret(collection, stored.get(doc_id)) for doc_id in rest}
        for doc_id, document in fresh.items():
            # What a slow store answers may be as old as the question.
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
                continue  # none, or one that outlives its life: Redis' clock was set back
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
            document = None  # as good as deleted
        return life_s if document is not None or collection in ABSENT else 0.0

    def _keep(self, key: Key, copy: Copy, forgotten: AbstractSet[Key]) -> None:
        if key in forgotten:
            return
        if len(self._copies) >= COPIES_MAX:
            self._copies.popitem(last=False)
        self._copies[key] = copy

    def _count(self, collection: str, source: str, number: int) -> None:
        if number:
            self._metrics.cache_reads.labels(collection=collection, source=source).inc(number)


def shared_key(key: Key) -> str:
    """What a document's copy is called among all processes."""
    return "/".join(key)


def _without_secret(collection: str, document: Document | None) -> Document | None:
    secret = SECRET.get(collection)
    if document is None or secret is None:
        return document
    return msgspec.structs.replace(document, fields={**document.fields, secret: ""})


def decoded(decoder: msgspec.json.Decoder[T], value: bytes) -> T | None:
    """A shared value; None if it is not one of this version of the server."""
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("a shared copy is not used: %s", error)
        return None
