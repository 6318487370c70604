"""SessionService: opens, resolves and ends sessions; only the browser knows the secret id."""

from __future__ import annotations

import hashlib
import secrets

from server.auth.principal import Principal
from server.auth.rate_limit import AttemptLimiter
from server.clock import Clock
from server.errors import Unauthenticated
from server.services.firestore.base import Create, Delete
from server.services.firestore.models import ROLES, Session, User
from server.services.firestore.sessions_store import SessionsStore
from server.services.firestore.users_store import UsersStore

SESSION_ID_MIN, SESSION_ID_MAX = 10, 256
RELOGIN = "Please login again"


class WrongBrowser(Unauthenticated):
    """A live session came with another User-Agent than the one it was opened with."""

    def __init__(self, session: Session) -> None:
        super().__init__(message=RELOGIN)
        self.session = session


class SessionService:
    """Sessions of all users, on the store; a session lives for a fixed time."""

    def __init__(
        self,
        sessions: SessionsStore,
        users: UsersStore,
        account_limiter: AttemptLimiter,
        clock: Clock,
        *,
        timeout_s: int,
        max_per_user: int,
    ) -> None:
        self._sessions = sessions
        self._users = users
        self._accounts = account_limiter
        self._clock = clock
        self.timeout_s = timeout_s
        self._max_per_user = max_per_user

    async def opening(
        self, user: User, user_agent: str, address: str, timeout_s: int | None = None
    ) -> tuple[str, list[Create | Delete]]:
        """A new session's secret id, and the writes that open it and end the user's oldest
        sessions if there are too many: to be committed together with what allows it."""
        life_s = self.timeout_s if timeout_s is None else timeout_s
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
            user_agent_digest=digest(user_agent),
            address=address,
            created_at=now,
            expires_at=now + life_s * 1000,
            expire_at=now + life_s * 1000,
        )
        ends = [self._sessions.deletion(old.digest) for old in excess]
        return session_id, [self._sessions.creation(session), *ends]

    async def resolve(self, session_id: str | None, user_agent: str) -> Principal:
        """Who holds this session. Raises Unauthenticated, WrongBrowser."""
        if session_id is None or not SESSION_ID_MIN <= len(session_id) <= SESSION_ID_MAX:
            raise Unauthenticated("Invalid session ID", "INVALID_SESSION_ID", RELOGIN)
        session = await self._sessions.get_session(digest(session_id))
        users = await self._users.get_users([session.username]) if session else {}
        user = users.get(session.username) if session else None
        if session is None or user is None:
            raise Unauthenticated(message=RELOGIN)
        if session.user_agent_digest != digest(user_agent):
            raise WrongBrowser(session)
        if await self._accounts.locked([user.username]):
            raise Unauthenticated(message=RELOGIN)
        return Principal(
            username=user.username,
            role=user.role,
            tenant_id=user.tenant_id,
            session=session.digest,
            login_time=session.created_at,
            expire_at=session.expire_at,
        )

    async def alive(self, session_id: str) -> tuple[Session, User] | None:
        """The session of this secret id and its user, whatever browser asks; None if it is over."""
        session = await self._sessions.get_session(digest(session_id))
        user = await self._users.get_user_by_username(session.username) if session else None
        if session is None or user is None or await self._accounts.locked([user.username]):
            return None
        return session, user

    async def end(self, session_id: str) -> None:
        """End this session, if it is one."""
        await self._sessions.invalidate_sessions([digest(session_id)])

    async def end_all_of(self, username: str) -> int:
        """End every session of a user; how many there were."""
        live = await self._sessions.sessions_of(username)
        await self._sessions.invalidate_sessions([session.digest for session in live])
        return len(live)

    async def lost(self, owners: set[str]) -> set[str]:
        """Those stream owners (see `Principal.owner`) whose session or role is there no more.

        At most BATCH_MAX at once.
        """
        parts = {owner: owner.rsplit(":", 1) for owner in owners}
        sessions = await self._sessions.get_sessions(sorted({part[0] for part in parts.values()}))
        names = sorted({session.username for session in sessions.values()})
        users = await self._users.get_users(names)
        locked = await self._accounts.locked(names)
        ranks = {str(role): rank for rank, role in enumerate(ROLES)}

        def alive(session_digest: str, role: str) -> bool:
            session = sessions.get(session_digest)
            user = users.get(session.username) if session else None
            return (
                session is not None
                and user is not None
                and user.username not in locked
                and user.tenant_id == session.tenant_id
                and ranks[user.role] >= ranks[role]
            )

        return {owner for owner, (session, role) in parts.items() if not alive(session, role)}


def digest(secret: str) -> str:
    """What is kept of a secret that is too long to be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()
