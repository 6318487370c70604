"""Actor: the caller who changes accounts; and the audit entries of such changes."""

from __future__ import annotations

from typing import Any, NamedTuple

from server.auth.principal import DEFAULT_TENANT
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import User
from server.services.ports.documents import Create


class Actor(NamedTuple):
    """The caller: its name and address for the audit log, and the accounts that exist for it.

    Those are the accounts of one tenant; None stands for all of the site.
    """

    name: str
    address: str
    tenant_id: str | None = None


def account_entry(
    audit: AuditStore, action: str, actor: Actor, user: User, success: bool = True, **details: Any
) -> Create:
    """The write of an entry about an account, for the admins of its tenant to read."""
    return audit.entry(
        action,
        tenant_id=user.tenant_id or DEFAULT_TENANT,
        username=actor.name,
        address=actor.address,
        success=success,
        details={"user": user.username, **details},
    )


def change_entries(
    audit: AuditStore, actor: Actor, before: User, after: User, password: str, ended: int
) -> list[Create]:
    """One entry for each kind of change; a move to another tenant has one in both tenants.

    `password` is the action of a new password, `ended` how many sessions the change ends.
    """

    def entry(action: str, user: User = before, **details: Any) -> Create:
        return account_entry(audit, action, actor, user, **details, sessions_ended=ended)

    entries = []
    if before.role != after.role:
        entries.append(entry("USER_ROLE_CHANGED", old_role=before.role, role=after.role))
    if before.tenant_id != after.tenant_id:
        moved = {"old_tenant": before.tenant_id, "tenant": after.tenant_id}
        entries += [entry("USER_TENANT_CHANGED", user, **moved) for user in (before, after)]
    if before.disabled != after.disabled:
        entries.append(entry("USER_DISABLED" if after.disabled else "USER_ENABLED"))
    if before.password_hash != after.password_hash:
        entries.append(entry(password))
    return entries
