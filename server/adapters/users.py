"""Users for threads: accounts as dicts, with their failed log-ins and locks."""

from __future__ import annotations

from typing import Any

from server.adapters.face import Face, checked_name, whole_number
from server.adapters.sync import SyncBridge
from server.auth.factory import Auth
from server.auth.passwords import legacy_hash, legacy_parts
from server.auth.principal import DEFAULT_TENANT
from server.auth.rate_limit import Attempts
from server.clock import Clock
from server.errors import NotFound, Unavailable
from server.metrics import Metrics
from server.services.firestore.base import AlreadyExists, VersionConflict
from server.services.firestore.models import LATEST_MS, User
from server.services.firestore.service_factory import Stores

ROUNDS, COUNT_MAX = 100_000, 1_000_000
CONFLICTS_MAX = 20
# What an account itself keeps; the rest of an update belongs to its failed log-ins.
OWN_FIELDS = ("role", "tenant_id", "last_login")
# Accepted in an update and not kept: earlier passwords are of no use here.
IGNORED = {"password_history", "algorithm_params", "salt", "updated_at"}


class SyncUsers(Face):
    """The users store of the existing server. An account's `user_id` is its username."""

    name = "users"

    def __init__(
        self, bridge: SyncBridge, metrics: Metrics, stores: Stores, auth: Auth, clock: Clock
    ) -> None:
        super().__init__(bridge, metrics)
        self._client = stores.client
        self._users = stores.users
        self._accounts = auth.accounts
        self._sessions = auth.sessions
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
        """A new account with a PBKDF2-SHA256 hash (hexadecimal); its user_id.

        `algorithm_params` may hold the rounds as `iterations`. None if the name is taken or cannot
        be one, or the role is unknown.
        """
        checked_name(tenant_id, "tenant_id")
        stored = _stored_hash(password_hash, salt, algorithm_params)

        async def create() -> str | None:
            # The store refuses an unknown role.
            user = await self._users.create_user(username, stored, role, tenant_id)  # type: ignore[arg-type]
            return user.username

        return self._ask("create_user", None, create)

    def get_user_by_username(self, username: str) -> dict[str, Any] | None:
        """The account, or None."""
        return self._ask("get_user_by_username", None, self._read, username)

    def get_user_by_id(self, user_id: str) -> dict[str, Any] | None:
        """The account, or None."""
        return self._ask("get_user_by_id", None, self._read, user_id)

    def update_user(self, user_id: str, updates: dict[str, Any]) -> bool:
        """Change an account: role, tenant_id, last_login, password_hash with salt,
        failed_attempts, locked_until. All of it or nothing. A new password ends its sessions.
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

    def update_last_login(self, username: str) -> bool:
        """Note a log-in now."""
        return self._change("update_last_login", username, {"last_login": self._clock.now_ms()})

    def increment_failed_attempts(self, username: str) -> bool:
        """Count a failed log-in, which may lock the account; False if it is locked already."""

        async def count() -> bool:
            await self._known(username)
            return not (await self._accounts.fail(username)).wait_ms

        return self._ask("increment_failed_attempts", False, count)

    def clear_failed_attempts(self, username: str) -> bool:
        """Forget the failed log-ins; a lock goes with them."""
        return self._change("clear_failed_attempts", username, {}, failed_attempts=0)

    def lock_user(self, username: str, lock_until_ms: int) -> bool:
        """Refuse every log-in and session of the account until then (Unix ms)."""
        return self._change("lock_user", username, {}, locked_until=lock_until_ms)

    def is_user_locked(self, username: str) -> bool:
        """Whether the account is locked now."""

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

        async def change() -> bool:
            for _ in range(CONFLICTS_MAX):
                user, version = await self._known(username)
                writes: list[Any] = [self._users.update_write(user.username, changes, version)]
                if failed_attempts is not None or locked_until is not None:
                    counted = failed_attempts, locked_until
                    writes.append(await self._accounts.setting(username, *counted))
                try:
                    await self._client.write(writes)
                except (AlreadyExists, VersionConflict):
                    continue  # changed, or a failure counted, meanwhile
                if "password_hash" in changes:
                    await self._sessions.end_all_of(username)
                return True
            raise Unavailable("Account is being changed", "BUSY")

        return self._ask(method, False, change)

    async def _known(self, username: str) -> tuple[User, str]:
        found = await self._users.get_versioned(username)
        if found is None:
            raise NotFound(f"No user {username!r}")
        return found

    async def _read(self, username: str) -> dict[str, Any] | None:
        user = await self._users.get_user_by_username(username)
        if user is None:
            return None
        return _dict(user, await self._accounts.counted(username))


def _stored_hash(digest: object, salt: object, params: dict[str, Any] | None) -> str:
    """The stored form. Raises TypeError, ValueError for what is no PBKDF2 hash."""
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
    """`salt` is empty once a log-in has replaced the PBKDF2 hash by one that holds its own."""
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
