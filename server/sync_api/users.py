"""SyncUsers: lets threads use accounts as dicts, with their failed log-ins and locks."""

from __future__ import annotations

from typing import Any

from server.auth.account_audit import Actor
from server.auth.attempts import Attempts
from server.auth.factory import Auth
from server.auth.passwords import legacy_hash, legacy_parts
from server.auth.principal import DEFAULT_TENANT
from server.common.clock import Clock
from server.common.errors import NotFound
from server.common.metrics import Metrics
from server.services.firestore.models import LATEST_MS, User
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import Create, Write
from server.sync_api.bridge import SyncBridge
from server.sync_api.face import Face, checked_name, whole_number

ROUNDS, COUNT_MAX = 100_000, 1_000_000
# The caller of every call here: the code beside this server, which serves all tenants.
ADDRESS = "sync face"
ACTOR = Actor("sync face", ADDRESS)
# Fields of an update that the account's document has; the others belong to its failed log-ins.
OWN_FIELDS = ("role", "tenant_id", "disabled", "last_login")
# Fields that an update may have and that are not stored: the server itself keeps the former hashes.
IGNORED = {"password_history", "algorithm_params", "salt", "updated_at"}


class SyncUsers(Face):
    """The users store of the existing server; an account's `user_id` is its username."""

    name = "users"

    def __init__(
        self, bridge: SyncBridge, metrics: Metrics, stores: Stores, auth: Auth, clock: Clock
    ) -> None:
        super().__init__(bridge, metrics)
        self._users = stores.users
        self._accounts = auth.lockout.accounts
        self._audit = stores.audit
        self._changes = auth.users
        self._clock = clock

    def create_user(
        self,
        username: str,
        password_hash: str,
        salt: str,
        role: str = "operator",
        algorithm_params: dict[str, Any] | None = None,
        *,
        tenant_id: str = DEFAULT_TENANT,
    ) -> str | None:
        """Create an account with a PBKDF2-SHA256 hash (hexadecimal); return its user_id.

        `algorithm_params` may hold the rounds as `iterations`. Returns None if the name is taken or
        invalid, or the role is unknown.
        """
        checked_name(tenant_id, "tenant_id")
        stored = _stored_hash(password_hash, salt, algorithm_params)

        async def create() -> str | None:
            # The store refuses an unknown role.
            making = self._changes.create_hashed(ACTOR, username, stored, role, tenant_id)  # type: ignore[arg-type]
            return (await making).username

        return self._ask("create_user", None, create)

    def get_user_by_username(self, username: str) -> dict[str, Any] | None:
        """The account, or None."""
        return self._ask("get_user_by_username", None, self._read, username)

    def get_by_username(self, username: str) -> dict[str, Any] | None:
        """The account, or None: another name of `get_user_by_username`."""
        return self.get_user_by_username(username)

    def get_user_by_id(self, user_id: str) -> dict[str, Any] | None:
        """The account, or None."""
        return self._ask("get_user_by_id", None, self._read, user_id)

    def update_user(self, user_id: str, updates: dict[str, Any]) -> bool:
        """Change fields of an account, all or none.

        They are role, tenant_id, disabled, last_login, password_hash with salt, failed_attempts and
        locked_until. A change of one of the first three or of the password ends its sessions.
        Returns False if a tenant would lose its last active admin.
        """
        changes = {key: updates[key] for key in OWN_FIELDS if key in updates}
        if changes.get("tenant_id"):
            checked_name(changes["tenant_id"], "tenant_id")
        if "password_hash" in updates:
            changes["password_hash"] = _stored_hash(
                updates["password_hash"], updates.get("salt"), updates.get("algorithm_params")
            )
        elif "salt" in updates:
            raise ValueError("salt: comes with the password_hash that was made with it")
        attempts = {
            key: updates[key] for key in ("failed_attempts", "locked_until") if key in updates
        }
        unknown = set(updates) - {*changes, *attempts, *IGNORED}
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]}: cannot be changed")
        return self._change("update_user", user_id, changes, **attempts)

    def update_password(
        self,
        user_id: str,
        password_hash: str,
        salt: str,
        algorithm_params: dict[str, Any] | None = None,
    ) -> bool:
        """Set a PBKDF2-SHA256 hash as in `create_user`; it ends the sessions, and a lock."""
        changes = {"password_hash": _stored_hash(password_hash, salt, algorithm_params)}
        return self._change("update_password", user_id, changes, failed_attempts=0)

    def delete_user(self, user_id: str) -> bool:
        """Delete an account and end its sessions; False for the last active admin of a tenant."""

        async def delete() -> bool:
            await self._changes.delete(ACTOR, user_id)
            return True

        return self._ask("delete_user", False, delete)

    def update_last_login(self, username: str) -> bool:
        """Note that the user logged in now."""
        return self._change("update_last_login", username, {"last_login": self._clock.now_ms()})

    def increment_failed_attempts(self, username: str) -> bool:
        """Count a failed log-in, which may lock the account; False if it is locked already."""

        async def count() -> bool:
            if await self._users.get_user_by_username(username) is None:
                raise NotFound(f"No user {username!r}")
            return not (await self._accounts.fail(username)).wait_ms

        return self._ask("increment_failed_attempts", False, count)

    def clear_failed_attempts(self, username: str) -> bool:
        """Reset the failed log-ins to 0, which also ends a lock."""
        return self._change("clear_failed_attempts", username, {}, failed_attempts=0)

    def lock_user(self, username: str, lock_until_ms: int) -> bool:
        """Refuse every log-in and session of the account until `lock_until_ms` (Unix ms).

        Unlike a lock by wrong passwords it also ends sessions, and holds at every address.
        """
        return self._change("lock_user", username, {}, locked_until=lock_until_ms)

    def is_user_locked(self, username: str) -> bool:
        """Whether the account is locked now, by hand or for addresses that are not known to it."""

        async def ask() -> bool:
            return bool(await self._accounts.locked([username]))

        return self._ask("is_user_locked", False, ask)

    def _change(
        self,
        method: str,
        username: str,
        changes: dict[str, Any],
        failed_attempts: int | None = None,
        locked_until: int | None = None,
    ) -> bool:
        if failed_attempts is not None:
            whole_number(failed_attempts, "failed_attempts", 0, COUNT_MAX)
        if locked_until is not None:
            whole_number(locked_until, "locked_until", 0, LATEST_MS)

        async def beside(user: User) -> list[Write]:
            writes: list[Write] = []
            if failed_attempts is not None or locked_until is not None:
                counted = failed_attempts, locked_until
                writes.append(await self._accounts.setting(user.username, *counted))
            if locked_until:
                writes.append(self._lock_entry(user, locked_until))
            return writes

        async def change() -> bool:
            await self._changes.change(ACTOR, username, changes, beside)
            return True

        return self._ask(method, False, change)

    def _lock_entry(self, user: User, until_ms: int) -> Create:
        return self._audit.entry(
            "USER_LOCKED",
            tenant_id=user.tenant_id or DEFAULT_TENANT,
            username=user.username,
            address=ADDRESS,
            details={"reason": "set_by_hand", "until_ms": until_ms},
        )

    async def _read(self, username: str) -> dict[str, Any] | None:
        user = await self._users.get_user_by_username(username)
        if user is None:
            return None
        return _dict(user, await self._accounts.counted(username))


def _stored_hash(digest: object, salt: object, params: dict[str, Any] | None) -> str:
    """Return the hash in its stored form. Raises TypeError, ValueError if it is no PBKDF2 hash."""
    if not isinstance(digest, str) or not isinstance(salt, str):
        raise TypeError("password_hash and salt must be hexadecimal texts")
    rounds = (params or {}).get("iterations", ROUNDS)
    stored = legacy_hash(salt, digest, rounds)
    if legacy_parts(stored) is None:
        raise ValueError(
            "password_hash must be 64 and salt 2 to 256 hexadecimal digits, iterations below 10^7"
        )
    return stored


def _dict(user: User, attempts: Attempts) -> dict[str, Any]:
    """Return the account as a dict.

    `salt` is empty once a log-in has replaced the PBKDF2 hash by one that contains its salt.
    """
    _, salt, digest = legacy_parts(user.password_hash) or (0, "", user.password_hash)
    return {
        "user_id": user.username,
        "username": user.username,
        "password_hash": digest,
        "salt": salt,
        "role": user.role,
        "tenant_id": user.tenant_id,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "last_login": user.last_login or 0,
        "failed_attempts": attempts.count,
        "locked_until": attempts.locked_until_ms,
        "password_history": [],
    }
