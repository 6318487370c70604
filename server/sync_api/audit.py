"""SyncAudit: lets threads write audit entries, and query them as dicts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from server.auth.principal import DEFAULT_TENANT
from server.auth.sessions import digest
from server.common.metrics import Metrics
from server.services.firestore.models import AuditEntry, utc_text
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import StoreUnavailable
from server.sync_api.bridge import SyncBridge
from server.sync_api.face import Face, checked_name

REFUSALS = {
    "ACCESS_DENIED",
    "LOGIN_FAILURE",
    "PERMISSION_DENIED",
    "TENANT_VIOLATION",
    "USER_LOCKED",
}
# The log holds only this many digits of a session id's digest, so that its readers cannot take
# the session over.
DIGEST_LENGTH = 12
SESSION_KEYS = {"session_id", "bas_session_id", "x-session-id"}


class SyncAudit(Face):
    """The audit log of the existing server; entries without a tenant belong to `default`."""

    name = "audit"

    def __init__(self, bridge: SyncBridge, metrics: Metrics, stores: Stores) -> None:
        super().__init__(bridge, metrics)
        self._audit = stores.audit
        self._users = stores.users

    def log_event(
        self,
        event_type: str,
        user_id: str | None = None,
        username: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
        details: dict[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> bool:
        """Store one entry; a session id in the details is replaced by a part of its digest.

        So is the name of a failed log-in that is no account: people type passwords there.
        """
        checked_name(event_type, "event_type")
        kept = _without_sessions(msgspec.to_builtins(details or {}, enc_hook=str, str_keys=True))
        if user_agent is not None:
            kept["user_agent"] = str(user_agent)[:512]

        async def store() -> bool:
            name = username or user_id or ""
            if event_type == "LOGIN_FAILURE" and name and not await self._users.get_users([name]):
                name = await self._audit.no_account(name)
            stored = await self._audit.log_event(
                event_type,
                tenant_id=tenant_id or DEFAULT_TENANT,
                username=name,
                address=ip_address or "",
                success=event_type not in REFUSALS,
                details=kept,
            )
            if not stored:
                raise StoreUnavailable(message="the entry is lost")
            return True

        return self._ask("log_event", False, store)

    def log_auth_success(
        self, username: str, ip_address: str, session_id: str, tenant_id: str | None = None
    ) -> bool:
        """Log that a log-in opened a session."""
        return self.log_event(
            "LOGIN_SUCCESS",
            username=username,
            ip_address=ip_address,
            details={"session_id": session_id},
            tenant_id=tenant_id,
        )

    def log_auth_failure(
        self, username: str, ip_address: str, failure_reason: str, tenant_id: str | None = None
    ) -> bool:
        """Log that a log-in was refused."""
        return self.log_event(
            "LOGIN_FAILURE",
            username=username,
            ip_address=ip_address,
            details={"failure_reason": failure_reason},
            tenant_id=tenant_id,
        )

    def log_session_creation(
        self, username: str, session_id: str, ip_address: str, tenant_id: str | None = None
    ) -> bool:
        """Log that a session was opened."""
        return self.log_event(
            "SESSION_CREATED",
            username=username,
            ip_address=ip_address,
            details={"session_id": session_id},
            tenant_id=tenant_id,
        )

    def log_session_destruction(
        self,
        session_id: str,
        username: str | None = None,
        ip_address: str | None = None,
        tenant_id: str | None = None,
    ) -> bool:
        """Log that a session was ended."""
        return self.log_event(
            "SESSION_DESTROYED",
            username=username,
            ip_address=ip_address,
            details={"session_id": session_id},
            tenant_id=tenant_id,
        )

    def log_permission_denied(
        self,
        username: str | None = None,
        user_id: str | None = None,
        ip_address: str | None = None,
        resource: str | None = None,
        tenant_id: str | None = None,
        reason: str = "INSUFFICIENT_PERMISSIONS",
    ) -> bool:
        """Log that a user was not allowed to do something."""
        return self.log_event(
            "PERMISSION_DENIED",
            user_id=user_id,
            username=username,
            ip_address=ip_address,
            details={"resource": resource, "reason": reason},
            tenant_id=tenant_id,
        )

    def log_tenant_violation(
        self,
        username: str | None = None,
        user_id: str | None = None,
        ip_address: str | None = None,
        attempted_tenant: str | None = None,
        allowed_tenant: str | None = None,
    ) -> bool:
        """Log, in the other tenant's log, that a user asked for that tenant's data."""
        return self.log_event(
            "TENANT_VIOLATION",
            user_id=user_id,
            username=username,
            ip_address=ip_address,
            details={"attempted_tenant": attempted_tenant, "allowed_tenant": allowed_tenant},
            tenant_id=attempted_tenant,
        )

    def query_events_by_tenant(self, tenant_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The tenant's newest entries; every query sorts newest first, `limit` is 1 to 10,000."""
        return self._query("query_events_by_tenant", tenant_id, limit)

    def query_events_by_user(
        self, user_id: str, limit: int = 100, *, tenant_id: str = DEFAULT_TENANT
    ) -> list[dict[str, Any]]:
        """The newest entries of one user."""
        return self._query("query_events_by_user", tenant_id, limit, username=user_id)

    def query_events_by_type(
        self, event_type: str, limit: int = 100, *, tenant_id: str = DEFAULT_TENANT
    ) -> list[dict[str, Any]]:
        """The newest entries of one type."""
        return self._query("query_events_by_type", tenant_id, limit, action=event_type)

    def query_recent_events(
        self, limit: int = 100, *, tenant_id: str = DEFAULT_TENANT
    ) -> list[dict[str, Any]]:
        """The newest entries."""
        return self._query("query_recent_events", tenant_id, limit)

    def query_events_window(
        self,
        start_time_ms: int,
        end_time_ms: int,
        event_type: str | None = None,
        limit: int = 1000,
        *,
        tenant_id: str = DEFAULT_TENANT,
    ) -> list[dict[str, Any]]:
        """The newest entries with start <= timestamp <= end (Unix ms), of one type or of all."""
        about = {"action": event_type, "start_ms": start_time_ms, "end_ms": end_time_ms}
        return self._query("query_events_window", tenant_id, limit, **about)

    def _query(self, method: str, tenant_id: str, limit: int, **about: Any) -> list[dict[str, Any]]:
        checked_name(tenant_id, "tenant_id")  # None would select every tenant

        async def ask() -> list[dict[str, Any]]:
            return [_dict(one) for one in await self._audit.query_events(tenant_id, limit, **about)]

        query: Callable[[], Awaitable[list[dict[str, Any]]]] = ask
        return self._ask(method, [], query)


def _without_sessions(value: Any) -> Any:
    """Replace every session id in the value by the first characters of its digest."""
    if isinstance(value, list):
        return [_without_sessions(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: digest(str(one))[:DIGEST_LENGTH]
        if key.lower() in SESSION_KEYS and one is not None
        else _without_sessions(one)
        for key, one in value.items()
    }


def _dict(entry: AuditEntry) -> dict[str, Any]:
    details = dict(entry.details)
    return {
        "timestamp_ms": entry.timestamp_ms,
        "utc_timestamp": entry.utc_timestamp or utc_text(entry.timestamp_ms),
        "event_type": entry.action,
        "user_id": entry.username or None,
        "username": entry.username or None,
        "ip_address": entry.address or None,
        "user_agent": details.pop("user_agent", None),
        "details": details,
        "tenant_id": entry.tenant_id,
    }
