"""Sessions for threads: the same sessions as log-in opens."""

from __future__ import annotations

from typing import Any

from server.adapters.face import Face, whole_number
from server.adapters.sync import SyncBridge
from server.auth.factory import Auth
from server.errors import Locked, NotFound
from server.metrics import Metrics
from server.services.firestore.service_factory import Stores

LIFE_MAX_S = 30 * 86_400


class SyncSessions(Face):
    """The sessions store of the existing server. Role and tenant are the account's, always."""

    name = "sessions"

    def __init__(self, bridge: SyncBridge, metrics: Metrics, stores: Stores, auth: Auth) -> None:
        super().__init__(bridge, metrics)
        self._client = stores.client
        self._users = stores.users
        self._accounts = auth.accounts
        self._sessions = auth.sessions

    def create_session(
        self,
        user_id: str,
        username: str,
        role: str,
        expires_in_seconds: int = 1800,
        request_info: dict[str, Any] | None = None,
    ) -> str | None:
        """Open a session of the account `username`; its secret id, for the cookie. None for an
        unknown or locked account.

        It is bound to `request_info["user_agent"]`, and keeps its `ip_address`. `user_id` and
        `role` are those of the account whatever is passed. More sessions than the account may have
        end the oldest.
        """
        whole_number(expires_in_seconds, "expires_in_seconds", 1, LIFE_MAX_S)
        about = request_info or {}
        agent = str(about.get("user_agent", "unknown"))
        address = str(about.get("ip_address", "unknown"))[:64]

        async def create() -> str | None:
            user = await self._users.get_user_by_username(username)
            if user is None:
                raise NotFound(f"No user {username!r}")
            if wait_ms := (await self._accounts.standing(username)).wait_ms:
                raise Locked(-(-wait_ms // 1000))
            opening = await self._sessions.opening(user, agent, address, expires_in_seconds)
            session_id, writes = opening
            await self._client.write(writes)
            return session_id

        return self._ask("create_session", None, create)

    def get_session(self, session_id: str | None) -> dict[str, Any] | None:
        """The live session with this secret id, or None; None too for a request without one.
        `last_access` is when it was opened.
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
                "last_access": session.created_at,
                "ip_address": session.address,
            }

        return self._ask("get_session", None, ask)

    def invalidate_session(self, session_id: str | None) -> bool:
        """End the session; True too if it was over already, or there is none."""
        if session_id is None:
            return True

        async def end() -> bool:
            await self._sessions.end(session_id)
            return True

        return self._ask("invalidate_session", False, end)
