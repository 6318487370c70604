"""AuditStore: who did what, and what was refused, kept for a fixed time."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from server.clock import Clock
from server.metrics import Metrics
from server.seldom import Seldom
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
        self._told = Seldom(clock.monotonic)
        self._lost = 0

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

    async def log_event(self, action: str, **about: Any) -> bool:
        """Store one entry, as `keep` does; the arguments are those of `entry`."""
        return await self.keep([self.entry(action, **about)])

    async def keep(self, entries: Sequence[Write]) -> bool:
        """Store entries about what has happened already: that they cannot be stored is counted,
        and logged once a minute, and changes no answer. Whether they are stored."""
        try:
            await self._client.write(entries)
        except StoreUnavailable as error:
            self.lose(len(entries), error)
            return False
        return True

    def lose(self, count: int, why: object) -> None:
        """So many entries are not stored: count them, and say so once a minute."""
        self._metrics.store_failures.labels(kind="audit_lost").inc(count)
        self._lost += count
        if self._told.may_say("lost"):
            log.error("%d audit entries are lost: %s", self._lost, why)
            self._lost = 0

    async def ping(self) -> None:
        """Return when the entries' store answers. Raises StoreUnavailable."""
        await self._client.get(COLLECTION, "ping")

    async def query_recent(self, tenant_id: str, limit: int) -> list[AuditEntry]:
        """The tenant's newest entries, newest first."""
        tenant = (Filter("tenant_id", "==", tenant_id),)
        query = Query(COLLECTION, tenant, order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit)
        return [_entry(document.fields) for document in page.documents]

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
        wanted = {"tenant_id": tenant_id, "username": username, "event_type": action}
        filters = [Filter(name, "==", value) for name, value in wanted.items() if value is not None]
        if window is not None:
            filters.append(Filter("timestamp_ms", ">=", window[0]))
            filters.append(Filter("timestamp_ms", "<=", window[1]))
        query = Query(COLLECTION, tuple(filters), order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit)
        return [_entry(document.fields) for document in page.documents]


def _entry(fields: Fields) -> AuditEntry:
    named = {RENAMED.get(name, name): value for name, value in fields.items()}
    return msgspec.convert(named, AuditEntry)
