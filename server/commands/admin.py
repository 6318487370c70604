"""Admin: what the commands do to accounts and device keys, on the configured store."""

from __future__ import annotations

import msgspec

from server.auth.account_audit import Actor
from server.auth.accounts import Unlocked
from server.auth.factory import Auth
from server.common.errors import InvalidField
from server.common.os_user import COMMAND_LINE, command_actor
from server.routes.models import DeviceId
from server.services.firestore.models import Role, User
from server.services.firestore.service_factory import Stores
from server.services.firestore.users_store import UserExists


def console() -> Actor:
    """The one who runs a command: it sees and changes the accounts of all tenants."""
    return Actor(command_actor(), COMMAND_LINE)


class Admin:
    """The changes that an operator may make on the command line; each one is audited."""

    def __init__(self, stores: Stores, auth: Auth) -> None:
        self.accounts = auth.users
        self._users = stores.users
        self._passwords = auth.passwords
        self.keys = auth.key_service

    async def first_admin(
        self, tenant_id: str, password: str | None = None, *, again: bool = False
    ) -> str | None:
        """If there is no user, create `admin` and return the password, which is shown once.

        Without a password a random one is made. Returns None if there are users. `again` says that
        the answer to an earlier call with this password was lost: if that call made the account,
        the password is returned too.
        """
        password = password or self._passwords.random()
        if await self._users.any():
            return password if again and await self._is_admin_s(password) else None
        try:
            await self.create_user("admin", password, "admin", tenant_id)
        except UserExists:
            return None  # another server, started at the same time, made the account first
        return password

    async def _is_admin_s(self, password: str) -> bool:
        user = await self._users.get_user_by_username("admin")
        return user is not None and await self._passwords.verify(user.password_hash, password)

    async def create_user(self, username: str, password: str, role: Role, tenant_id: str) -> User:
        """Create an account. Raises InvalidField, UserExists."""
        return await self.accounts.create(console(), username, password, role, tenant_id)

    async def set_password(self, username: str, password: str) -> int:
        """Set a password; return how many sessions that ended. Raises NotFound, InvalidField.

        It also ends a lock and forgets the failed log-ins.
        """
        return (await self.accounts.set_password(console(), username, password)).ended

    async def unlock_user(self, username: str) -> Unlocked:
        """End the lock of a name, which may be no account, and forget its failed log-ins."""
        return await self.accounts.unlock_name(console(), username)

    async def register_device(self, tenant_id: str, device_id: str) -> str:
        """Return a new key for the device; it replaces an earlier one. Raises InvalidField."""
        try:
            msgspec.convert(device_id, DeviceId)
        except msgspec.ValidationError as error:
            raise InvalidField("device_id", str(error)) from None
        return (await self.keys.issue(console(), tenant_id, device_id)).key
