"""RoutingClient: sends each collection's calls to the store that is configured for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from server.common.metrics import Metrics
from server.services.ports.documents import (
    Aggregate,
    Document,
    DocumentClient,
    Page,
    Query,
    StoreUnavailable,
    Write,
)

log = logging.getLogger(__name__)


# Test writes to the store of the readings go here; the collection is never copied.
PROBES = "probes"
# Each occurrence of an alarm, and for each zone and kind the number of the last one.
ALARMS, ALARM_SLOTS = "alarms", "alarm_slots"
# The collections that each switch moves.
# A notice is stored in one write with its alarm.
NOTICES = ("notice_targets", "outbox")
TELEMETRY = (
    *("telemetry", "zones", "tenant_settings", "zone_settings"),
    *("devices", "device_keys"),
    *(ALARMS, ALARM_SLOTS, *NOTICES),
)
AUTH = (
    *("users", "usernames", "tenants"),
    *("sessions", "login_attempts", "known_addresses"),
    *("api_tokens", "api_token_names"),
)
AUDIT = ("audit_log", "audit_chain", "audit_secrets")
COLLECTIONS = TELEMETRY + AUTH + AUDIT


class Switches(Protocol):
    """The settings that move collections to Firestore."""

    @property
    def use_firestore_telemetry(self) -> bool: ...
    @property
    def use_firestore_auth(self) -> bool: ...
    @property
    def use_firestore_audit(self) -> bool: ...


def collections_on_firestore(switches: Switches) -> tuple[str, ...]:
    """The collections that are kept in Firestore; the others stay on SQLite."""
    on = (
        (switches.use_firestore_telemetry, (*TELEMETRY, PROBES)),
        (switches.use_firestore_auth, AUTH),
        (switches.use_firestore_audit, AUDIT),
    )
    return tuple(name for switched, names in on if switched for name in names)


class RoutingClient(DocumentClient):
    """Several stores as one: `others` has the collections that are not on `default`.

    A batch for two stores is not atomic. The store of the first write comes first; if it refuses
    its part, nothing is written anywhere. If another store is unavailable then, its part is lost,
    logged and counted. That part is the audit entry; the change itself is stored.
    """

    def __init__(
        self, default: DocumentClient, others: Mapping[str, DocumentClient], metrics: Metrics
    ) -> None:
        self._default = default
        self._others = dict(others)
        self._metrics = metrics

    def _of(self, collection: str) -> DocumentClient:
        return self._others.get(collection, self._default)

    async def get(self, collection: str, doc_id: str) -> Document | None:
        return await self._of(collection).get(collection, doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        return await self._of(collection).get_many(collection, doc_ids)

    async def write(self, writes: Sequence[Write]) -> list[str]:
        first = self._of(writes[0].collection) if writes else self._default
        if all(self._of(write.collection) is first for write in writes):
            return await first.write(writes)
        versions = [""] * len(writes)
        parts: dict[DocumentClient, list[int]] = {}
        for index, write in enumerate(writes):
            parts.setdefault(self._of(write.collection), []).append(index)
        for client, indexes in parts.items():
            try:
                written = await client.write([writes[index] for index in indexes])
            except StoreUnavailable as error:
                if client is first:
                    raise
                self._metrics.store_failures.labels(kind="part_lost").inc()
                lost = sorted({writes[index].collection for index in indexes})
                log.error("a part of a batch was not stored (%s): %s", ", ".join(lost), error)
                continue
            for index, version in zip(indexes, written, strict=True):
                versions[index] = version
        return versions

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        return await self._of(query.collection).query(query, limit, cursor)

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        return await self._of(query.collection).aggregate(query, field)

    async def ping(self) -> None:
        """Check every store, except one with the audit log alone: the server works without it."""
        vital = {client for name, client in self._others.items() if name not in AUDIT}
        await asyncio.gather(*(client.ping() for client in {self._default, *vital}))
