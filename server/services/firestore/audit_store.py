"""AuditStore: stores actions of users, and refused ones, as audit entries for a fixed time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.seldom import Seldom
from server.services.firestore.audit_chain import ENTRIES
from server.services.firestore.models import DAY_MS, AuditEntry, fields_of, utc_text
from server.services.firestore.refusal_counts import RefusalCounts, RefusalEntry
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    DocumentClient,
    Fields,
    Filter,
    Query,
    StoreUnavailable,
    Write,
)

log = logging.getLogger(__name__)

COLLECTION = ENTRIES
SECRETS, NAMES = "audit_secrets", "names"
# In front of the digest of a name; no account's name has a colon.
NO_ACCOUNT = "unknown:"
# Of a digest: 80 bits, so that two names never get the same one.
DIGITS = 20
# Field names in stored entries, and the names that the server uses for them.
RENAMED = {"action": "event_type", "address": "ip_address"}


class AuditStore:
    """Audit entries on a `DocumentClient`; `refusals` counts equal ones."""

    def __init__(
        self, client: DocumentClient, clock: Clock, keep_days: int, metrics: Metrics
    ) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._keep_ms = keep_days * DAY_MS
        self._loss_log = Seldom(clock.monotonic)
        self._lost = 0
        self._key: bytes | None = None
        # Set when an entry is made: it is stored a moment later, and can then be linked.
        self.made = asyncio.Event()
        self.refusals = RefusalCounts(self._keep_refusals, self.lose, clock)

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
        """The write of one entry, to be committed together with the action's own writes.

        The entry has the current time, unless `at_ms` gives another one.
        """
        self.made.set()
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
        """Store entries about past actions; return whether they are stored.

        A failure is counted, and logged at most once a minute; it raises nothing, so the caller's
        answer stays the same.
        """
        try:
            await self._client.write(entries)
        except StoreUnavailable as error:
            self.lose(len(entries), error)
            return False
        return True

    async def _keep_refusals(self, refusals: Sequence[RefusalEntry]) -> bool:
        """Store entries about refusals; return whether they are stored. None is lost otherwise."""
        try:
            await self._client.write([self.entry(action, **about) for action, about in refusals])
        except StoreUnavailable as error:
            if self._loss_log.may_log("refusals"):
                log.error(
                    "refusals are not in the audit log yet, the next minute retries: %s", error
                )
            return False
        return True

    def lose(self, count: int, why: object) -> None:
        """Count entries that could not be stored; log the loss at most once a minute."""
        self._metrics.store_failures.labels(kind="audit_lost").inc(count)
        self._lost += count
        if self._loss_log.may_log("lost"):
            log.error("%d audit entries could not be stored and are lost: %s", self._lost, why)
            self._lost = 0

    async def ping(self) -> None:
        """Check that the store of the entries answers. Raises StoreUnavailable."""
        await self._client.get(COLLECTION, "ping")

    async def query_recent(self, tenant_id: str, limit: int) -> list[AuditEntry]:
        """The tenant's newest entries, newest first."""
        tenant = (Filter("tenant_id", "==", tenant_id),)
        query = Query(COLLECTION, tenant, order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit)
        return [_entry(document.fields) for document in page.documents]

    async def query_events(self, tenant_id: str, limit: int, **which: Any) -> list[AuditEntry]:
        """The tenant's newest entries; the arguments are those of `query_page`."""
        return (await self.query_page(tenant_id, limit, **which))[0]

    async def query_page(
        self,
        tenant_id: str,
        limit: int,
        *,
        username: str | None = None,
        action: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        cursor: str | None = None,
    ) -> tuple[list[AuditEntry], str | None]:
        """A page of the tenant's entries, newest first, and the cursor after it; None at the end.

        Only those of a user, an action, and with start <= time <= end (Unix ms), as far as these
        are given. Raises Invalid for a malformed cursor.
        """
        wanted = {"tenant_id": tenant_id, "username": username, "event_type": action}
        filters = [Filter(name, "==", value) for name, value in wanted.items() if value is not None]
        if start_ms is not None:
            filters.append(Filter("timestamp_ms", ">=", start_ms))
        if end_ms is not None:
            filters.append(Filter("timestamp_ms", "<=", end_ms))
        query = Query(COLLECTION, tuple(filters), order_by="timestamp_ms", direction="desc")
        page = await self._client.query(query, limit, cursor)
        return [_entry(document.fields) for document in page.documents], page.next_cursor

    async def no_account(self, name: str) -> str:
        """What an entry holds instead of a user name that is no account: a digest with a key.

        People type their password where the name belongs. The same name gets the same digest on
        the whole site; without the key, which is in the store, no table of names helps. While the
        key cannot be read, every name is the same.
        """
        try:
            return (await self.name_digests())(name)
        except StoreUnavailable:
            return NO_ACCOUNT

    async def name_digests(self) -> Callable[[str], str]:
        """What makes the digest of a name. Raises StoreUnavailable."""
        if self._key is None:
            self._key = await self._stored_key()
        key = self._key

        def hidden(name: str) -> str:
            mac = hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)
            return NO_ACCOUNT + mac.hexdigest()[:DIGITS]

        return hidden

    async def _stored_key(self) -> bytes:
        """The site's key for names; the first process that needs it makes it."""
        for _ in range(2):
            document = await self._client.get(SECRETS, NAMES)
            if document is not None:
                return bytes.fromhex(document.fields["key"])
            try:
                key = {"key": secrets.token_hex(32)}
                await self._client.write([Create(SECRETS, NAMES, key)])
            except AlreadyExists:
                pass  # another process made it: read that one
        raise StoreUnavailable(message="the key for unknown names cannot be read")


def _entry(fields: Fields) -> AuditEntry:
    named = {RENAMED.get(name, name): value for name, value in fields.items()}
    return msgspec.convert(named, AuditEntry)
