"""LoginService: log in and out, with lock-out and audit."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import msgspec

from server.addresses import address_group
from server.auth.passwords import Passwords
from server.auth.principal import DEFAULT_TENANT
from server.auth.rate_limit import AttemptLimiter, Standing, seconds
from server.auth.sessions import SessionService
from server.auth.turns import Turns
from server.clock import Clock
from server.errors import Locked, RateLimited, Unauthenticated, Unavailable
from server.metrics import Metrics
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import AlreadyExists, DocumentClient, VersionConflict, Write
from server.services.firestore.models import User
from server.services.firestore.users_store import UsersStore
from server.work import Work

# A refusal takes at least this long, whatever was wrong: the time tells nobody which names exist.
REFUSAL_S = 0.25
# As many other processes may open a session of the same account meanwhile.
CHANGES_MAX = 10

Refusal: TypeAlias = Unauthenticated | Locked | RateLimited


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
        if isinstance(done, LoggedIn):
            return done
        await asyncio.sleep(max(0.0, began + REFUSAL_S - self._clock.monotonic()))
        raise done

    async def _attempt(
        self, username: str, password: str, user_agent: str, address: str
    ) -> LoggedIn | Refusal:
        """The session, or the refusal of a password that was looked at."""
        # One at a time for an address and an account: many at once cannot outrun the count.
        turns = self._turns
        async with turns.turn("address", address_group(address)), turns.turn("user", username):
            await self._check(username, address)
            try:
                return await self._judge(username, password, user_agent, address)
            except (Unauthenticated, Locked, RateLimited) as refusal:
                return refusal

    async def _judge(self, username: str, password: str, user_agent: str, address: str) -> LoggedIn:
        checked, right = "", False
        for _ in range(CHANGES_MAX):
            found = await self._users.get_versioned(username)
            user, version = found or (None, "")
            stored = user.password_hash if user else None
            if stored is None or stored != checked:
                checked, right = stored or "", await self._passwords.verify(stored, password)
            # While the password was looked at, other processes' guesses may have locked the account
            # or the address: then the answer must not tell whether this one was right.
            standing = await self._check(username, address)
            if not right or user is None:
                await self._refuse(user, username, address)
                break
            try:
                return await self._open(user, version, standing, password, user_agent, address)
            except (AlreadyExists, VersionConflict):
                continue  # the account was changed, or a failure counted, meanwhile
        else:
            raise Unavailable("Account is being changed", "BUSY", "try again in a moment")
        raise Unauthenticated("Invalid credentials", "AUTH_FAILED")

    async def _check(self, username: str, address: str) -> Standing:
        """How the account stands. Raises Locked, RateLimited if it or the address is locked."""
        account = await self._accounts.standing(username)
        origin = await self._addresses.standing(address_group(address))
        self._pass(account.wait_ms, origin.wait_ms)
        return account

    def _pass(self, account_ms: int, address_ms: int) -> None:
        """Raise Locked or RateLimited if there is a time to wait."""
        if account_ms:
            self._metrics.logins.labels(result="locked").inc()
            raise Locked(seconds(account_ms))
        if address_ms:
            self._metrics.logins.labels(result="rate_limited").inc()
            raise RateLimited(seconds(address_ms))

    async def _open(
        self,
        user: User,
        version: str,
        standing: Standing,
        password: str,
        user_agent: str,
        address: str,
    ) -> LoggedIn:
        """Open the session in one write with the account it was checked against, if no failure was
        counted since. Raises AlreadyExists, VersionConflict."""
        changes: dict[str, object] = {"last_login": self._clock.now_ms()}
        if self._passwords.outdated(user.password_hash):
            changes["password_hash"] = await self._passwords.hash(password)
        session_id, opening = await self._sessions.opening(user, user_agent, address)
        entry = self._audit.entry(
            "LOGIN_SUCCESS", tenant_id=_tenant(user), username=user.username, address=address
        )
        update = self._users.update_write(user.username, changes, version)
        forget = self._accounts.forgetting(user.username, standing)
        await self._client.write([update, forget, *opening, entry])
        self._metrics.logins.labels(result="success").inc()
        return LoggedIn(session_id, self._sessions.timeout_s, user)

    async def _refuse(self, user: User | None, username: str, address: str) -> None:
        origin = await self._addresses.fail(address_group(address))
        self._pass(0, origin.wait_ms)
        account = await self._accounts.fail(username)
        self._pass(account.wait_ms, 0)
        self._metrics.logins.labels(result="failure").inc()
        about: dict[str, Any] = {
            "tenant_id": _tenant(user),
            "username": username,
            "address": address,
        }
        entries: list[Write] = [self._audit.entry("LOGIN_FAILURE", success=False, **about)]
        if account.locks:
            entries.append(self._audit.entry("USER_LOCKED", success=False, **about))
        await self._audit.keep(entries)


def _tenant(user: User | None) -> str:
    return (user.tenant_id if user else "") or DEFAULT_TENANT
