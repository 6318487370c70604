"""AttemptLimiter: failed log-ins counted in the store, by account and by address."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from server.clock import Clock
from server.errors import RateLimited
from server.services.firestore.base import (
    AlreadyExists,
    Create,
    DocumentClient,
    Put,
    Reads,
    VersionConflict,
    document_id,
)

COLLECTION = "login_attempts"
CONFLICTS_MAX = 20


class Attempts(msgspec.Struct, frozen=True):
    """Failed attempts since `since_ms`; none is allowed before `locked_until_ms`.

    `lock_s` is how long a lock was set for by hand; 0: as long as the limiter locks.
    """

    count: int
    since_ms: int
    locked_until_ms: int
    expire_at: int
    lock_s: int = 0


class Standing(NamedTuple):
    """How a name stands: milliseconds until an attempt is allowed (0: now), and the version of
    what is counted; None: nothing is."""

    wait_ms: int
    version: str | None


class Failure(NamedTuple):
    """What became of a failure: refused for `wait_ms` more, or counted, as the one that `locks`."""

    wait_ms: int
    locks: bool


class AttemptLimiter:
    """At most `limit` failures in `window_s`, then no attempt at all for `lock_s`.

    One limiter counts one kind of thing.
    """

    def __init__(
        self,
        client: DocumentClient,
        reads: Reads,
        clock: Clock,
        kind: str,
        *,
        limit: int,
        window_s: int,
        lock_s: int,
    ) -> None:
        self._client = client
        self._reads = reads
        self._clock = clock
        self._kind = kind
        self._limit = limit
        self._window_ms = window_s * 1000
        self._lock_ms = lock_s * 1000

    async def standing(self, name: str) -> Standing:
        """Whether this name may try now, and what of it is counted."""
        document = await self._client.get(COLLECTION, self._id(name))
        if document is None:
            return Standing(0, None)
        attempts = msgspec.convert(document.fields, Attempts)
        return Standing(self._wait_ms(attempts, self._clock.now_ms()), document.version)

    async def locked(self, names: list[str]) -> dict[str, int]:
        """Those of the names that are locked, or were a moment ago, and for how many milliseconds
        more."""
        ids = {self._id(name): name for name in names}
        found = await self._reads.get_many(COLLECTION, list(ids))
        now = self._clock.now_ms()
        waits = {
            ids[doc_id]: self._wait_ms(msgspec.convert(document.fields, Attempts), now)
            for doc_id, document in found.items()
        }
        return {name: wait_ms for name, wait_ms in waits.items() if wait_ms}

    async def fail(self, name: str) -> Failure:
        """Count a failure, unless the name is locked already: then `wait_ms` is not 0.

        Raises RateLimited when too many processes count failures of this name at once.
        """
        for _ in range(CONFLICTS_MAX):
            before, version = await self._read(name)
            now = self._clock.now_ms()
            if wait_ms := self._wait_ms(before, now):
                return Failure(wait_ms, locks=False)
            count = before.count + 1
            locks = count >= self._limit
            after = self._attempts(count, before.since_ms, now + self._lock_ms if locks else 0)
            try:
                await self._client.write([self._write(name, after, version)])
            except (AlreadyExists, VersionConflict):
                continue  # another failure was counted meanwhile
            return Failure(0, locks)
        raise RateLimited(1)

    def forgetting(self, name: str, standing: Standing) -> Create | Put:
        """The write that forgets every failure of this name, if none was counted since `standing`:
        AlreadyExists or VersionConflict otherwise."""
        now = self._clock.now_ms()
        return self._write(name, Attempts(0, now, 0, expire_at=now), standing.version)

    async def counted(self, name: str) -> Attempts:
        """The attempts of this name that count now."""
        return (await self._read(name))[0]

    async def setting(
        self, name: str, count: int | None, locked_until_ms: int | None
    ) -> Create | Put:
        """The write that sets the count, the lock, or both, by hand; a count of 0 alone ends the
        lock too. AlreadyExists or VersionConflict if a failure was counted since.
        """
        before, version = await self._read(name)
        now = self._clock.now_ms()
        until = locked_until_ms
        if until is None:
            until = 0 if count == 0 else before.locked_until_ms
        since = before.since_ms if before.count else now
        after = self._attempts(before.count if count is None else count, since, until)
        lock_s = before.lock_s if locked_until_ms is None else seconds(max(0, until - now))
        return self._write(name, msgspec.structs.replace(after, lock_s=lock_s), version)

    def _write(self, name: str, attempts: Attempts, version: str | None) -> Create | Put:
        fields = msgspec.to_builtins(attempts)
        if version is None:
            return Create(COLLECTION, self._id(name), fields)
        return Put(COLLECTION, self._id(name), fields, if_version=version)

    def _wait_ms(self, attempts: Attempts, now: int) -> int:
        # A longer wait than a lock's means that the clock was set back: the lock is over.
        longest_ms = max(self._lock_ms, attempts.lock_s * 1000)
        until = attempts.locked_until_ms
        return until - now if now < until <= now + longest_ms else 0

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
        longest_ms = max(self._window_ms, self._lock_ms, attempts.lock_s * 1000)
        if not now < attempts.expire_at <= now + longest_ms:
            attempts = self._attempts(0, now)
        return attempts, document.version

    def _id(self, name: str) -> str:
        # A digest, since a name that somebody tried may be any text.
        return document_id(self._kind, hashlib.sha256(name.encode()).hexdigest())


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up: after them it is over."""
    return -(-milliseconds // 1000)
