"""SessionsStore: log-ins, kept under a digest of their secret id."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from server.clock import Clock
from server.services.firestore.base import Create, Delete, DocumentClient, Filter, Query, Reads
from server.services.firestore.models import Session, fields_of

COLLECTION = "sessions"
SESSIONS_OF_ONE_USER_MAX = 200


class SessionsStore:
    """Sessions on a `DocumentClient`; one that has expired is never returned."""

    def __init__(self, client: DocumentClient, clock: Clock, reads: Reads) -> None:
        self._client = client
        self._clock = clock
        self._reads = reads

    async def create_session(self, session: Session) -> None:
        """Store a new session."""
        await self._client.write([self.creation(session)])

    @staticmethod
    def creation(session: Session) -> Create:
        """The write of a new session."""
        return Create(COLLECTION, session.digest, fields_of(session))

    @staticmethod
    def deletion(digest: str) -> Delete:
        """The write that ends a session, whether or not it is still there."""
        return Delete(COLLECTION, digest)

    async def get_session(self, digest: str) -> Session | None:
        """The session with this digest if it is alive, or was a moment ago; else None."""
        return (await self.get_sessions([digest])).get(digest)

    async def get_sessions(self, digests: list[str]) -> dict[str, Session]:
        """Those of the sessions that are alive, or were a moment ago, by digest."""
        found = await self._reads.get_many(COLLECTION, digests)
        now = self._clock.now_ms()
        sessions = (msgspec.convert(document.fields, Session) for document in found.values())
        return {session.digest: session for session in sessions if session.expire_at > now}

    async def sessions_of(self, username: str) -> list[Session]:
        """The live sessions of a user, oldest first."""
        alive = Filter("expire_at", ">", self._clock.now_ms())
        owner = Filter("username", "==", username)
        query = Query(COLLECTION, (owner, alive), order_by="expire_at")
        page = await self._client.query(query, SESSIONS_OF_ONE_USER_MAX)
        return [msgspec.convert(document.fields, Session) for document in page.documents]

    async def invalidate_sessions(self, digests: Iterable[str]) -> None:
        """End these sessions; it does not matter whether they are still there."""
        deletes = [self.deletion(digest) for digest in digests]
        if deletes:
            await self._client.write(deletes)
