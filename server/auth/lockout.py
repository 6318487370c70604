"""Lockout: decides who must wait before the next log-in, so that no stranger shuts a user out.

Three counts of failures are in the store, and one list:

- of a **user**, from all addresses that never logged this user in: `limit` failures lock the user,
  for such addresses only. A lock that was set by hand holds for all addresses.
- of an **address**: `address_limit` failures make it wait.
- of a **pair** of both: each further failure costs a longer pause (`back_off.py`).
- the addresses that are **known** for a user, because it has logged in from there. Failures from
  there count for the pair alone, so that strangers elsewhere, or behind the same proxy with other
  names, change nothing for this user.

A name that is no account is counted and locked like any other.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from server.auth.attempts import AttemptLimiter, Standing, seconds
from server.auth.back_off import BackOff, pair
from server.auth.known_addresses import Acquaintance, KnownAddresses
from server.common.clock import Clock
from server.common.errors import Locked, RateLimited
from server.services.ports.documents import Create, Delete, DocumentClient, Put, Reads, Write

ADDRESS_WINDOW_S = 15 * 60
# Failures that cost no pause: at a known address a person may mistype once. At others the lock
# comes with the fifth failure, unless its setting is higher.
FREE_KNOWN, FREE_UNKNOWN = 1, 4


class LogInStanding(NamedTuple):
    """How a user and an address group stand, before a log-in of this user from there."""

    username: str
    group: str
    seen: Acquaintance
    account: Standing
    address: Standing
    pair: Standing

    @property
    def known(self) -> bool:
        """Whether the user has logged in from there."""
        return self.seen.knows(self.group)

    @property
    def locked(self) -> Locked | None:
        """The refusal while the user is locked for this address."""
        if self.account.wait_ms and (self.account.by_hand or not self.known):
            return Locked(seconds(self.account.wait_ms))
        return None

    @property
    def refusal(self) -> Locked | RateLimited | None:
        """The refusal of a log-in now; None if it may be tried."""
        if locked := self.locked:
            return locked
        wait_ms = max(self.pair.wait_ms, 0 if self.known else self.address.wait_ms)
        return RateLimited(seconds(wait_ms)) if wait_ms else None


class FailedLogIn(NamedTuple):
    """A failure that was counted, or refused because another one came first.

    `locked_until_ms` is 0 unless this failure, the number `failures`, locked the user.
    """

    refusal: Locked | RateLimited | None = None
    failures: int = 0
    locked_until_ms: int = 0


class Lockout:
    """Counts failed log-ins, and forgets them. All its waits end by themselves."""

    def __init__(
        self,
        client: DocumentClient,
        reads: Reads,
        clock: Clock,
        *,
        limit: int,
        lock_s: int,
        address_limit: int,
    ) -> None:
        """`clock` must be the same for all processes on the store."""
        parts = client, reads, clock
        self._client = client
        self.accounts = AttemptLimiter(*parts, "user", limit=limit, window_s=lock_s, lock_s=lock_s)
        self._addresses = AttemptLimiter(
            *parts,
            "address",
            limit=address_limit,
            window_s=ADDRESS_WINDOW_S,
            lock_s=ADDRESS_WINDOW_S,
        )
        self._known_pairs = BackOff(*parts, free=FREE_KNOWN)
        self._other_pairs = BackOff(*parts, free=FREE_UNKNOWN)
        self._known = KnownAddresses(client, clock)

    async def knows(self, username: str, group: str) -> bool:
        """Whether this user has logged in from this address group."""
        return (await self._known.of(username)).knows(group)

    async def standing(self, username: str, group: str) -> LogInStanding:
        """How this user and this address group stand now. Every name costs the same reads."""
        seen, account, address, both = await asyncio.gather(
            self._known.of(username),
            self.accounts.standing(username),
            self._addresses.standing(group),
            self._known_pairs.standing(pair(username, group)),
        )
        return LogInStanding(username, group, seen, account, address, both)

    async def fail(self, standing: LogInStanding) -> FailedLogIn:
        """Count a failure. It is refused, and not counted, if the name was locked since."""
        username, group = standing.username, standing.group
        if standing.known:
            paused = await self._known_pairs.fail(pair(username, group))
            refusal = RateLimited(seconds(paused.wait_ms)) if paused.wait_ms else None
            return FailedLogIn(refusal, paused.failures)
        address = await self._addresses.fail(group)
        if address.wait_ms:
            return FailedLogIn(RateLimited(seconds(address.wait_ms)))
        account = await self.accounts.fail(username)
        if account.wait_ms:
            return FailedLogIn(Locked(seconds(account.wait_ms)))
        if not account.locks:
            await self._other_pairs.fail(pair(username, group))
        return FailedLogIn(None, account.failures, account.locked_until_ms)

    def success(self, standing: LogInStanding) -> list[Write]:
        """The writes of a log-in: from now on its address is known.

        They fail with AlreadyExists or VersionConflict if a failure was counted since that matters
        for this address. A success from a known address leaves the count and the lock of the others
        as they are: a stranger must not get new guesses with each log-in of the user.
        """
        username, group = standing.username, standing.group
        writes: list[Write] = [*self.arrival(standing)]
        if standing.pair.version is not None:
            writes.append(self._known_pairs.deletion(pair(username, group), standing.pair))
        if not standing.known:
            writes.append(self.accounts.forgetting(username, standing.account))
        return writes

    def arrival(self, standing: LogInStanding) -> list[Create | Put]:
        """The write, if one is needed, that makes the address known for the user."""
        return self._known.arrival(standing.username, standing.group, standing.seen)

    async def unlock(self, username: str, *entries: Write) -> None:
        """End the lock, also one by hand, and forget all failures of this name.

        `entries` are written together with the end of the lock. The name may be no account.
        """
        await self._client.write([self.accounts.deletion(username), *entries])
        await self._known_pairs.forget_user(username)

    def departure(self, username: str) -> list[Delete]:
        """The writes that forget a user whose account is deleted."""
        return [self.accounts.deletion(username), self._known.deletion(username)]
