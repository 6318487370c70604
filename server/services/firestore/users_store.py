"""UsersStore: stores accounts by username, which is unique on the whole site, also without case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from server.common.clock import Clock
from server.common.errors import InvalidField
from server.services.firestore.base import document_id
from server.services.firestore.models import Role, User, checked, fields_of
from server.services.ports.documents import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    Delete,
    DocumentClient,
    Filter,
    Query,
    Reads,
    Update,
    Write,
)

COLLECTION = "users"
# One document for each name without case: it makes two creations at once exclude each other.
NAMES = "usernames"
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class UserChanges(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of an account that can be changed."""

    password_hash: str = ""
    password_history: list[str] = []
    role: Role = "read-only"
    tenant_id: str = ""
    last_login: int | None = None
    disabled: bool = False


class UserExists(AlreadyExists):
    """The username is taken, perhaps in other case."""

    code = "USER_EXISTS"


class UsersStore:
    """Accounts on a `DocumentClient`."""

    def __init__(self, client: DocumentClient, clock: Clock, reads: Reads) -> None:
        self._client = client
        self._clock = clock
        self._reads = reads

    async def create_user(
        self,
        username: str,
        password_hash: str,
        role: Role,
        tenant_id: str,
        beside: Sequence[Write] = (),
    ) -> User:
        """Create an account, in one write with those `beside` it.

        Raises InvalidField, or UserExists if a name is taken that is the same without case.
        """
        check_username(username)
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
        fields = fields_of(user)
        folded = without_case(username)
        # Accounts of earlier versions and of the existing server have no document of their name.
        async for one in self.of_all_tenants():
            if without_case(one.username) == folded:
                # Not its spelling: it may belong to another tenant.
                raise UserExists(COLLECTION, username)
        name = Create(NAMES, document_id(folded), {"username": username})
        try:
            await self._client.write(
                [Create(COLLECTION, document_id(username), fields), name, *beside]
            )
        except AlreadyExists as error:
            raise UserExists(error.collection, username) from None
        return user

    async def get_user_by_username(self, username: str) -> User | None:
        """The account, or None."""
        document = await self._client.get(COLLECTION, document_id(username))
        return msgspec.convert(document.fields, User) if document else None

    async def get_versioned(self, username: str) -> tuple[User, str] | None:
        """The account and its version for `update_write` and `deletion`, or None."""
        document = await self._client.get(COLLECTION, document_id(username))
        return (msgspec.convert(document.fields, User), document.version) if document else None

    async def get_users(self, usernames: list[str]) -> dict[str, User]:
        """The accounts that exist among these, by username.

        They may come from the cache; a cached account has no password hashes.
        """
        found = await self._reads.get_many(COLLECTION, [document_id(name) for name in usernames])
        users = (msgspec.convert(document.fields, User) for document in found.values())
        return {user.username: user for user in users}

    async def update_user(self, username: str, changes: dict[str, Any]) -> None:
        """Change some fields of an account. Raises VersionConflict if it does not exist."""
        await self._client.write([self.update_write(username, changes)])

    def update_write(
        self, username: str, changes: dict[str, Any], version: str | None = None
    ) -> Update:
        """The write that changes some fields of an account, if it still has `version`.

        Raises InvalidField for a field that cannot be changed, or an invalid value.
        """
        checked(changes, UserChanges)
        fields = {**changes, "updated_at": self._clock.now_ms()}
        return Update(COLLECTION, document_id(username), fields, if_version=version)

    @staticmethod
    def unchanged(user: User, version: str) -> Update:
        """The write that fails if the account has changed since `version`, and changes nothing."""
        fields = {"updated_at": user.updated_at}
        return Update(COLLECTION, document_id(user.username), fields, if_version=version)

    async def deletion(self, username: str, version: str | None) -> list[Delete]:
        """The writes that delete an account, if it still has `version`, and free its name."""
        deletes = [Delete(COLLECTION, document_id(username), if_version=version)]
        folded = document_id(without_case(username))
        name = await self._client.get(NAMES, folded)
        if name is not None and name.fields.get("username") == username:
            deletes.append(Delete(NAMES, folded, if_version=name.version))
        return deletes

    async def active_admins(self) -> list[tuple[User, str]]:
        """Every admin of the site that is not disabled, and its version."""
        query = Query(COLLECTION, (Filter("role", "==", "admin"),))
        found: list[tuple[User, str]] = []
        cursor: str | None = None
        while True:
            page = await self._client.query(query, PAGE_MAX, cursor)
            for one in page.documents:
                user = msgspec.convert(one.fields, User)
                if not user.disabled:
                    found.append((user, one.version))
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def any(self) -> bool:
        """Whether any account exists."""
        return bool((await self._client.query(Query(COLLECTION), 1)).documents)

    async def page_of_users(
        self, tenant_id: str | None, limit: int, cursor: str | None = None
    ) -> tuple[list[User], str | None]:
        """At most `limit` accounts of a tenant, or of all if None, and the next page's cursor.

        They are in the order of their ids. Raises Invalid for a malformed cursor.
        """
        filters = () if tenant_id is None else (Filter("tenant_id", "==", tenant_id),)
        page = await self._client.query(Query(COLLECTION, filters), limit, cursor)
        users = [msgspec.convert(document.fields, User) for document in page.documents]
        return users, page.next_cursor

    async def of_all_tenants(self) -> AsyncIterator[User]:
        """Every account of the site, read page by page."""
        cursor: str | None = None
        while True:
            users, cursor = await self.page_of_users(None, PAGE_MAX, cursor)
            for user in users:
                yield user
            if cursor is None:
                return

    async def list_users(self) -> list[User]:
        """Every account of the site in the order of usernames."""
        users = [user async for user in self.of_all_tenants()]
        return sorted(users, key=lambda user: user.username)


def check_username(username: str) -> None:
    """Raise InvalidField if no new account may have this name."""
    if not USERNAME.fullmatch(username):
        raise InvalidField(
            "username", "1 to 64 of A-Z a-z 0-9 . _ @ + -, beginning with a letter or digit"
        )


def without_case(username: str) -> str:
    """The name as it is compared with others: two that look alike but for case are equal."""
    folded = unicodedata.normalize("NFC", username).casefold()
    return unicodedata.normalize("NFC", folded)
