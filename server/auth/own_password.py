"""OwnPassword: lets users change their own password, and no thief of a session guess it."""

from __future__ import annotations

from server.auth.account_audit import Actor, account_entry
from server.auth.accounts import AccountService, Changed
from server.auth.attempts import AttemptLimiter, seconds
from server.auth.passwords import Passwords
from server.auth.principal import Principal
from server.common.errors import Forbidden, RateLimited, Unavailable
from server.common.keyed_locks import KeyedLocks, TooManyWaiting
from server.common.shielded_tasks import ShieldedTasks
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import User
from server.services.ports.documents import Write

# Changes of one account's password that may run or wait at a time.
CHANGES_MAX = 8


class OwnPassword:
    """Changes a password for a caller who knows the old one.

    `guesses` counts wrong old ones by account, apart from failed log-ins: a thief of a session
    cannot guess on, and cannot lock the user out either.
    """

    def __init__(
        self,
        users: AccountService,
        passwords: Passwords,
        guesses: AttemptLimiter,
        audit: AuditStore,
        work: ShieldedTasks,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._guesses = guesses
        self._audit = audit
        self._work = work
        self._locks = KeyedLocks(callers_max=CHANGES_MAX)

    async def change(self, caller: Principal, address: str, old: str, new: str) -> Changed:
        """Change it; the caller's session goes on, all others of the account end.

        Raises Forbidden (WRONG_PASSWORD), InvalidField for a new one that is not allowed, Conflict
        if it was changed at the same moment, and RateLimited after too many wrong old ones.
        """
        # A guess counts even if the client does not wait for the answer.
        return await self._work.finish(self._change(caller, address, old, new))

    async def _change(self, caller: Principal, address: str, old: str, new: str) -> Changed:
        name = caller.username
        actor = Actor(name, address, caller.tenant_id)
        try:
            async with self._locks.hold(name):  # guesses at once cannot outrun the count
                user, _ = await self._users.visible(actor, name)
                await self._may_guess(name)
                right = await self._passwords.verify(user.password_hash, old)
                await self._may_guess(name)  # other processes may have counted guesses since
                if not right:
                    if wait_ms := (await self._guesses.fail(name)).wait_ms:
                        raise RateLimited(seconds(wait_ms))
                    refused = "PASSWORD_CHANGE_REFUSED"
                    await self._audit.keep(
                        [account_entry(self._audit, refused, actor, user, False)]
                    )
                    raise Forbidden("Wrong password", "WRONG_PASSWORD", "old_password is wrong")
                changes = await self._passwords.new_of(user, new)
                return await self._users.change(
                    actor,
                    name,
                    changes,
                    self._forgetting,
                    keep=caller.session,
                    action="PASSWORD_CHANGED",
                    old_hash=user.password_hash,
                )
        except TooManyWaiting:
            raise Unavailable("Too many changes at once", "BUSY", "try again in a moment") from None

    async def _may_guess(self, username: str) -> None:
        if wait_ms := (await self._guesses.standing(username)).wait_ms:
            raise RateLimited(seconds(wait_ms))

    async def _forgetting(self, user: User) -> list[Write]:
        standing = await self._guesses.standing(user.username)
        if standing.wait_ms:
            raise RateLimited(seconds(standing.wait_ms))
        return [self._guesses.forgetting(user.username, standing)]
