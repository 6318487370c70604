"""Logs users in; `lockout.py` decides which attempts must wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeAlias

import msgspec

from server.auth.lockout import Lockout, LogInStanding
from server.auth.login_lines import LoginLines
from server.auth.passwords import Passwords
from server.auth.principal import DEFAULT_TENANT
from server.auth.sessions import SessionService
from server.common.addresses import address_group
from server.common.clock import Clock
from server.common.errors import Locked, RateLimited, Unauthenticated, Unavailable
from server.common.keyed_locks import KeyedLocks, TooManyWaiting
from server.common.metrics import Metrics
from server.common.retries import account_tries
from server.common.shielded_tasks import ShieldedTasks
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import Session, User
from server.services.firestore.users_store import UsersStore
from server.services.ports.documents import AlreadyExists, DocumentClient, VersionConflict, Write

log = logging.getLogger(__name__)

# The shortest time of a refusal: its duration must not show which names exist.
REFUSAL_S = 0.25
# Digits of a session's digest in the audit log: enough to tell sessions apart, too few to be one.
DIGITS = 12
# Log-ins of one user or address, or of one user at a known address, that may run or wait at a time.
LOGINS_MAX = 64

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
        lockout: Lockout,
        audit: AuditStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._lockout = lockout
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._locks = KeyedLocks(callers_max=LOGINS_MAX)
        self._lines = LoginLines(clock.monotonic)
        self.work = ShieldedTasks()

    async def login(self, username: str, password: str, user_agent: str, address: str) -> LoggedIn:
        """Open a session for the right password.

        Raises Unauthenticated (AUTH_FAILED, also for an unknown user), Locked, RateLimited.
        """
        began = self._clock.monotonic()
        # A guess counts even if the client does not wait for the answer.
        attempt = self._attempt(username, password, user_agent, address)
        done = await self.work.finish(attempt)
        if isinstance(done, LoggedIn):
            return done
        await asyncio.sleep(max(0.0, began + REFUSAL_S - self._clock.monotonic()))
        raise done

    async def _attempt(
        self, username: str, password: str, user_agent: str, address: str
    ) -> LoggedIn | Refusal:
        """Return the session, or the refusal if the password was checked."""
        group = address_group(address)
        try:
            async with AsyncExitStack() as turns:
                for key in await self._turns(username, group):
                    await turns.enter_async_context(self._locks.hold(key))
                await self._check(username, group)
                try:
                    return await self._judge(username, password, user_agent, address)
                except (Unauthenticated, Locked, RateLimited) as refusal:
                    return refusal
        except TooManyWaiting:
            raise Unavailable("Too many log-ins at once", "BUSY", "try again in a moment") from None

    async def _turns(self, username: str, group: str) -> list[tuple[str, ...]]:
        """What one attempt at a time may hold, so that parallel guesses cannot outrun the counts.

        A user at a known address does not queue behind the guesses of strangers.
        """
        if await self._lockout.knows(username, group):
            return [("known", username, group)]
        return [("address", group), ("user", username)]

    async def _judge(self, username: str, password: str, user_agent: str, address: str) -> LoggedIn:
        checked, right = "", False
        for pause_s in account_tries(self._clock):
            found = await self._users.get_versioned(username)
            user, version = found or (None, "")
            stored = user.password_hash if user else None
            if stored is None or stored != checked:
                checked, right = stored or "", await self._passwords.verify(stored, password)
            # During the check, other processes' guesses may have locked the user or the address:
            # then the answer must not show whether this password was right.
            standing = await self._check(username, address_group(address))
            if not right or user is None or user.disabled:
                await self._refuse(user, standing, address)
                break
            try:
                return await self._open(user, version, standing, password, user_agent, address)
            except (AlreadyExists, VersionConflict):
                await asyncio.sleep(pause_s)  # the account changed, or a failure was counted
        else:
            raise Unavailable("Account is being changed", "BUSY", "try again in a moment")
        raise Unauthenticated("Invalid credentials", "AUTH_FAILED")

    async def _check(self, username: str, group: str) -> LogInStanding:
        """How the user and the address stand. Raises Locked or RateLimited if they must wait."""
        standing = await self._lockout.standing(username, group)
        self._pass(standing.refusal)
        return standing

    def _pass(self, refusal: Locked | RateLimited | None) -> None:
        """Count and raise the refusal, if there is one."""
        if refusal is not None:
            result = "locked" if isinstance(refusal, Locked) else "rate_limited"
            self._metrics.logins.labels(result=result).inc()
            raise refusal

    async def _open(
        self,
        user: User,
        version: str,
        standing: LogInStanding,
        password: str,
        user_agent: str,
        address: str,
    ) -> LoggedIn:
        """Open the session in one write with the account as it was checked.

        Raises AlreadyExists or VersionConflict if the account changed or a failure was counted
        since.
        """
        changes: dict[str, object] = {"last_login": self._clock.now_ms()}
        if self._passwords.outdated(user.password_hash):
            changes["password_hash"] = await self._passwords.hash(password)
        session_id, opening, pushed_out = await self._sessions.opening(user, user_agent, address)
        entry = self._audit.entry(
            "LOGIN_SUCCESS", tenant_id=_tenant(user), username=user.username, address=address
        )
        update = self._users.update_write(user.username, changes, version)
        ends = ended_entries(self._audit, pushed_out, address)
        writes = [update, *self._lockout.success(standing), *opening, entry, *ends]
        await self._client.write(writes)
        self._metrics.logins.labels(result="success").inc()
        self._lines.succeeded(user.username, _tenant(user), address)
        return LoggedIn(session_id, self._sessions.timeout_s, user)

    async def logout(self, secret_ids: Collection[str | None], address: str) -> None:
        """End these sessions, each together with its audit entry; an unknown one is no error."""
        found = await self._sessions.find(secret_ids)
        entries = [
            self._audit.entry(
                "LOGOUT",
                tenant_id=session.tenant_id or DEFAULT_TENANT,
                username=session.username,
                address=address,
                details={"session": session.digest[:DIGITS]},
            )
            for session in found
        ]
        if found:
            await self._client.write([*map(self._sessions.ending, found), *entries])
        # One of them may not be alive by this machine's clock, and by another's it is.
        await self._sessions.end(secret_ids)

    async def end_replaced(self, secret_ids: Iterable[str], address: str) -> None:
        """End the sessions that a browser had before the one that it has now."""
        try:
            found = await self._sessions.find(secret_ids)
            entries = ended_entries(self._audit, found, address, "another log-in in its browser")
            if found:
                await self._client.write([*map(self._sessions.ending, found), *entries])
        except Unavailable as error:
            log.warning("a session that a log-in replaced lives until it expires: %s", error)

    async def _refuse(self, user: User | None, standing: LogInStanding, address: str) -> None:
        failed = await self._lockout.fail(standing)
        self._pass(failed.refusal)
        self._metrics.logins.labels(result="failure").inc()
        # For a known name too: the time of an answer must not show which names exist.
        no_account = await self._audit.no_account(standing.username)
        entry = partial(
            self._audit.entry,
            tenant_id=_tenant(user),
            username=user.username if user else no_account,
            address=address,
            success=False,
        )
        entries: list[Write] = [entry("LOGIN_FAILURE")]
        self._lines.failed(user.username if user else None, address)
        if failed.locked_until_ms:
            self._lines.locked(user.username if user else None, failed.failures, address)
            why = {
                "reason": "failed_logins",
                "failures": failed.failures,
                "until_ms": failed.locked_until_ms,
            }
            entries.append(entry("USER_LOCKED", details=why))
        await self._audit.keep(entries)


def ended_entries(
    audit: AuditStore, ended: Iterable[Session], address: str, reason: str = "too many sessions"
) -> list[Write]:
    """The entries of sessions that ended because their user opened another one from `address`."""
    return [
        audit.entry(
            "SESSION_ENDED",
            tenant_id=session.tenant_id or DEFAULT_TENANT,
            username=session.username,
            address=address,
            details={
                "reason": reason,
                "session": session.digest[:DIGITS],
                "opened_at": session.created_at,
                "opened_from": session.address,
            },
        )
        for session in ended
    ]


def _tenant(user: User | None) -> str:
    return (user.tenant_id if user else "") or DEFAULT_TENANT
