"""UsersStore: accounts, by their site-wide unique username."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from server.clock import Clock
from server.errors import InvalidField
from server.services.firestore.base import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    DocumentClient,
    Query,
    Reads,
    Update,
    document_id,
)
from server.services.firestore.models import Role, User, checked, fields_of

COLLECTION = "users"
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class UserChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What of an account can be changed."""

    password_hash: str = ""
    role: Role = "read-only"
    tenant_id: str = ""
    last_login: int | None = None


class UserExists(AlreadyExists):
    """The username is taken."""

    code = "USER_EXISTS"


class UsersStore:
    """Accounts on a `DocumentClient`."""

    def __init__(self, client: DocumentClient, clock: Clock, reads: Reads) -> None:
        self._client = client
        self._clock = clock
        self._reads = reads

    async def create_user(
        self, username: str, password_hash: str, role: Role, tenant_id: str
    ) -> User:
        """A new account. Raises InvalidField, or UserExists if the name is taken."""
        if not USERNAME.fullmatch(username):
            raise InvalidField(
                "username", "1 to 64 of A-Z a-z 0-9 . _ @ + -, beginning with a letter or digit"
            )
        now = self._clock.now_ms()
        user = User(
            user_id=username,
            username=username,
            password_hash=password_hash,
            role=role,
            tenant_id=tenant_id,
            created_at=now,
            updated_at=now,
        )
        try:
            await self._client.write([Create(COLLECTION, document_id(username), fields_of(user))])
        except AlreadyExists as error:
            raise UserExists(error.collection, username) from None
        return user

    async def get_user_by_username(self, username: str) -> User | None:
        """The account, or None."""
        document = await self._client.get(COLLECTION, document_id(username))
        return msgspec.convert(document.fields, User) if document else None

    async def get_versioned(self, username: str) -> tuple[User, str] | None:
        """The account and its version, for `update_write`; or None."""
        document = await self._client.get(COLLECTION, document_id(username))
        return (msgspec.convert(document.fields, User), document.version) if document else None

    async def get_users(self, usernames: list[str]) -> dict[str, User]:
        """Those of the accounts that exist, by username; as they were a moment ago, without hash
        where they are remembered."""
        found = await self._reads.get_many(COLLECTION, [document_id(name) for name in usernames])
        users = (msgspec.convert(document.fields, User) for document in found.values())
        return {user.username: user for user in users}

    async def update_user(self, username: str, changes: dict[str, Any]) -> None:
        """Change some fields of an account. Raises VersionConflict if it does not exist."""
        await self._client.write([self.update_write(username, changes)])

    def update_write(
        self, username: str, changes: dict[str, Any], version: str | None = None
    ) -> Update:
        """The write that changes some fields of an account, if it still is at `version`.

        Raises InvalidField for a field that cannot be changed, or not to this.
        """
        checked(changes, UserChanges)
        fields = {**changes, "updated_at": self._clock.now_ms()}
        return Update(COLLECTION, document_id(username), fields, if_version=version)

    async def any(self) -> bool:
        """Whether there is an account at all."""
        return bool((await self._client.query(Query(COLLECTION), 1)).documents)

    async def list_users(self) -> list[User]:
        """Every account of the site, by username; the first 10,000."""
        page = await self._client.query(Query(COLLECTION), PAGE_MAX)
        users = (msgspec.convert(document.fields, User) for document in page.documents)
        return sorted(users, key=lambda user: user.username)
