"""Counts failed log-ins by name in the store: when a name must wait, and for how long."""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

import msgspec

from server.common.clock import CLOCKS_APART_MS, Clock, booted_ms, leap_ms
from server.common.errors import RateLimited
from server.common.retries import account_tries
from server.services.firestore.base import document_id
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Document,
    DocumentClient,
    Put,
    Reads,
    VersionConflict,
)

COLLECTION = "login_attempts"


class Attempts(msgspec.Struct, frozen=True):
    """Failed attempts since `since_ms`; none is allowed before `locked_until_ms`.

    `lock_s` is the length of a lock that was set by hand; 0 stands for a lock by failures. `user`
    is the digest of the user's name in a count of one user and address, else empty. The times are
    by the clock as it was set when uptime on the time line `boot` was 0 at `booted_ms`: `leap_ms`
    of `common/clock.py`.
    """

    count: int
    since_ms: int
    locked_until_ms: int
    expire_at: int
    lock_s: int = 0
    user: str = ""
    boot: str = ""
    booted_ms: int = 0


class Standing(NamedTuple):
    """How a name stands: when it may try again, and the version of its count.

    `wait_ms` is 0 if an attempt is allowed now; `by_hand` says that the wait was set by hand.
    `version` is None if nothing is counted.
    """

    wait_ms: int
    version: str | None
    by_hand: bool = False


class Failure(NamedTuple):
    """The result of counting a failure: refused for `wait_ms` more, or counted.

    `failures` is their number with this one; `locked_until_ms` is 0 unless this failure locked the
    name.
    """

    wait_ms: int
    failures: int = 0
    locked_until_ms: int = 0

    @property
    def locks(self) -> bool:
        """Whether this failure locked the name."""
        return self.locked_until_ms > 0


class AttemptLimiter:
    """At most `limit` failures in `window_s`, then no attempt for `lock_s`.

    One limiter counts names of one `kind`. All processes on a store must give it a clock that is
    the same for all of them (`stores_client`). On one machine windows and locks also last by its
    uptime, whatever the clock does; after a reboot the clock decides.
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
        """Whether this name may try now, and the version of its count."""
        document = await self._client.get(COLLECTION, self._id(name))
        if document is None:
            return Standing(0, None)
        attempts = self._attempts_of(document)
        wait_ms = self._wait_ms(attempts, self._clock.now_ms())
        return Standing(wait_ms, document.version, by_hand=wait_ms > 0 and attempts.lock_s > 0)

    async def locked(self, names: list[str], *, by_hand: bool = False) -> dict[str, int]:
        """The names that are locked, or were a moment ago, and for how many milliseconds more.

        With `by_hand`, only those whose lock was set by hand.
        """
        ids = {self._id(name): name for name in names}
        found = await self._reads.get_many(COLLECTION, list(ids))
        now = self._clock.now_ms()
        counts = {ids[doc_id]: self._attempts_of(document) for doc_id, document in found.items()}
        waits = {
            name: self._wait_ms(attempts, now)
            for name, attempts in counts.items()
            if attempts.lock_s or not by_hand
        }
        return {name: wait_ms for name, wait_ms in waits.items() if wait_ms}

    async def fail(self, name: str) -> Failure:
        """Count a failure; if the name is locked already, only return its `wait_ms`.

        Raises RateLimited when too many processes count failures of this name at once.
        """
        for pause_s in account_tries(self._clock):
            before, version = await self._read(name)
            now = self._clock.now_ms()
            if wait_ms := self._wait_ms(before, now):
                return Failure(wait_ms)
            count = before.count + 1
            pause_ms = self._pause_ms(count)
            until = now + pause_ms if pause_ms else 0
            after = self._attempts(count, self._since_ms(before, now), until)
            try:
                await self._client.write([self._write(name, after, version)])
            except (AlreadyExists, VersionConflict):
                await asyncio.sleep(pause_s)  # another failure was counted
                continue
            return Failure(0, count, until)
        raise RateLimited(1)

    def forgetting(self, name: str, standing: Standing) -> Create | Put:
        """The write that clears the count of this name, if it has not changed since `standing`.

        It fails with AlreadyExists or VersionConflict otherwise.
        """
        now = self._clock.now_ms()
        return self._write(name, Attempts(0, now, 0, expire_at=now), standing.version)

    def deletion(self, name: str, standing: Standing | None = None) -> Delete:
        """The write that forgets this name; with `standing`, only if nothing changed since."""
        version = standing.version if standing else None
        return Delete(COLLECTION, self._id(name), if_version=version)

    async def counted(self, name: str) -> Attempts:
        """The attempts of this name that count now."""
        return (await self._read(name))[0]

    async def setting(
        self, name: str, count: int | None, locked_until_ms: int | None
    ) -> Create | Put:
        """The write that sets the count, the lock, or both, by hand.

        A count of 0 alone also ends the lock. It fails with AlreadyExists or VersionConflict if a
        failure was counted since.
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

    def _pause_ms(self, count: int) -> int:
        """How long the name must wait after its failure number `count`."""
        return self._lock_ms if count >= self._limit else 0

    def _since_ms(self, before: Attempts, now: int) -> int:
        """From when on the window of the failures counts, after one more of them."""
        return before.since_ms

    def _write(self, name: str, attempts: Attempts, version: str | None) -> Create | Put:
        dated = {"boot": self._clock.boot, "booted_ms": booted_ms(self._clock)}
        fields = msgspec.to_builtins(attempts) | dated
        if version is None:
            return Create(COLLECTION, self._id(name), fields)
        return Put(COLLECTION, self._id(name), fields, if_version=version)

    def _wait_ms(self, attempts: Attempts, now: int) -> int:
        # A wait longer than a lock means that the clock was set back over a reboot: the lock is
        # over.
        longest_ms = max(self._lock_ms, attempts.lock_s * 1000)
        wait_ms = attempts.locked_until_ms - now
        return min(wait_ms, longest_ms) if 0 < wait_ms <= longest_ms + CLOCKS_APART_MS else 0

    def _attempts(self, count: int, since_ms: int, locked_until_ms: int = 0) -> Attempts:
        expire_at = max(since_ms + self._window_ms, locked_until_ms)
        return Attempts(count, since_ms, locked_until_ms, expire_at)

    async def _read(self, name: str) -> tuple[Attempts, str | None]:
        """The attempts that count now, and the version of their document."""
        now = self._clock.now_ms()
        document = await self._client.get(COLLECTION, self._id(name))
        if document is None:
            return self._attempts(0, now), None
        attempts = self._attempts_of(document)
        longest_ms = max(self._window_ms, self._lock_ms, attempts.lock_s * 1000)
        if not now < attempts.expire_at <= now + longest_ms + CLOCKS_APART_MS:
            attempts = self._attempts(0, now)
        return attempts, document.version

    def _attempts_of(self, document: Document) -> Attempts:
        """The attempts in a document, with the times by the clock as it is set now."""
        attempts = msgspec.convert(document.fields, Attempts)
        leap = leap_ms(self._clock, attempts.boot, attempts.booted_ms)
        return msgspec.structs.replace(
            attempts,
            since_ms=attempts.since_ms + leap,
            locked_until_ms=attempts.locked_until_ms + leap if attempts.locked_until_ms else 0,
            expire_at=attempts.expire_at + leap,
        )

    def _id(self, name: str) -> str:
        # A digest, since a name may be any text that a client sent.
        return document_id(self._kind, hashlib.sha256(name.encode()).hexdigest())


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up, so that a wait of this length is enough."""
    return -(-milliseconds // 1000)
