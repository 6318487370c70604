"""TenantsStore: stores which tenants there are, and deletes one with all that the stores keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import msgspec

from server.common.clock import Clock
from server.services.firestore.audit_chain import ENDS, ENTRIES
from server.services.firestore.base import document_id
from server.services.firestore.device_keys_store import KEYS
from server.services.firestore.devices_store import COLLECTION as DEVICES
from server.services.firestore.models import Tenant, fields_of
from server.services.firestore.routing import ALARM_SLOTS, ALARMS, NOTICES
from server.services.firestore.sessions_store import COLLECTION as SESSIONS
from server.services.firestore.tenant_documents import TenantDocuments
from server.services.firestore.tokens_store import COLLECTION as TOKENS
from server.services.firestore.tokens_store import NAMES as TOKEN_NAMES
from server.services.firestore.users_store import COLLECTION as USERS
from server.services.firestore.users_store import UsersStore
from server.services.firestore.zone_settings_store import ZONE_SETTINGS
from server.services.firestore.zones_store import SETTINGS, ZONES
from server.services.ports.documents import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    Delete,
    DocumentClient,
    Put,
    Write,
)
from server.services.ports.readings import ALWAYS, ReadingHistory

COLLECTION = "tenants"
READINGS = "readings"
# Accounts, tokens and keys come first: when they are gone, nothing can add to the rest.
FIRST = (
    *(SESSIONS, TOKENS, TOKEN_NAMES, KEYS, DEVICES, ZONES, ZONE_SETTINGS, SETTINGS),
    *(ALARMS, ALARM_SLOTS, *NOTICES),
)


class TenantExists(AlreadyExists):
    """The tenant's name is taken."""

    code = "TENANT_EXISTS"


class TenantFigures(msgspec.Struct, frozen=True):
    """What a tenant has."""

    users: int
    devices: int
    zones: int
    readings: int


class Deleted(NamedTuple):
    """A step of a deletion: of what, and how many."""

    what: str
    number: int


class TenantsStore:
    """Tenants on a `DocumentClient`, with their readings in a `ReadingHistory`.

    A tenant needs no document: one of which there is any data exists too.
    """

    def __init__(
        self, client: DocumentClient, history: ReadingHistory, users: UsersStore, clock: Clock
    ) -> None:
        self._client = client
        self._history = history
        self._users = users
        self._clock = clock
        self._documents = TenantDocuments(client)

    async def create_tenant(self, tenant_id: str, beside: Write) -> None:
        """Create a tenant, in one write with `beside`. Raises TenantExists."""
        if tenant_id in await self.tenant_ids():
            raise TenantExists(COLLECTION, tenant_id)
        tenant = Tenant(tenant_id=tenant_id, created_at=self._clock.now_ms())
        try:
            await self._client.write(
                [Create(COLLECTION, document_id(tenant_id), fields_of(tenant)), beside]
            )
        except AlreadyExists:
            raise TenantExists(COLLECTION, tenant_id) from None

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant's document, if it has one."""
        document = await self._client.get(COLLECTION, document_id(tenant_id))
        return msgspec.convert(document.fields, Tenant) if document else None

    async def tenant_ids(self) -> list[str]:
        """Every tenant that was created, or has accounts, tokens, devices, zones, settings or
        readings."""
        found: set[str] = set(await self._history.tenant_ids())
        for collection in (COLLECTION, USERS, TOKEN_NAMES, DEVICES, ZONES, SETTINGS):
            found |= set(await self._documents.tenant_ids(collection))
        return sorted(found)

    async def figures(self, tenant_id: str) -> TenantFigures:
        """Count what the tenant has."""
        users, devices, zones = [
            await self._documents.count_of(collection, tenant_id)
            for collection in (USERS, DEVICES, ZONES)
        ]
        readings = (await self._history.figures(tenant_id, None, ALWAYS)).count
        return TenantFigures(users, devices, zones, readings)

    async def delete_tenant(
        self, tenant_id: str, departure: Callable[[str], Sequence[Write]]
    ) -> AsyncIterator[Deleted]:
        """Delete all that the stores keep of a tenant; yield after each step.

        `departure` makes the writes that forget the log-ins of an account by its name.
        It may be stopped at any time and begun again. Until its end the tenant's document says that
        it is being deleted. No other process may store anything of the tenant during this time.
        """
        before = await self.get_tenant(tenant_id) or Tenant(tenant_id=tenant_id)
        marked = msgspec.structs.replace(before, deleting=True)
        await self._client.write([Put(COLLECTION, document_id(tenant_id), fields_of(marked))])
        async for step in self._delete_users(tenant_id, departure):
            yield step
        for collection in FIRST:
            async for count in self._documents.delete_of(collection, tenant_id):
                yield Deleted(collection, count)
        async for count in self._history.delete_tenant(tenant_id):
            yield Deleted(READINGS, count)
        # The end of the chain last: without it the entries would look forged.
        for collection in (ENTRIES, ENDS):
            async for count in self._documents.delete_of(collection, tenant_id):
                yield Deleted(collection, count)

    async def end_deletion(self, tenant_id: str, beside: Write) -> None:
        """Delete the tenant's own document, in one write with `beside`: nothing is left."""
        await self._client.write([Delete(COLLECTION, document_id(tenant_id)), beside])

    async def _delete_users(
        self, tenant_id: str, departure: Callable[[str], Sequence[Write]]
    ) -> AsyncIterator[Deleted]:
        while True:
            users, following = await self._users.page_of_users(tenant_id, PAGE_MAX)
            for user in users:
                deletion = await self._users.deletion(user.username, None)
                await self._client.write([*deletion, *departure(user.username)])
                yield Deleted(USERS, 1)
            if following is None:
                return
