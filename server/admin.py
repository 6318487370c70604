"""Administration on the command line: users and device keys, on the configured store."""

from __future__ import annotations

import secrets

import msgspec

from server.auth.device_keys import DeviceKeys
from server.auth.passwords import Passwords
from server.auth.sessions import SessionService
from server.errors import InvalidField, NotFound
from server.routes.models import DeviceId
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import Role, User
from server.services.firestore.users_store import UserExists, UsersStore

ADDRESS = "command line"


class Admin:
    """What an operator of the machine may do; every change is audited."""

    def __init__(
        self,
        users: UsersStore,
        sessions: SessionService,
        passwords: Passwords,
        keys: DeviceKeys,
        audit: AuditStore,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._keys = keys
        self._audit = audit

    async def first_admin(
        self, tenant_id: str, password: str | None = None, *, again: bool = False
    ) -> str | None:
        """With no user at all, create `admin`; the password, a random one if none is given, to be
        told once. Else None.

        `again`: a try with this password came before, whose answer was lost; it may have been the
        one that did it.
        """
        password = password or secrets.token_urlsafe(12)
        if await self._users.any():
            return password if again and await self._is_admin_s(password) else None
        try:
            await self.create_user("admin", password, "admin", tenant_id)
        except UserExists:
            return None  # another server that was started at the same time came first
        return password

    async def _is_admin_s(self, password: str) -> bool:
        user = await self._users.get_user_by_username("admin")
        return user is not None and await self._passwords.verify(user.password_hash, password)

    async def create_user(self, username: str, password: str, role: Role, tenant_id: str) -> User:
        """A new account. Raises InvalidField, UserExists."""
        password_hash = await self._passwords.hash_new(password)
        user = await self._users.create_user(username, password_hash, role, tenant_id)
        await self._audit.log_event(
            "USER_CREATED",
            tenant_id=tenant_id,
            username=username,
            address=ADDRESS,
            details={"role": role},
        )
        return user

    async def set_password(self, username: str, password: str) -> int:
        """A new password; how many sessions it ended. Raises NotFound, InvalidField."""
        user = await self._users.get_user_by_username(username)
        if user is None:
            raise NotFound(f"No user {username!r}")
        password_hash = await self._passwords.hash_new(password)
        await self._users.update_user(username, {"password_hash": password_hash})
        ended = await self._sessions.end_all_of(username)
        await self._audit.log_event(
            "PASSWORD_SET", tenant_id=user.tenant_id, username=username, address=ADDRESS
        )
        return ended

    async def list_users(self) -> list[User]:
        """Every account."""
        return await self._users.list_users()

    async def register_device(self, tenant_id: str, device_id: str) -> str:
        """A new key for the device, which replaces an earlier one. Raises InvalidField."""
        try:
            msgspec.convert(device_id, DeviceId)
        except msgspec.ValidationError as error:
            raise InvalidField("device_id", str(error)) from None
        key = await self._keys.issue(tenant_id, device_id)
        await self._audit.log_event(
            "DEVICE_KEY_ISSUED",
            tenant_id=tenant_id,
            username="",
            address=ADDRESS,
            details={"device_id": device_id},
        )
        return key
