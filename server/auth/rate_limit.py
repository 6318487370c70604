"""AttemptLimiter: failed log-ins counted in the store, by account and by address."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable

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


_Change = Callable[[Attempts, int], Attempts | None]


class AttemptLimiter:
    """At most `limit` failures in `window_s`, then none at all for `lock_s`.

    An attempt is counted before it is made, so that many at once cannot slip through, and taken
    back when it succeeds. One limiter counts one kind of thing.
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
        self._lock = asyncio.Lock()

    async def wait_ms(self, name: str) -> int:
        """Milliseconds until an attempt is allowed; 0: now."""
        attempts, _ = await self._read(name)
        return self._wait_ms(attempts, self._clock.now_ms())

    async def locked(self, names: list[str]) -> dict[str, int]:
        """Those of the names that are locked now, and for how many milliseconds more."""
        ids = {self._id(name): name for name in names}
        found = await self._client.get_many(COLLECTION, list(ids))
        now = self._clock.now_ms()
        return {
            ids[doc_id]: document.fields["locked_until_ms"] - now
            for doc_id, document in found.items()
            if document.fields["locked_until_ms"] > now
        }

    async def begin(self, name: str) -> int:
        """Count an attempt; milliseconds to wait if it is not allowed, 0 if it is."""

        def count(attempts: Attempts, now: int) -> Attempts | None:
            if self._wait_ms(attempts, now):
                return None
            return self._attempts(attempts.count + 1, attempts.since_ms)

        attempts, done = await self._change(name, count)
        return 0 if done else self._wait_ms(attempts, self._clock.now_ms())

    async def fail(self, name: str) -> bool:
        """The attempt failed; True if that was the last one and the name is locked now."""

        def lock(attempts: Attempts, now: int) -> Attempts | None:
            if attempts.count < self._limit or attempts.locked_until_ms > now:
                return None
            return self._attempts(attempts.count, attempts.since_ms, now + self._lock_ms)

        return (await self._change(name, lock))[1]

    async def forgive(self, name: str) -> None:
        """The attempt succeeded after all: take it back."""

        def uncount(attempts: Attempts, now: int) -> Attempts | None:
            return self._attempts(max(0, attempts.count - 1), attempts.since_ms)

        await self._change(name, uncount)

    async def clear(self, name: str) -> None:
        """Forget every failure of this name."""
        await self._client.write([Delete(COLLECTION, self._id(name))])

    def _wait_ms(self, attempts: Attempts, now: int) -> int:
        if attempts.locked_until_ms > now:
            return attempts.locked_until_ms - now
        if attempts.count >= self._limit:
            return max(0, attempts.since_ms + self._window_ms - now)
        return 0

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
        if attempts.expire_at <= now:
            attempts = self._attempts(0, now)
        return attempts, document.version

    async def _change(self, name: str, change: _Change) -> tuple[Attempts, bool]:
        """Apply `change`, again if someone else was quicker; False if it had nothing to change."""
        doc_id = self._id(name)
        async with self._lock:
            for _ in range(CONFLICTS_MAX):
                before, version = await self._read(name)
                after = change(before, self._clock.now_ms())
                if after is None:
                    return before, False
                fields = msgspec.to_builtins(after)
                write: Create | Put = (
                    Create(COLLECTION, doc_id, fields)
                    if version is None
                    else Put(COLLECTION, doc_id, fields, if_version=version)
                )
                try:
                    await self._client.write([write])
                except (AlreadyExists, VersionConflict):
                    continue
                return after, True
        raise RateLimited(1)

    def _id(self, name: str) -> str:
        # A digest, since a name that somebody tried may be any text.
        return document_id(self._kind, hashlib.sha256(name.encode()).hexdigest())


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up: after them it is over."""
    return -(-milliseconds // 1000)


def address_group(address: str) -> str:
    """What one subscriber has: an IPv4 address, or the first 64 bits of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
