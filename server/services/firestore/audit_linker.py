"""AuditLinker: links new audit entries to their tenant's chain, some seconds after their storage.

An entry is stored together with what it is about, often in one transaction. Firestore takes about
one write a second of one document, so the chain's end cannot be part of that transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.audit_chain import (
    ENDS,
    ENTRIES,
    LINK,
    NUMBER,
    ChainEnd,
    ChainLink,
    end_id,
    end_write,
    expiry,
    linkable,
    linked,
)
from server.services.ports.documents import (
    AlreadyExists,
    Document,
    DocumentClient,
    Filter,
    Query,
    StoreUnavailable,
    Update,
    VersionConflict,
    Write,
)

log = logging.getLogger(__name__)

# From an entry of this process until it is linked: many share a write of the chain's end.
DELAY_S = 4.0
# Entries of other processes and of commands are looked for this often; a look is one query.
LOOK_S = 60.0
# Entries in one write, which must end in time on a slow store too.
PAGE = 100
# Between two full pages, so that requests are answered in between.
PAUSE_S = 0.02

WAITING = Query(ENTRIES, (Filter(NUMBER, "==", 0),), order_by="timestamp_ms")


class AuditLinker(BackgroundTask):
    """Links what is not linked yet: at the start, after each entry (`stored`), and once a minute.

    Every process of a site has one. The write of a chain's end decides which of them links; the
    others look again.
    """

    def __init__(
        self, client: DocumentClient, clock: Clock, metrics: Metrics, stored: asyncio.Event
    ) -> None:
        super().__init__("audit-linker")
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._stored = stored
        self._earlier_are_marked = False
        self._failing = False

    async def stop(self) -> None:
        """End the task after the write that is under way."""
        self._stop.set()
        self._stored.set()
        await super().stop()

    async def _run(self) -> None:
        while not self._stop.is_set():
            self._stored.clear()
            try:
                if not await self.link_all():
                    self._stored.set()
                if self._failing:
                    self._failing = False
                    log.warning("audit entries are linked again")
            except StoreUnavailable as error:
                self._metrics.store_failures.labels(kind="audit_link").inc()
                if not self._failing:
                    log.warning(
                        "audit entries could not be linked, a look every %d s retries: %s",
                        LOOK_S,
                        error,
                    )
                self._failing = True
            except Exception:  # one unreadable document must not end the task
                log.exception("audit entries could not be linked: run verify-audit to see which")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stored.wait()
            await self._pause(DELAY_S)

    async def link_all(self) -> bool:
        """Link every entry that is stored now.

        Returns False if another process linked or deleted some of them at the same time: then call
        it again. Raises StoreUnavailable.
        """
        await self._mark_earlier()
        complete, cursor = True, None
        while not self._stop.is_set():
            page = await self._client.query(WAITING, PAGE, cursor)
            of_tenant: dict[str, list[Document]] = {}
            for entry in map(linkable, page.documents):
                if entry is not None:
                    of_tenant.setdefault(entry.tenant_id, []).append(entry.document)
            for tenant_id, entries in of_tenant.items():
                complete &= await self._link(tenant_id, entries)
            cursor = page.next_cursor
            if cursor is None:
                break
            await self._pause(PAUSE_S)
        return complete

    async def _link(self, tenant_id: str, entries: Sequence[Document]) -> bool:
        """Link entries of one tenant in one write; False if another process was faster."""
        document = await self._client.get(ENDS, end_id(tenant_id))
        try:
            end = await self._found_end(tenant_id) if document is None else _end_of(document)
        except msgspec.ValidationError as error:
            log.error(
                "tenant %s: new audit entries are not linked, because the chain's end cannot be"
                " read (%s): run verify-audit, and restore the document it names from a back-up",
                tenant_id,
                error,
            )
            return True
        end, updates = linked(end, entries, self._clock.now_ms())
        writes: list[Write] = [*updates, end_write(end, document.version if document else None)]
        try:
            await self._client.write(writes)
        except (AlreadyExists, VersionConflict):
            return False
        return True

    async def _found_end(self, tenant_id: str) -> ChainEnd:
        """The end of a chain whose record is missing: that of its highest number, if it has one."""
        end = ChainEnd(tenant_id=tenant_id)
        page = await self._client.query(newest_first(tenant_id), 1)
        for entry in page.documents:
            number = entry.fields.get(NUMBER)
            if type(number) is not int or number < 1:
                return end
            link = msgspec.convert(entry.fields.get(LINK), ChainLink)
            log.error(
                "tenant %s: the record of the audit chain's end is gone. The chain continues after"
                " number %d; entries after it may have been deleted",
                tenant_id,
                number,
            )
            expires = expiry(entry.fields)
            end = ChainEnd(
                tenant_id=tenant_id,
                number=number,
                hash=link.hash,
                expires=expires,
                entry_id=entry.id,
            )
        return end

    async def _mark_earlier(self) -> None:
        """Once in a process: make the entries of earlier versions found by the query for links.

        They lack the field. All of them are marked before any is linked, so that a chain never
        stands beside entries that only seem to be inserted by hand.
        """
        if self._earlier_are_marked:
            return
        numbered = Query(ENTRIES, (Filter(NUMBER, ">=", 0),), order_by=NUMBER)
        total = (await self._client.aggregate(Query(ENTRIES))).count
        if total > (await self._client.aggregate(numbered)).count:
            async for entries in self._unmarked():
                await self._mark(entries)
        self._earlier_are_marked = not self._stop.is_set()

    async def _mark(self, entries: Sequence[Document]) -> None:
        mark = {NUMBER: 0, LINK: None}
        updates = [Update(ENTRIES, one.id, mark, if_version=one.version) for one in entries]
        try:
            await self._client.write(updates)
        except VersionConflict:  # another process marked or deleted one of them
            for update in updates:
                with contextlib.suppress(VersionConflict):
                    await self._client.write([update])

    async def _unmarked(self) -> AsyncIterator[list[Document]]:
        """The entries without the field, page by page."""
        cursor: str | None = None
        while not self._stop.is_set():
            page = await self._client.query(Query(ENTRIES), PAGE, cursor)
            found = [one for one in page.documents if NUMBER not in one.fields and linkable(one)]
            if found:
                yield found
            cursor = page.next_cursor
            if cursor is None:
                return
            await self._pause(PAUSE_S)


def _end_of(document: Document) -> ChainEnd:
    return msgspec.convert(document.fields, ChainEnd)


def newest_first(tenant_id: str) -> Query:
    """All entries of a tenant that have a number, the highest first; 0 is not linked yet."""
    tenant = (Filter("tenant_id", "==", tenant_id),)
    return Query(ENTRIES, tenant, order_by=NUMBER, direction="desc")
