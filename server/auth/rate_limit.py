"""AttemptLimiter: failed log-ins counted in the store, by account and by address."""

from __future__ import annotations

import hashlib

import msgspec

from server.clock import Clock
from server.errors import RateLimited
from server.services.firestore.base import (
    AlreadyExists,
    Create,
    Delete,
    DocumentClient,
    Put,
    VersionConflict,
    document_id,
)

COLLECTION = "login_attempts"
CONFLICTS_MAX = 20


class Attempts(msgspec.Struct, frozen=True):
    """Failed attempts since `since_ms`; none is allowed before `locked_until_ms`."""

    count: int
    since_ms: int
    locked_until_ms: int
    expire_at: int


class AttemptLimiter:
    """At most `limit` failures in `window_s`, then no attempt at all for `lock_s`.

    One limiter counts one kind of thing.
    """

    def __init__(
        self,
        client: DocumentClient,
        clock: Clock,
        kind: str,
        *,
        limit: int,
        window_s: int,
        lock_s: int,
    ) -> None:
        self._client = client
        self._clock = clock
        self._kind = kind
        self._limit = limit
        self._window_ms = window_s * 1000
        self._lock_ms = lock_s * 1000

    async def wait_ms(self, name: str) -> int:
        """Milliseconds until an attempt is allowed; 0: now."""
        return (await self.locked([name])).get(name, 0)

    async def locked(self, names: list[str]) -> dict[str, int]:
        """Those of the names that are locked now, and for how many milliseconds more."""
        ids = {self._id(name): name for name in names}
        found = await self._client.get_many(COLLECTION, list(ids))
        now = self._clock.now_ms()
        return {
            ids[doc_id]: document.fields["locked_until_ms"] - now
            for doc_id, document in found.items()
            # A longer wait than a lock's means that the clock was set back: the lock is over.
            if now < document.fields["locked_until_ms"] <= now + self._lock_ms
        }

    async def fail(self, name: str) -> bool:
        """Count a failure; True if that was the last one and the name is locked now."""
        doc_id = self._id(name)
        for _ in range(CONFLICTS_MAX):
            before, version = await self._read(name)
            now = self._clock.now_ms()
            count = before.count + 1
            locks = count >= self._limit and before.locked_until_ms <= now
            locked_until_ms = now + self._lock_ms if locks else before.locked_until_ms
            after = self._attempts(count, before.since_ms, locked_until_ms)
            fields = msgspec.to_builtins(after)
            write: Create | Put = (
                Create(COLLECTION, doc_id, fields)
                if version is None
                else Put(COLLECTION, doc_id, fields, if_version=version)
            )
            try:
                await self._client.write([write])
            except (AlreadyExists, VersionConflict):
                continue  # another failure was counted meanwhile
            return locks
        raise RateLimited(1)

    async def clear(self, name: str) -> None:
        """Forget every failure of this name."""
        await self._client.write([Delete(COLLECTION, self._id(name))])

    def _attempts(self, count: int, since_ms: int, locked_until_ms: int = 0) -> Attempts:
        expire_at = max(since_ms + self._window_ms, locked_until_ms)
        return Attempts(count, since_ms, locked_until_ms, expire_at)

    async def _read(self, name: str) -> tuple[Attempts, str | None]:
        """The attempts that count now, and the version of their document."""
        now = self._clock.now_ms()
        document = await self._client.get(COLLECTION, self._id(name))
        if document is None:
            return self._attempts(0, now), None
        attempts = msgspec.convert(document.fields, Attempts)
        longest_ms = max(self._window_ms, self._lock_ms)
        if not now < attempts.expire_at <= now + longest_ms:
            attempts = self._attempts(0, now)
        return attempts, document.version

    def _id(self, name: str) -> str:
        # A digest, since a name that somebody tried may be any text.
        return document_id(self._kind, hashlib.sha256(name.encode()).hexdigest())


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up: after them it is over."""
    return -(-milliseconds // 1000)
