"""AuditStore: who did what, and what was refused, kept for a fixed time."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from server.clock import Clock
from server.services.firestore.base import Create, DocumentClient, Filter, Query
from server.services.firestore.models import DAY_MS, AuditEntry, fields_of

COLLECTION = "audit_log"


class AuditStore:
    """Audit entries on a `DocumentClient`."""

    def __init__(self, client: DocumentClient, clock: Clock, keep_days: int) -> None:
        self._client = client
        self._clock = clock
        self._keep_ms = keep_days * DAY_MS

    def entry(
        self,
        action: str,
        *,
        tenant_id: str,
        username: str,
        address: str,
        success: bool = True,
        details: dict[str, Any] | None = None,
    ) -> Create:
        """The write of one entry, to be committed together with what it tells of."""
        now = self._clock.now_ms()
        entry = AuditEntry(
            tenant_id=tenant_id,
            timestamp_ms=now,
            action=action,
            username=username,
            address=address,
            success=success,
            details=details or {},
            expire_at=now + self._keep_ms,
        )
        return Create(COLLECTION, secrets.token_hex(12), fields_of(entry))

    async def log_event(self, action: str, **about: Any) -> None:
        """Store one entry; the arguments are those of `entry`."""
        await self._client.write([self.entry(action, **about)])

    async def query_recent(self, tenant_id: str, limit: int) -> list[AuditEntry]:
        """The tenant's newest entries, newest first."""
        tenant = (Filter("tenant_id", "==", tenant_id),)
        query = Query(COLLECTION, tenant, order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit)
        return [msgspec.convert(document.fields, AuditEntry) for document in page.documents]

    async def query_events(
        self,
        tenant_id: str,
        limit: int,
        *,
        username: str | None = None,
        action: str | None = None,
        window: tuple[int, int] | None = None,
    ) -> list[AuditEntry]:
        """The tenant's newest entries of a user, of an action, or with start <= time <= end (Unix
        ms), newest first. A user's are not asked for by action."""
        wanted = {"tenant_id": tenant_id, "username": username, "action": action}
        filters = [Filter(name, "==", value) for name, value in wanted.items() if value is not None]
        if window is not None:
            filters.append(Filter("timestamp_ms", ">=", window[0]))
            filters.append(Filter("timestamp_ms", "<=", window[1]))
        query = Query(COLLECTION, tuple(filters), order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit)
        return [msgspec.convert(document.fields, AuditEntry) for document in page.documents]
