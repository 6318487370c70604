"""SyncSessions: lets threads use the sessions that log-in opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.auth.factory import Auth
from server.auth.login import ended_entries
from server.common.addresses import address_group
from server.common.errors import NotFound
from server.common.metrics import Metrics
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import AlreadyExists, VersionConflict
from server.sync_api.bridge import SyncBridge
from server.sync_api.face import Face, whole_number
from server.sync_api.wsgi_environ import session_ids

LIFE_MAX_S = 30 * 86_400


class SyncSessions(Face):
    """The sessions store of the existing server; role and tenant are always the account's.

    A session lives for `expires_in_seconds` after it was opened, or after a person's last request
    or `update_session_access`; BAS_SESSION_ABSOLUTE is the most.
    """

    name = "sessions"

    def __init__(self, bridge: SyncBridge, metrics: Metrics, stores: Stores, auth: Auth) -> None:
        super().__init__(bridge, metrics)
        self._client = stores.client
        self._users = stores.users
        self._lockout = auth.lockout
        self._sessions = auth.sessions
        self._audit = stores.audit

    def create_session(
        self,
        user_id: str,
        username: str,
        role: str,
        expires_in_seconds: int = 1800,
        request_info: dict[str, Any] | None = None,
    ) -> str | None:
        """Open a session of the account `username`; return its secret id, for the cookie.

        Returns None for an unknown or disabled account, and for one that is locked for the
        `ip_address`. From now on the address is known for the account. The session stores
        `ip_address` of `request_info`; a request with another user agent than its `user_agent` is
        audited. `user_id` and `role` are those of the account; the arguments do not count. If it
        has too many sessions, the oldest ends.
        """
        whole_number(expires_in_seconds, "expires_in_seconds", 1, LIFE_MAX_S)
        about = request_info or {}
        agent = str(about["user_agent"]) if about.get("user_agent") else None
        address = str(about.get("ip_address", "unknown"))[:64]

        async def create() -> str | None:
            user = await self._users.get_user_by_username(username)
            if user is None or user.disabled:
                raise NotFound(f"No active user {username!r}")
            standing = await self._lockout.standing(username, address_group(address))
            if standing.locked:
                raise standing.locked
            opening = await self._sessions.opening(user, agent, address, expires_in_seconds)
            entries = ended_entries(self._audit, opening.pushed_out, address)
            writes = [*opening.writes, *entries]
            try:
                await self._client.write([*writes, *self._lockout.arrival(standing)])
            except (AlreadyExists, VersionConflict):
                await self._client.write(writes)  # another log-in noted its address
            return opening.session_id

        return self._ask("create_session", None, create)

    def get_session(self, session_id: str | None) -> dict[str, Any] | None:
        """Return the live session with this secret id, or None; None too if the id is None.

        `last_access` is the time when it was extended last, or opened.
        """
        if session_id is None:
            return None

        async def ask() -> dict[str, Any] | None:
            found = await self._sessions.alive(session_id)
            if found is None:
                return None
            session, user = found
            return {
                "id": session_id,
                "session_id": session_id,
                "user_id": user.username,
                "username": user.username,
                "role": user.role,
                "tenant_id": user.tenant_id,
                "created_at": session.created_at,
                "expires_at": session.expire_at,
                "last_access": session.last_access or session.created_at,
                "ip_address": session.address,
            }

        return self._ask("get_session", None, ask)

    def of_request(self, environ: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the live session of a WSGI request of this server, or None: see `get_session`.

        The header X-Session-ID counts before the cookies.
        """
        for session_id in session_ids(environ):
            session = self.get_session(session_id)
            if session is not None:
                return session
        return None

    def update_session_access(self, session_id: str | None) -> bool:
        """Extend the session as a person's request does; False if it has ended.

        A call within a minute after another one changes nothing.
        """
        if session_id is None:
            return False

        async def extend() -> bool:
            found = await self._sessions.alive(session_id)
            if found is None:
                return False
            await self._sessions.extended(found[0])
            return True

        return self._ask("update_session_access", False, extend)

    def rotate_session(self, session_id: str | None) -> str | None:
        """Give the session another secret id and return it; None if the session has ended.

        The old id is worth nothing any more. Neither the session's end nor its longest life moves,
        and streams that were opened with the old id end.
        """
        if session_id is None:
            return None

        async def rotate() -> str | None:
            return await self._sessions.rotated(session_id)

        return self._ask("rotate_session", None, rotate)

    def invalidate_user_sessions(self, user_id: str) -> int:
        """End all sessions of the account; return how many there were."""

        async def end_all() -> int:
            return await self._sessions.end_all_of(user_id)

        return self._ask("invalidate_user_sessions", 0, end_all)

    def cleanup_expired_sessions(self) -> int:
        """Return 0: no caller gets an expired session, and the server deletes them by itself."""
        return 0

    def invalidate_session(self, session_id: str | None) -> bool:
        """End the session; True too if it has ended already, or does not exist."""
        if session_id is None:
            return True

        async def end() -> bool:
            await self._sessions.end([session_id])
            return True

        return self._ask("invalidate_session", False, end)
