"""Copies hash chains of the audit log to another store that may have a chain of its own.

Where both stores have a chain of a tenant, the source's becomes that of the target. The target's
other entries stay, and its server links them again, behind those of the source.
"""

from __future__ import annotations

import asyncio

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.audit_chain import ENDS, ENTRIES, LINK, NUMBER
from server.services.firestore.audit_check import documents
from server.services.firestore.audit_linker import AuditLinker, newest_first
from server.services.ports.documents import Document, DocumentClient, Query, Update, Write

PAGE = 100
# A source whose entries are linked by others at the same time: its server was not stopped.
ATTEMPTS_MAX = 5


async def link_source(source: DocumentClient, clock: Clock) -> None:
    """Link what the source's server has not linked: afterwards no entry of it changes any more."""
    linker = AuditLinker(source, clock, Metrics(), asyncio.Event())
    for _ in range(ATTEMPTS_MAX):
        if await linker.link_all():
            return


async def unlink_others(source: DocumentClient, target: DocumentClient) -> None:
    """Where the target's chain is not the beginning of the source's, free its other entries.

    Call it when the entries are copied and the chains' ends are not: then it may be repeated.
    """
    async for end in documents(source, Query(ENDS)):
        tenant_id = end.fields.get("tenant_id")
        there = await target.get(ENDS, end.id)
        if there is None or not isinstance(tenant_id, str) or await _continues(source, there):
            continue
        cursor: str | None = None
        while True:
            page = await target.query(newest_first(tenant_id), PAGE, cursor)
            known = await source.get_many(ENTRIES, [entry.id for entry in page.documents])
            updates: list[Write] = [
                Update(ENTRIES, entry.id, {NUMBER: 0, LINK: None}, if_version=entry.version)
                for entry in page.documents
                if entry.id not in known and entry.fields.get(NUMBER) != 0
            ]
            if updates:
                await target.write(updates)
            cursor = page.next_cursor
            if cursor is None:
                break


async def _continues(source: DocumentClient, end: Document) -> bool:
    """Whether the source's chain has this end of the target's chain in it."""
    entry = await source.get(ENTRIES, str(end.fields.get("entry_id") or "-"))
    link = entry.fields.get(LINK) if entry is not None else None
    return isinstance(link, dict) and link.get("hash") == end.fields.get("hash")
