"""LoginService: log in and out, with lock-out and audit."""

from __future__ import annotations

import asyncio

import msgspec

from server.auth.passwords import Passwords
from server.auth.principal import DEFAULT_TENANT
from server.auth.rate_limit import AttemptLimiter, address_group, seconds
from server.auth.sessions import SessionService
from server.auth.turns import Turns
from server.clock import Clock
from server.errors import Locked, RateLimited, Unauthenticated
from server.metrics import Metrics
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import User
from server.services.firestore.users_store import UsersStore
from server.work import Work

# A refusal takes at least this long, whatever was wrong: the time tells nobody which names exist.
REFUSAL_S = 0.25


class LoggedIn(msgspec.Struct, frozen=True):
    """A new session: its secret id, its life in seconds and its user."""

    session_id: str
    expires_in: int
    user: User


class LoginService:
    """Checks passwords and opens sessions. Close `work` at the end."""

    def __init__(
        self,
        *,
        users: UsersStore,
        sessions: SessionService,
        passwords: Passwords,
        accounts: AttemptLimiter,
        addresses: AttemptLimiter,
        audit: AuditStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._accounts = accounts
        self._addresses = addresses
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._turns = Turns()
        self.work = Work()

    async def login(self, username: str, password: str, user_agent: str, address: str) -> LoggedIn:
        """A session for the right password.

        Raises Unauthenticated (AUTH_FAILED, for an unknown user too), Locked, RateLimited.
        """
        began = self._clock.monotonic()
        # A guess counts, whether or not the guesser waits for the answer.
        attempt = self._attempt(username, password, user_agent, address)
        done = await self.work.finish(attempt)
        if done is not None:
            return done
        await asyncio.sleep(max(0.0, began + REFUSAL_S - self._clock.monotonic()))
        raise Unauthenticated("Invalid credentials", "AUTH_FAILED")

    async def _attempt(
        self, username: str, password: str, user_agent: str, address: str
    ) -> LoggedIn | None:
        # One at a time for an address and an account: many at once cannot outrun the count.
        turns = self._turns
        async with turns.turn("address", address_group(address)), turns.turn("user", username):
            await self._check(username, address)
            user = await self._users.get_user_by_username(username)
            stored = user.password_hash if user else None
            right = await self._passwords.verify(stored, password)
            if right and user is not None and stored is not None:
                return await self._open(user, stored, password, user_agent, address)
            await self._refuse(user, username, address)
            return None

    async def _check(self, username: str, address: str) -> None:
        wait_ms = await self._accounts.wait_ms(username)
        if wait_ms:
            self._metrics.logins.labels(result="locked").inc()
            raise Locked(seconds(wait_ms))
        wait_ms = await self._addresses.wait_ms(address_group(address))
        if wait_ms:
            self._metrics.logins.labels(result="rate_limited").inc()
            raise RateLimited(seconds(wait_ms))

    async def _open(
        self, user: User, stored: str, password: str, user_agent: str, address: str
    ) -> LoggedIn:
        await self._accounts.clear(user.username)
        changes: dict[str, object] = {"last_login": self._clock.now_ms()}
        if self._passwords.outdated(stored):
            changes["password_hash"] = await self._passwords.hash(password)
        await self._users.update_user(user.username, changes)
        session_id = await self._sessions.open(user, user_agent, address)
        await self._audit.log_event(
            "LOGIN_SUCCESS", tenant_id=_tenant(user), username=user.username, address=address
        )
        self._metrics.logins.labels(result="success").inc()
        return LoggedIn(session_id, self._sessions.timeout_s, user)

    async def _refuse(self, user: User | None, username: str, address: str) -> None:
        self._metrics.logins.labels(result="failure").inc()
        about = {"tenant_id": _tenant(user), "username": username, "address": address}
        await self._audit.log_event("LOGIN_FAILURE", success=False, **about)
        if await self._accounts.fail(username):
            await self._audit.log_event("USER_LOCKED", success=False, **about)
        await self._addresses.fail(address_group(address))


def _tenant(user: User | None) -> str:
    return (user.tenant_id if user else "") or DEFAULT_TENANT
