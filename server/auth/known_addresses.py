"""KnownAddresses: the addresses from which each user has logged in."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from server.common.clock import Clock, booted_ms, leap_ms
from server.services.firestore.base import document_id
from server.services.ports.documents import Create, Delete, DocumentClient, Put

COLLECTION = "known_addresses"
DAY_MS = 86_400_000
# An address without a log-in of the user for this long is forgotten.
KEEP_MS = 90 * DAY_MS
# A user has at most this many; the one whose last log-in is oldest goes first.
ADDRESSES_MAX = 32
# A log-in is noted again after this time, so that not every log-in writes the document.
RENEW_MS = DAY_MS


class Seen(msgspec.Struct, frozen=True):
    """An address group (see `address_group`) and the user's last noted log-in from there."""

    address: str
    last_ms: int


class Known(msgspec.Struct, frozen=True):
    """A user's addresses. Its times are dated like those of `Attempts`."""

    addresses: list[Seen]
    expire_at: int
    boot: str = ""
    booted_ms: int = 0


class Acquaintance(NamedTuple):
    """A user's addresses at one moment; `version` is None if there is no document of them."""

    addresses: list[Seen]
    version: str | None

    def knows(self, group: str) -> bool:
        """Whether this user has logged in from there."""
        return any(one.address == group for one in self.addresses)


class KnownAddresses:
    """The addresses of all users in the store. An entry counts for KEEP_MS after a log-in."""

    def __init__(self, client: DocumentClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def of(self, username: str) -> Acquaintance:
        """The addresses from which the user has logged in."""
        document = await self._client.get(COLLECTION, document_id(username))
        if document is None:
            return Acquaintance([], None)
        known = msgspec.convert(document.fields, Known)
        leap = leap_ms(self._clock, known.boot, known.booted_ms)
        now = self._clock.now_ms()
        dated = [Seen(one.address, one.last_ms + leap) for one in known.addresses]
        return Acquaintance([one for one in dated if now - one.last_ms < KEEP_MS], document.version)

    def arrival(self, username: str, group: str, before: Acquaintance) -> list[Create | Put]:
        """The write that notes a log-in from there, or none if one was noted a moment ago.

        It fails with AlreadyExists or VersionConflict if the addresses changed since `before`.
        """
        now = self._clock.now_ms()
        # A time in the future is that of a clock that was wrong: it is replaced.
        if any(
            one.address == group and 0 <= now - one.last_ms < RENEW_MS for one in before.addresses
        ):
            return []
        others = [one for one in before.addresses if one.address != group]
        newest = sorted(others, key=lambda one: one.last_ms)[-(ADDRESSES_MAX - 1) :]
        fields = Known(
            [*newest, Seen(group, now)], now + KEEP_MS, self._clock.boot, booted_ms(self._clock)
        )
        if before.version is None:
            return [Create(COLLECTION, document_id(username), msgspec.to_builtins(fields))]
        written = msgspec.to_builtins(fields)
        return [Put(COLLECTION, document_id(username), written, if_version=before.version)]

    @staticmethod
    def deletion(username: str) -> Delete:
        """The write that forgets the addresses of a user."""
        return Delete(COLLECTION, document_id(username))
