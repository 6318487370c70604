"""SessionsStore: stores log-ins under a digest of their secret id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from server.common.clock import CLOCKS_APART_MS, Clock, leap_ms
from server.services.firestore.models import Session, fields_of
from server.services.ports.documents import (
    Create,
    Delete,
    Document,
    DocumentClient,
    Filter,
    Query,
    Reads,
    Update,
    VersionConflict,
    Write,
)

COLLECTION = "sessions"
PAGE = 500


class SessionsStore:
    """Sessions on a `DocumentClient`; an expired session is never returned.

    The times of a returned session are by the clock as it is set now. A session lasts for its time
    by the machine's uptime, whatever the clock does. After a reboot, or on another machine, the
    clock decides; there a session that begins in the future is not alive, because that clock was
    set back and would lengthen it.
    """

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
        """The write that ends a session; it succeeds also if the session is gone."""
        return Delete(COLLECTION, digest)

    async def get_session(self, digest: str) -> Session | None:
        """The live session with this digest, or None; it may come from the cache."""
        return (await self.get_sessions([digest])).get(digest)

    async def get_sessions(self, digests: list[str]) -> dict[str, Session]:
        """The live sessions among these, by digest; they may come from the cache."""
        found = await self._reads.get_many(COLLECTION, digests)
        return {session.digest: session for session in self._live(found.values())}

    async def sessions_of(self, username: str) -> list[Session]:
        """The live sessions of a user, the oldest log-in first."""
        # Also those that are expired by the clock: a session that outlived a leap is one of them.
        owner = Filter("username", "==", username)
        query = Query(COLLECTION, (owner,), order_by="expire_at")
        live: list[Session] = []
        cursor: str | None = None
        while True:
            page = await self._client.query(query, PAGE, cursor)
            live += self._live(page.documents)
            cursor = page.next_cursor
            if cursor is None:
                return sorted(live, key=lambda session: session.created_at)

    async def extend_session(self, session: Session, expire_at: int) -> Session:
        """Let a session end at `expire_at` and return it so; raises VersionConflict if it is gone.

        Its times stay by the setting of the clock by which it was stored.
        """
        now = self._clock.now_ms()
        leap = leap_ms(self._clock, session.boot, session.booted_ms)
        end = expire_at - leap
        fields = {"expire_at": end, "expires_at": end, "last_access": now - leap}
        await self._client.write([Update(COLLECTION, session.digest, fields)])
        return msgspec.structs.replace(
            session, expire_at=expire_at, expires_at=expire_at, last_access=now
        )

    async def mark_agent_changed(self, digest: str, entry: Write) -> None:
        """Store this audit entry if it is the session's first about a changed user agent.

        Of several requests at once, in whatever process, one stores its entry.
        """
        document = await self._client.get(COLLECTION, digest)
        if document is None or document.fields.get("agent_changed"):
            return
        mark = Update(COLLECTION, digest, {"agent_changed": True}, if_version=document.version)
        try:
            await self._client.write([mark, entry])
        except VersionConflict:
            return  # another request has marked it; if it only extended it, the next one marks it

    async def replace_session(self, digest: str, new_digest: str) -> bool:
        """Store the session under another digest and end the old one; False if it is gone."""
        document = await self._client.get(COLLECTION, digest)
        if document is None:
            return False
        renewed = Create(COLLECTION, new_digest, {**document.fields, "digest": new_digest})
        ended = Delete(COLLECTION, digest, if_version=document.version)
        try:
            await self._client.write([renewed, ended])
        except VersionConflict:
            return False
        return True

    async def invalidate_sessions(self, digests: Iterable[str]) -> None:
        """End these sessions; sessions that are already gone are ignored."""
        deletes = [self.deletion(digest) for digest in digests]
        if deletes:
            await self._client.write(deletes)

    def _live(self, documents: Iterable[Document]) -> Iterator[Session]:
        for document in documents:
            session = msgspec.convert(document.fields, Session)
            leap = leap_ms(self._clock, session.boot, session.booted_ms)
            if leap:
                session = msgspec.structs.replace(
                    session,
                    created_at=session.created_at + leap,
                    expires_at=session.expires_at + leap,
                    expire_at=session.expire_at + leap,
                    last_access=session.last_access and session.last_access + leap,
                )
            if session.created_at - CLOCKS_APART_MS <= self._clock.now_ms() < session.expire_at:
                yield session
