"""AccountService: the rules by which accounts are made, changed and removed, for every caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from server.auth.account_audit import Actor, account_entry, change_entries
from server.auth.last_admin import witness
from server.auth.lockout import Lockout
from server.auth.passwords import Passwords
from server.auth.principal import DEFAULT_TENANT
from server.common.clock import Clock
from server.common.errors import Conflict, NotFound, Unavailable
from server.common.retries import account_tries
from server.common.shielded_tasks import ShieldedTasks
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import in_parts
from server.services.firestore.models import Role, User, checked
from server.services.firestore.sessions_store import SessionsStore
from server.services.firestore.users_store import UserChanges, UsersStore, check_username
from server.services.ports.documents import (
    AlreadyExists,
    DocumentClient,
    VersionConflict,
    Write,
)

# A change of one of these ends the account's sessions.
ENDING = {"role", "tenant_id", "disabled", "password_hash"}
# Sessions that end in the same write as the change, which has room for 500 documents.
SESSIONS_AT_ONCE = 400

T = TypeVar("T")
Beside = Callable[[User], Awaitable[list[Write]]]
"""Makes writes that go with a change of an account, such as those of its failed log-ins."""


class Account(msgspec.Struct, frozen=True):
    """An account, its failed log-ins that count now, and until when it is locked (Unix ms or 0)."""

    user: User
    failures: int = 0
    locked_until: int = 0

    @property
    def state(self) -> Literal["active", "disabled", "locked"]:
        """Whether the account can log in."""
        if self.user.disabled:
            return "disabled"
        return "locked" if self.locked_until else "active"


class Changed(NamedTuple):
    """An account after a change, and how many of its sessions ended."""

    user: User
    ended: int


class Unlocked(NamedTuple):
    """What `unlock_name` found: whether the name is an account, and whether it was locked."""

    exists: bool
    was_locked: bool
    failures: int


class AccountService:
    """Each change is one write: of the account, its sessions and the audit entry.

    It finishes even if its caller is cancelled. It raises NotFound for a name that the actor may
    not see, exactly as for one that does not exist, InvalidField for a wrong value, and Unavailable
    while too many others change the account.
    """

    def __init__(
        self,
        *,
        client: DocumentClient,
        users: UsersStore,
        sessions: SessionsStore,
        lockout: Lockout,
        passwords: Passwords,
        audit: AuditStore,
        clock: Clock,
        work: ShieldedTasks,
    ) -> None:
        """`work` is closed by its owner."""
        self._client = client
        self._users = users
        self._sessions = sessions
        self._lockout = lockout
        self._attempts = lockout.accounts
        self._passwords = passwords
        self._audit = audit
        self._clock = clock
        self._work = work

    async def get(self, actor: Actor, username: str) -> Account:
        """The account as it stands now."""
        return await self._account((await self.visible(actor, username))[0])

    async def page(
        self, actor: Actor, limit: int, cursor: str | None = None
    ) -> tuple[list[Account], str | None]:
        """At most `limit` accounts that the actor may see, and the next page's cursor.

        Raises Invalid for a malformed cursor.
        """
        users, following = await self._users.page_of_users(actor.tenant_id, limit, cursor)
        return [await self._account(user) for user in users], following

    async def everyone(self) -> AsyncIterator[Account]:
        """Every account of the site, in the order of names."""
        for user in await self._users.list_users():
            yield await self._account(user)

    async def create(
        self, actor: Actor, username: str, password: str, role: Role, tenant_id: str
    ) -> User:
        """Create an account. Raises UserExists for a name that is taken, also in other case."""
        check_username(username)
        password_hash = await self._passwords.hash_new(password, username, tenant_id)
        return await self.create_hashed(actor, username, password_hash, role, tenant_id)

    async def create_hashed(
        self, actor: Actor, username: str, password_hash: str, role: Role, tenant_id: str
    ) -> User:
        """As `create`, with a hash instead of a password."""
        entry = self._audit.entry(
            "USER_CREATED",
            tenant_id=tenant_id or DEFAULT_TENANT,
            username=actor.name,
            address=actor.address,
            details={"user": username, "role": role},
        )
        making = self._users.create_user(username, password_hash, role, tenant_id, [entry])
        return await self._work.finish(making)

    async def change(
        self,
        actor: Actor,
        username: str,
        changes: Mapping[str, Any],
        beside: Beside | None = None,
        *,
        keep: str | None = None,
        action: str = "PASSWORD_SET",
        old_hash: str | None = None,
    ) -> Changed:
        """Set these fields of `UserChanges`, all or none; what is so already stays as it is.

        The session with the digest `keep` goes on; `action` names a new password in the audit log.
        Raises LastAdmin, and Conflict if the password's hash is no longer `old_hash`.
        """
        checked(dict(changes), UserChanges)

        async def attempt() -> tuple[Changed, bool]:
            user, version = await self.visible(actor, username)
            if old_hash not in {None, user.password_hash}:
                raise Conflict("Password was changed", "PASSWORD_CHANGED", "log in again")
            wanted = dict(changes)
            if "password_hash" in changes:
                wanted |= self._passwords.replacing(user, changes["password_hash"])
            new = {name: value for name, value in wanted.items() if getattr(user, name) != value}
            after = msgspec.structs.replace(user, **new)
            ends = bool(new.keys() & ENDING)
            endings = await self._endings(username, keep) if ends else []
            writes: list[Write] = []
            if new:
                writes.append(self._users.update_write(username, new, version))
                writes += await witness(self._users, user, after)
            if beside is not None:
                writes += await beside(user)
            if writes:
                about = actor, user, after, action, len(endings)
                entries = change_entries(self._audit, *about)
                await self._client.write([*writes, *endings, *entries])
            return Changed(after, len(endings)), ends

        async def work() -> Changed:
            changed, ends = await self._tried(attempt)
            # A session may have been opened since the list was read.
            more = await self._sweep(username, keep) if ends else 0
            return Changed(changed.user, changed.ended + more)

        return await self._work.finish(work())

    async def set_password(self, actor: Actor, username: str, password: str) -> Changed:
        """Set a password; it ends the sessions, and a lock."""
        user, _ = await self.visible(actor, username)
        changes = await self._passwords.new_of(user, password)

        async def work() -> Changed:
            changed = await self.change(actor, username, changes)
            await self._unlock(actor, username, changed.user)
            return changed

        return await self._work.finish(work())

    async def unlock(self, actor: Actor, username: str) -> User:
        """End a lock, also one by hand, and forget the failed log-ins."""
        user, _ = await self.visible(actor, username)
        await self._work.finish(self._unlock(actor, username, user))
        return user

    async def unlock_name(self, actor: Actor, username: str) -> Unlocked:
        """As `unlock`, for a name that may be no account: such names are locked too."""
        user = await self._users.get_user_by_username(username)
        before = await self._attempts.counted(username)
        was_locked = bool((await self._attempts.standing(username)).wait_ms)
        await self._work.finish(self._unlock(actor, username, user))
        return Unlocked(user is not None, was_locked, before.count)

    async def _unlock(self, actor: Actor, username: str, user: User | None) -> None:
        name = username if user else await self._audit.no_account(username)
        entry = self._audit.entry(
            "USER_UNLOCKED",
            tenant_id=(user.tenant_id if user else "") or DEFAULT_TENANT,
            username=actor.name,
            address=actor.address,
            details={"user": name},
        )
        await self._lockout.unlock(username, entry)

    async def end_sessions(self, actor: Actor, username: str) -> int:
        """End every session of the account; return how many there were."""

        async def work() -> int:
            user, _ = await self.visible(actor, username)
            ended = await self._sweep(username, None)
            entry = account_entry(self._audit, "SESSIONS_ENDED", actor, user, sessions_ended=ended)
            await self._audit.keep([entry])
            return ended

        return await self._work.finish(work())

    async def delete(self, actor: Actor, username: str) -> int:
        """Delete an account; return how many sessions ended. Raises LastAdmin."""

        async def attempt() -> int:
            user, version = await self.visible(actor, username)
            endings = await self._endings(username, None)
            deletion: list[Write] = [*await self._users.deletion(username, version)]
            deletion += await witness(self._users, user, None)
            deletion += self._lockout.departure(username)
            entry = account_entry(
                *(self._audit, "USER_DELETED", actor, user),
                role=user.role,
                sessions_ended=len(endings),
            )
            await self._client.write([*deletion, *endings, entry])
            return len(endings)

        async def work() -> int:
            return await self._tried(attempt) + await self._sweep(username, None)

        return await self._work.finish(work())

    async def visible(self, actor: Actor, username: str) -> tuple[User, str]:
        """The account and its version. Raises NotFound."""
        found = await self._users.get_versioned(username)
        if found is None or actor.tenant_id not in {None, found[0].tenant_id}:
            raise NotFound("No such user", "NO_SUCH_USER", f"no user {username[:64]!r}")
        return found

    async def _account(self, user: User) -> Account:
        attempts = await self._attempts.counted(user.username)
        locked = await self._attempts.locked([user.username])
        return Account(user, attempts.count, attempts.locked_until_ms if locked else 0)

    async def _endings(self, username: str, keep: str | None) -> list[Write]:
        live = await self._sessions.sessions_of(username)
        ending = [one.digest for one in live if one.digest != keep]
        return [self._sessions.deletion(digest) for digest in ending[:SESSIONS_AT_ONCE]]

    async def _sweep(self, username: str, keep: str | None) -> int:
        """End all sessions but one; return how many there were."""
        live = await self._sessions.sessions_of(username)
        ending = [one.digest for one in live if one.digest != keep]
        for some in in_parts(ending):
            await self._sessions.invalidate_sessions(some)
        return len(ending)

    async def _tried(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the first attempt without a conflict."""
        for pause_s in account_tries(self._clock):
            try:
                return await attempt()
            except (AlreadyExists, VersionConflict):
                # The account, its witness or its failures changed since they were read.
                await asyncio.sleep(pause_s)
        raise Unavailable("Account is being changed", "BUSY", "try again in a moment")
