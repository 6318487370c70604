"""AuditStore: who did what, and what was refused, kept for a fixed time."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from server.clock import Clock
from server.metrics import Metrics
from server.services.firestore.base import (
    Create,
    DocumentClient,
    Fields,
    Filter,
    Query,
    StoreUnavailable,
    Write,
)
from server.services.firestore.models import DAY_MS, AuditEntry, fields_of, utc_text

log = logging.getLogger(__name__)

COLLECTION = "audit_log"
# Names of fields in the entries that earlier versions stored, and what they are called now.
RENAMED = {"action": "event_type", "address": "ip_address"}


class AuditStore:
    """Audit entries on a `DocumentClient`."""

    def __init__(
        self, client: DocumentClient, clock: Clock, keep_days: int, metrics: Metrics
    ) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
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
        at_ms: int | None = None,
    ) -> Create:
        """The write of one entry, to be committed together with what it tells of.

        It tells of now, unless `at_ms` says of when.
        """
        now = self._clock.now_ms() if at_ms is None else at_ms
        entry = AuditEntry(
            tenant_id=tenant_id,
            timestamp_ms=now,
            utc_timestamp=utc_text(now),
            action=action,
            user_id=username,
            username=username,
            address=address,
            success=success,
            details=details or {},
            expire_at=now + self._keep_ms,
        )
        return Create(COLLECTION, secrets.token_hex(12), fields_of(entry))

    async def log_event(self, action: str, **about: Any) -> None:
        """Store one entry; the arguments are those of `entry`."""
        await self.keep([self.entry(action, **about)])

    async def keep(self, entries: Sequence[Write]) -> None:
        """Store entries about what has happened already: that they cannot be stored is logged and
        counted, and changes no answer."""
        try:
            await self._client.write(entries)
        except StoreUnavailable as error:
            self._metrics.store_failures.labels(kind="audit_lost").inc(len(entries))
            log.error("%d audit entries are lost: %s", len(entries), error)

    async def ping(self) -> None:
        """Return when the entries' store answers. Raises StoreUnavailable."""
        await self._client.get(COLLECTION, "ping")

    async def query_recent(self, tenant_id: str, limit: int) -> list[AuditEntry]:
        """The tenant's newest entries, newest first."""
        tenant = (Filter("tenant_id", "==", tenant_id),)
        query = Query(COLLECTION, tenant, order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit)
        return [_entry(document.fields) for document in page.documents]


def _entry(fields: Fields) -> AuditEntry:
    named = {RENAMED.get(name, name): value for name, value in fields.items()}
    return msgspec.convert(named, AuditEntry)
