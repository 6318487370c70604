"""Writes the audit entry of a command that changes the data of the whole site."""

from __future__ import annotations

from typing import Any

from server.auth.principal import DEFAULT_TENANT
from server.common.os_user import COMMAND_LINE, command_actor
from server.services.firestore.audit_store import AuditStore


async def audit_command(audit: AuditStore, action: str, details: dict[str, Any]) -> None:
    """Store the entry in tenant `default`; the operating-system user is the one who acts.

    If it cannot be stored, that is logged: the command has done its work.
    """
    await audit.log_event(
        action,
        tenant_id=DEFAULT_TENANT,
        username=command_actor(),
        address=COMMAND_LINE,
        details=details,
    )
