"""TenantService: makes, lists and deletes tenants, and says which may not be deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from server.auth.account_audit import Actor
from server.auth.lockout import Lockout
from server.auth.principal import DEFAULT_TENANT
from server.common.errors import Conflict, Invalid, NotFound
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.tenants_store import Deleted, TenantFigures, TenantsStore
from server.services.firestore.users_store import UsersStore
from server.services.ports.documents import Create


class ListedTenant(NamedTuple):
    """A tenant, what it has, and whether its deletion was begun."""

    tenant_id: str
    figures: TenantFigures
    deleting: bool


class TenantService:
    """The tenants of a site."""

    def __init__(
        self, tenants: TenantsStore, users: UsersStore, lockout: Lockout, audit: AuditStore
    ) -> None:
        self._tenants = tenants
        self._users = users
        self._lockout = lockout
        self._audit = audit

    async def create(self, actor: Actor, tenant_id: str) -> None:
        """Create a tenant without any account. Raises TenantExists."""
        entry = self._entry("TENANT_CREATED", actor, tenant_id, tenant_id)
        await self._tenants.create_tenant(tenant_id, entry)

    async def all(self) -> AsyncIterator[ListedTenant]:
        """Every tenant, in the order of names."""
        for tenant_id in await self._tenants.tenant_ids():
            yield await self.get(tenant_id)

    async def get(self, tenant_id: str) -> ListedTenant:
        """The tenant as it stands now."""
        document = await self._tenants.get_tenant(tenant_id)
        figures = await self._tenants.figures(tenant_id)
        return ListedTenant(tenant_id, figures, document is not None and document.deleting)

    async def to_delete(self, tenant_id: str) -> ListedTenant:
        """The tenant, if it may be deleted.

        Raises Invalid for the default tenant, NotFound for one without any data, and Conflict if
        the site would have no active admin.
        """
        if tenant_id == DEFAULT_TENANT:
            raise Invalid(
                f"Tenant {DEFAULT_TENANT} cannot be deleted",
                "DEFAULT_TENANT",
                "devices without a key belong to it",
            )
        if tenant_id not in await self._tenants.tenant_ids():
            raise NotFound("No such tenant", "NO_SUCH_TENANT", f"no tenant {tenant_id!r}")
        admins = [user for user, _ in await self._users.active_admins()]
        if admins and all(user.tenant_id == tenant_id for user in admins):
            raise Conflict(
                "Last admin",
                "LAST_ADMIN",
                f"all active admins of the site belong to tenant {tenant_id}: make one in another"
                " tenant first",
            )
        return await self.get(tenant_id)

    async def delete(self, actor: Actor, tenant_id: str) -> AsyncIterator[Deleted]:
        """Delete it with all its data; yield after each step, as `TenantsStore.delete_tenant`.

        Raises what `to_delete` raises. The audit log of the default tenant keeps an entry of the
        beginning and one of the end.
        """
        figures = msgspec.structs.asdict((await self.to_delete(tenant_id)).figures)
        begun = self._entry("TENANT_DELETION_BEGUN", actor, DEFAULT_TENANT, tenant_id, **figures)
        await self._audit.keep([begun])
        async for step in self._tenants.delete_tenant(tenant_id, self._lockout.departure):
            yield step
        done = self._entry("TENANT_DELETED", actor, DEFAULT_TENANT, tenant_id, **figures)
        await self._tenants.end_deletion(tenant_id, done)

    def _entry(
        self, action: str, actor: Actor, kept_in: str, tenant_id: str, **details: int
    ) -> Create:
        return self._audit.entry(
            action,
            tenant_id=kept_in,
            username=actor.name,
            address=actor.address,
            details={"tenant": tenant_id, **details},
        )
