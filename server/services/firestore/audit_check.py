"""ChainCheck: reads a tenant's audit entries from the newest to the oldest and checks the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

from server.common.clock import Clock
from server.services.firestore.audit_chain import (
    ENDS,
    ENTRIES,
    LINK,
    NUMBER,
    ChainEnd,
    ChainLink,
    end_id,
    link_hash,
)
from server.services.firestore.audit_linker import WAITING, newest_first
from server.services.ports.documents import Document, DocumentClient, Filter, Query

PAGE = 500
# A link is made a few seconds after its entry; one that is this much later is worth a look.
LATE_MS = 3_600_000


class Broken(NamedTuple):
    """Where a chain is broken, and why: at a number (0: none) and an entry ("": it is missing)."""

    number: int
    entry_id: str
    why: str
    about: str = ""


class LinkAbove(NamedTuple):
    """The entry that was read before, and the hash that its number must have; None if unknown."""

    number: int
    document: Document
    link: ChainLink
    expected: str | None
    # Whether its own hash is right: otherwise what its link says does not count.
    is_sound: bool


class ChainCheck:
    """The check of one tenant's chain, and what it found once `run` has ended.

    `broken` is the place with the lowest number. `late` counts the entries that were linked more
    than LATE_MS after their time, and `late_example` is the oldest of them.
    """

    def __init__(self, client: DocumentClient, clock: Clock, tenant_id: str) -> None:
        self._client = client
        self._clock = clock
        self.tenant_id = tenant_id
        self.linked = self.waiting = self.late = self.unreadable = 0
        self.first = self.last = 0
        self.last_hash = ""
        self.late_example = ""
        self.broken: Broken | None = None
        self._above: LinkAbove | None = None
        # The hashes that the record of the chain's end had.
        self._recorded: dict[int, str] = {}
        self._end_is_readable = True

    @property
    def seen(self) -> int:
        """How many of the tenant's documents were read."""
        return self.linked + self.waiting + self.unreadable

    async def run(self) -> AsyncIterator[int]:
        """Check the chain; yield after each page how many entries were read.

        Entries may be stored, linked and deleted by retention while it runs.
        """
        before = await self._end()
        after: ChainEnd | None = None
        cursor, began = None, False
        while not began or cursor is not None:
            page = await self._client.query(newest_first(self.tenant_id), PAGE, cursor)
            if not began:
                began, after = True, await self._end()
                ends = (one for one in (before, after) if one is not None)
                self._recorded = {one.number: one.hash for one in ends}
            for document in page.documents:
                self._look_at(document)
            cursor = page.next_cursor
            yield self.seen
        self._settle()
        if self._above is not None and self._above.number > 1:
            self._gap(1, self._above.number - 1, self._above.link.after_expires)
        elif self._above is not None and self._above.link.after:
            self._break(1, self._above.document, "number 1 follows another entry")
        self._check_end(before, after)
        await self._find_unnumbered()

    async def _end(self) -> ChainEnd | None:
        document = await self._client.get(ENDS, end_id(self.tenant_id))
        if document is None:
            return None
        try:
            return msgspec.convert(document.fields, ChainEnd)
        except msgspec.ValidationError as error:
            why = f"the record of the chain's end in {ENDS} cannot be read: {error}"
            self._break(0, document, why)
            self._end_is_readable = False
            return None

    def _look_at(self, document: Document) -> None:
        number = document.fields.get(NUMBER)
        if type(number) is not int or number < 0:
            self.unreadable += 1
            self._break(0, document, f"its number is {number!r}")
            return
        if number == 0:
            self.waiting += 1
            return
        self.linked += 1
        if not self.last:
            self.last = number
        try:
            link = msgspec.convert(document.fields.get(LINK), ChainLink)
        except msgspec.ValidationError as error:
            self._break(number, document, f"its link cannot be read: {error}")
            return
        is_sound = link_hash(number, document.id, document.fields, link) == link.hash
        if not is_sound:
            self._break(number, document, "it was changed after it was linked")
        self._count_late(document, link)
        self._join(number, document, link, is_sound)

    def _join(self, number: int, document: Document, link: ChainLink, is_sound: bool) -> None:
        """Check the link against the entry above."""
        above, expected = self._above, self._recorded.get(number)
        if above is not None and above.number == number:
            twice = f"another entry has the number {number} too"
            if link.hash == above.expected != above.link.hash:
                self._break(number, above.document, twice)
                self._above = above._replace(document=document, link=link, is_sound=is_sound)
            else:
                self._break(number, document, twice)
            return
        self._settle()
        if above is not None and above.number == number + 1:
            expected = above.link.after if above.is_sound else None
        elif above is not None:
            self._gap(number + 1, above.number - 1, above.link.after_expires)
        self._above = LinkAbove(number, document, link, expected, is_sound)
        self.first, self.last_hash = number, self.last_hash or link.hash

    def _settle(self) -> None:
        """Check the entry above, once no other one can have its number."""
        above = self._above
        if above is not None and above.expected not in (None, above.link.hash):
            self._break(above.number, above.document, "it was changed together with its link")

    def _gap(self, first: int, last: int, last_expires: int) -> None:
        """Entries are missing: that is right if the last of them has expired."""
        if not 0 < last_expires <= self._clock.now_ms():
            what = f"number {first} is" if first == last else f"numbers {first} to {last} are"
            self._break(first, None, f"{what} missing, and had not expired yet")

    def _check_end(self, before: ChainEnd | None, after: ChainEnd | None) -> None:
        """Compare the highest number with the recorded end, before and after it was read."""
        if before is not None and self.last < before.number:
            self._gap(self.last + 1, before.number, before.expires)
        if self.last and after is None and self._end_is_readable:
            self._break(self.last, None, f"the record of the chain's end is missing in {ENDS}")
        if after is not None and self.last > after.number:
            self._break(after.number + 1, None, f"the chain ends at number {after.number}")

    async def _find_unnumbered(self) -> None:
        """Look for entries without the field of the number, if there are more than were read."""
        tenant = (Filter("tenant_id", "==", self.tenant_id),)
        if (await self._client.aggregate(Query(ENTRIES, tenant))).count <= self.seen:
            return
        async for document in documents(self._client, Query(ENTRIES, tenant)):
            if NUMBER in document.fields:
                continue
            self.waiting += 1
            if self.last:
                self._break(
                    0,
                    document,
                    "it has no number: somebody inserted it, or a process of an earlier version"
                    " stored it",
                )

    def _count_late(self, document: Document, link: ChainLink) -> None:
        time_ms = document.fields.get("timestamp_ms")
        if isinstance(time_ms, int) and link.linked_ms - time_ms > LATE_MS:
            self.late += 1
            self.late_example = document.id

    def _break(self, number: int, document: Document | None, why: str) -> None:
        """Note a broken place; that with the lowest number stays, and no number comes last."""
        if self.broken is not None and (number or 2**63) >= (self.broken.number or 2**63):
            return
        fields: dict[str, Any] = document.fields if document else {}
        names = ("utc_timestamp", "event_type", "username")
        about = " ".join(str(fields[name])[:80] for name in names if fields.get(name))
        self.broken = Broken(number, document.id if document else "", why, about)


async def documents(client: DocumentClient, query: Query) -> AsyncIterator[Document]:
    """Every document of a query, read page by page."""
    cursor: str | None = None
    while True:
        page = await client.query(query, PAGE, cursor)
        for document in page.documents:
            yield document
        cursor = page.next_cursor
        if cursor is None:
            return


async def tenants(client: DocumentClient) -> set[str]:
    """The tenants that have a chain, or entries that wait for a link."""
    found = {document.fields.get("tenant_id") async for document in documents(client, Query(ENDS))}
    found |= {one.fields.get("tenant_id") async for one in documents(client, WAITING)}
    return {one for one in found if isinstance(one, str)}


async def tenants_of_entries(client: DocumentClient) -> set[str]:
    """The tenants of all entries: it reads the whole log."""
    found = {
        document.fields.get("tenant_id") async for document in documents(client, Query(ENTRIES))
    }
    return {one for one in found if isinstance(one, str)}
