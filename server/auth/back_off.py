"""BackOff: makes one address wait longer after each failed log-in of one user."""

from __future__ import annotations

import hashlib

import msgspec

from server.auth.attempts import COLLECTION, AttemptLimiter, Attempts
from server.common.clock import Clock
from server.services.ports.documents import (
    BATCH_MAX,
    Create,
    Delete,
    DocumentClient,
    Filter,
    Put,
    Query,
    Reads,
)

# The first pause is 1 s; each further failure doubles it.
PAUSE_MAX_S = 60
# Failures are forgotten when there was none for this long.
WINDOW_S = 15 * 60


class BackOff(AttemptLimiter):
    """Counts failures of pairs (see `pair`): after `free` of them each further one costs a pause.

    The pause is 1 s, then 2, 4 and so on up to PAUSE_MAX_S, so a right password gets in after a
    minute at most. The same failures may be counted with another `free`.
    """

    def __init__(self, client: DocumentClient, reads: Reads, clock: Clock, *, free: int) -> None:
        super().__init__(
            client, reads, clock, "pair", limit=free + 1, window_s=WINDOW_S, lock_s=PAUSE_MAX_S
        )

    async def forget_user(self, username: str) -> None:
        """Forget the failures of a user from all addresses."""
        of_user = Query(COLLECTION, (Filter("user", "==", _digest(username)),))
        while True:
            # More failures may be counted during this read; those of the last page are enough.
            page = await self._client.query(of_user, BATCH_MAX)
            if page.documents:
                await self._client.write([Delete(COLLECTION, one.id) for one in page.documents])
            if page.next_cursor is None:
                return

    def _pause_ms(self, count: int) -> int:
        doublings = count - self._limit
        return min(PAUSE_MAX_S, 2 ** min(doublings, 6)) * 1000 if doublings >= 0 else 0

    def _since_ms(self, before: Attempts, now: int) -> int:
        return now

    def _write(self, name: str, attempts: Attempts, version: str | None) -> Create | Put:
        of_user = msgspec.structs.replace(attempts, user=name.partition(" ")[0])
        return super()._write(name, of_user, version)


def pair(username: str, group: str) -> str:
    """The name under which the failures of a user from an address group are counted."""
    return f"{_digest(username)} {group}"


def _digest(username: str) -> str:
    return hashlib.sha256(username.encode()).hexdigest()
