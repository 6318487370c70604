"""LoginService: log in and out, with lock-out and audit."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from server.addresses import address_group
from server.auth.passwords import Passwords
from server.auth.principal import DEFAULT_TENANT
from server.auth.rate_limit import AttemptLimiter, seconds
from server.auth.sessions import SessionService
from server.auth.turns import Turns
from server.clock import Clock
from server.errors import Locked, RateLimited, Unauthenticated, Unavailable
from server.metrics import Metrics
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import DocumentClient, VersionConflict, Write
from server.services.firestore.models import User
from server.services.firestore.users_store import UsersStore
from server.work import Work

# A refusal takes at least this long, whatever was wrong: the time tells nobody which names exist.
REFUSAL_S = 0.25
CHANGES_MAX = 3


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
        client: DocumentClient,
        users: UsersStore,
        sessions: SessionService,
        passwords: Passwords,
        accounts: AttemptLimiter,
        addresses: AttemptLimiter,
        audit: AuditStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
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
            for _ in range(CHANGES_MAX):
                found = await self._users.get_versioned(username)
                user, version = found or (None, "")
                stored = user.password_hash if user else None
                right = await self._passwords.verify(stored, password)
                if not right or user is None:
                    await self._refuse(user, username, address)
                    return None
                try:
                    return await self._open(user, version, password, user_agent, address)
                except VersionConflict:
                    continue  # the account was changed meanwhile: is the password still right?
        raise Unavailable("Account is being changed", "BUSY", "try again in a moment")

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
        self, user: User, version: str, password: str, user_agent: str, address: str
    ) -> LoggedIn:
        """Open the session in one write with the account it was checked against."""
        changes: dict[str, object] = {"last_login": self._clock.now_ms()}
        if self._passwords.outdated(user.password_hash):
            changes["password_hash"] = await self._passwords.hash(password)
        session_id, opening = await self._sessions.opening(user, user_agent, address)
        entry = self._audit.entry(
            "LOGIN_SUCCESS", tenant_id=_tenant(user), username=user.username, address=address
        )
        update = self._users.update_write(user.username, changes, version)
        await self._client.write([update, *opening, entry])
        await self._accounts.clear(user.username)
        self._metrics.logins.labels(result="success").inc()
        return LoggedIn(session_id, self._sessions.timeout_s, user)

    async def _refuse(self, user: User | None, username: str, address: str) -> None:
        self._metrics.logins.labels(result="failure").inc()
        locked = await self._accounts.fail(username)
        await self._addresses.fail(address_group(address))
        about: dict[str, Any] = {
            "tenant_id": _tenant(user),
            "username": username,
            "address": address,
        }
        entries: list[Write] = [self._audit.entry("LOGIN_FAILURE", success=False, **about)]
        if locked:
            entries.append(self._audit.entry("USER_LOCKED", success=False, **about))
        await self._client.write(entries)


def _tenant(user: User | None) -> str:
    return (user.tenant_id if user else "") or DEFAULT_TENANT
