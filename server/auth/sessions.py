"""Opens, resolves and ends sessions; only the browser has the secret id."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from server.auth.attempts import AttemptLimiter
from server.auth.principal import Principal
from server.common.clock import Clock, booted_ms
from server.common.errors import Unauthenticated
from server.common.session_end import SessionEnd
from server.services.firestore.models import ROLES, Session, User
from server.services.firestore.sessions_store import SessionsStore
from server.services.firestore.users_store import UsersStore
from server.services.ports.documents import (
    Create,
    Delete,
    VersionConflict,
    Write,
)

SESSION_ID_MIN, SESSION_ID_MAX = 10, 256
RELOGIN = "Please login again"
# A session is extended once it gains this much: a write a minute, whatever its user does. A session
# that lives for less than 20 minutes without a request is extended more often.
STEP_MS, STEPS = 60_000, 20


class SessionOpening(NamedTuple):
    """A new session: its secret id, the writes that open it, and the sessions that they end."""

    session_id: str
    writes: list[Create | Delete]
    pushed_out: list[Session]


class SessionService:
    """The sessions of all users, in the store.

    A session lives for `timeout_s` seconds after the log-in or after the last request that a
    person made, and for `absolute_s` seconds after the log-in at most. A lock that was set by hand
    ends it. One by wrong passwords does not: any stranger can cause it.
    """

    def __init__(
        self,
        sessions: SessionsStore,
        users: UsersStore,
        account_limiter: AttemptLimiter,
        clock: Clock,
        *,
        timeout_s: int,
        absolute_s: int,
        max_per_user: int,
    ) -> None:
        self._sessions = sessions
        self._users = users
        self._accounts = account_limiter
        self._clock = clock
        self.timeout_s = timeout_s
        self._absolute_s = absolute_s
        self._max_per_user = max_per_user
        # The sessions that are being extended: of a page's requests at once, one writes.
        self._extending: set[str] = set()

    async def opening(
        self, user: User, user_agent: str | None, address: str, timeout_s: int | None = None
    ) -> SessionOpening:
        """Make a new session.

        The writes also end the user's oldest sessions if there are too many. The caller commits
        them together with the check that allows the log-in. Without a known user agent, None, no
        other one is noticed.
        """
        life_s = min(self.timeout_s if timeout_s is None else timeout_s, self._absolute_s)
        session_id = secrets.token_urlsafe(32)
        now = self._clock.now_ms()
        live = await self._sessions.sessions_of(user.username)
        excess = live[: max(0, len(live) - self._max_per_user + 1)]
        session = Session(
            digest=digest(session_id),
            user_id=user.username,
            username=user.username,
            role=user.role,
            tenant_id=user.tenant_id,
            user_agent_digest="" if user_agent is None else digest(user_agent),
            address=address,
            created_at=now,
            expires_at=now + life_s * 1000,
            expire_at=now + life_s * 1000,
            boot=self._clock.boot,
            booted_ms=booted_ms(self._clock),
        )
        ends = [self._sessions.deletion(old.digest) for old in excess]
        return SessionOpening(session_id, [self._sessions.creation(session), *ends], excess)

    async def resolve(self, secret_ids: Sequence[str]) -> tuple[Session, User]:
        """The first live session among these secret ids, and its user. Raises Unauthenticated."""
        digests = [digest(one) for one in secret_ids if _may_be_secret_id(one)]
        if not digests:
            raise Unauthenticated("Invalid session ID", "INVALID_SESSION_ID", RELOGIN)
        found = await self._sessions.get_sessions(digests)
        users = await self._users.get_users(sorted({one.username for one in found.values()}))
        for session in (found[one] for one in digests if one in found):
            user = users.get(session.username)
            if user is None or user.disabled:
                continue
            if not await self._accounts.locked([user.username], by_hand=True):
                return session, user
        raise Unauthenticated(message=RELOGIN)

    def principal(self, session: Session, user: User) -> Principal:
        """The principal of this session."""
        return Principal(
            username=user.username,
            role=user.role,
            tenant_id=user.tenant_id,
            session=session.digest,
            login_time=session.created_at,
            end=self._end(session),
        )

    async def extended(self, session: Session) -> Session:
        """The session after a request that a person made.

        It is stored at most once a minute. Raises Unauthenticated if it has ended since.
        """
        end = min(self._clock.now_ms() + _idle_ms(session), self._limit_ms(session))
        if end - session.expire_at < _step_ms(session) or session.digest in self._extending:
            return session
        self._extending.add(session.digest)
        try:
            return await self._sessions.extend_session(session, end)
        except VersionConflict:
            raise Unauthenticated(message=RELOGIN) from None
        finally:
            self._extending.discard(session.digest)

    def may_audit_agent(self, session: Session, user_agent: str) -> bool:
        """Whether this is another user agent than at log-in, and perhaps not audited yet."""
        known = session.user_agent_digest
        return bool(known) and known != digest(user_agent) and not session.agent_changed

    async def audit_agent(self, session: Session, entry: Write) -> None:
        """Store the entry about a changed user agent, once for each session."""
        await self._sessions.mark_agent_changed(session.digest, entry)

    async def rotated(self, session_id: str) -> str | None:
        """Give a live session another secret id, which is returned; None if it has ended."""
        if await self.alive(session_id) is None:
            return None
        fresh = secrets.token_urlsafe(32)
        replaced = await self._sessions.replace_session(digest(session_id), digest(fresh))
        return fresh if replaced else None

    async def alive(self, session_id: str) -> tuple[Session, User] | None:
        """The session of this secret id and its user, for any browser; None if it has ended."""
        session = await self._sessions.get_session(digest(session_id))
        user = await self._users.get_user_by_username(session.username) if session else None
        if session is None or user is None or user.disabled:
            return None
        if await self._accounts.locked([user.username], by_hand=True):
            return None
        return session, user

    async def find(self, secret_ids: Iterable[str | None]) -> list[Session]:
        """The live sessions among these secret ids."""
        digests = sorted({digest(one) for one in secret_ids if one})
        return list((await self._sessions.get_sessions(digests)).values()) if digests else []

    def ending(self, session: Session) -> Delete:
        """The write that ends a session."""
        return self._sessions.deletion(session.digest)

    async def end(self, secret_ids: Iterable[str | None]) -> None:
        """End these sessions, as far as they exist."""
        await self._sessions.invalidate_sessions({digest(one) for one in secret_ids if one})

    async def end_all_of(self, username: str) -> int:
        """End every session of a user; return how many there were."""
        live = await self._sessions.sessions_of(username)
        await self._sessions.invalidate_sessions([session.digest for session in live])
        return len(live)

    async def ends(self, owners: set[str]) -> dict[str, SessionEnd]:
        """When the sessions of these stream owners end (see `Principal.owner`); at most BATCH_MAX.

        An owner whose session or role no longer exists is missing.
        """
        parts = {owner: owner.rsplit(":", 1) for owner in owners}
        sessions = await self._sessions.get_sessions(sorted({part[0] for part in parts.values()}))
        names = sorted({session.username for session in sessions.values()})
        users = await self._users.get_users(names)
        locked = await self._accounts.locked(names, by_hand=True)
        ranks = {str(role): rank for rank, role in enumerate(ROLES)}

        def alive(session_digest: str, role: str) -> bool:
            session = sessions.get(session_digest)
            user = users.get(session.username) if session else None
            return (
                session is not None
                and user is not None
                and not user.disabled
                and user.username not in locked
                and user.tenant_id == session.tenant_id
                and ranks[user.role] >= ranks[role]
            )

        return {
            owner: self._end(sessions[session])
            for owner, (session, role) in parts.items()
            if alive(session, role)
        }

    def _end(self, session: Session) -> SessionEnd:
        rest = self._limit_ms(session) - session.expire_at
        return SessionEnd(session.expire_at, extendable=rest >= _step_ms(session))

    def _limit_ms(self, session: Session) -> int:
        return session.created_at + self._absolute_s * 1000


def _idle_ms(session: Session) -> int:
    """For how long the session lives without a request of a person."""
    return session.expire_at - max(session.created_at, session.last_access)


def _step_ms(session: Session) -> int:
    return min(STEP_MS, _idle_ms(session) // STEPS)


def _may_be_secret_id(text: str) -> bool:
    return SESSION_ID_MIN <= len(text) <= SESSION_ID_MAX


def digest(secret: str) -> str:
    """The digest that is stored instead of a secret; the secret is too long to be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()
