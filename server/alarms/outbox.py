"""OutboxStore: stores notices until they are sent, and decides which process sends each one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from server.alarms.notice_models import WaitingNotice
from server.services.firestore.models import fields_of
from server.services.ports.documents import (
    BATCH_MAX,
    Delete,
    Document,
    DocumentClient,
    Filter,
    Put,
    Query,
    Update,
    VersionConflict,
)

COLLECTION = "outbox"


class OutboxEntry(NamedTuple):
    """A notice that waits, with its id and the version that was read."""

    id: str
    version: str
    notice: WaitingNotice


class OutboxState(NamedTuple):
    """How many notices wait, when the oldest was made, and when the next one will be due.

    The times are Unix milliseconds; None if there is none.
    """

    waiting: int
    oldest_ms: int | None
    next_ms: int | None


class OutboxStore:
    """Notices that wait, on a `DocumentClient`."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client

    async def due(self, now_ms: int, limit: int) -> list[OutboxEntry]:
        """At most `limit` notices that are due, those that are due for longest first."""
        query = Query(COLLECTION, (Filter("due_ms", "<=", now_ms),), order_by="due_ms")
        page = await self._client.query(query, limit)
        return [_entry(document) for document in page.documents]

    async def claim(
        self, entries: Sequence[OutboxEntry], until_ms: int, message: str
    ) -> list[OutboxEntry]:
        """Take these notices until a time; return those that no other process took before."""
        taken: list[OutboxEntry] = []
        for some in _parts(entries):
            changed = [
                msgspec.structs.replace(
                    one.notice,
                    due_ms=until_ms,
                    attempts=one.notice.attempts + 1,
                    message=message,
                    error="",
                )
                for one in some
            ]
            versions = await self._update(some, changed)
            taken += map(OutboxEntry, (one.id for one in some), versions, changed)
        return taken

    async def postpone(self, entries: Sequence[OutboxEntry], due_ms: int) -> None:
        """Let these notices be due at another time, unless another process took them."""
        for some in _parts(entries):
            await self._update(
                some, [msgspec.structs.replace(one.notice, due_ms=due_ms) for one in some]
            )

    async def note_failure(
        self,
        entries: Sequence[OutboxEntry],
        due_ms: int,
        error: str,
        message: str,
        left: Sequence[str],
    ) -> None:
        """Postpone notices that were not sent.

        With a `message` they stay together; `left` are its recipients that lack it.
        """
        about = {"due_ms": due_ms, "error": error, "message": message, "left": list(left)}
        for some in _parts(entries):
            await self._update(some, [msgspec.structs.replace(one.notice, **about) for one in some])

    async def remove(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete notices that were sent, that nobody wants any more, or that are given up."""
        for some in _parts(entries):
            await self._client.write([Delete(COLLECTION, one.id) for one in some])

    async def of_target(self, tenant_id: str, target_id: str, limit: int) -> list[OutboxEntry]:
        """At most `limit` notices that wait for this target."""
        of_it = Filter("tenant_id", "==", tenant_id), Filter("target_id", "==", target_id)
        page = await self._client.query(Query(COLLECTION, of_it), limit)
        return [_entry(document) for document in page.documents]

    async def state(self, now_ms: int) -> OutboxState:
        """What waits now, of all tenants."""
        count = (await self._client.aggregate(Query(COLLECTION))).count
        if not count:
            return OutboxState(0, None, None)
        oldest = await self._client.query(Query(COLLECTION, order_by="made_ms"), 1)
        later = Query(COLLECTION, (Filter("due_ms", ">", now_ms),), order_by="due_ms")
        coming = await self._client.query(later, 1)
        return OutboxState(
            count, _first(oldest.documents, "made_ms"), _first(coming.documents, "due_ms")
        )

    @staticmethod
    def storing(notice_id: str, notice: WaitingNotice) -> Put:
        """The write of a notice, for the write that stores its alarm.

        It replaces the same notice: another attempt to store an alarm must not fail because of it.
        """
        return Put(COLLECTION, notice_id, fields_of(notice))

    async def _update(
        self, entries: Sequence[OutboxEntry], changed: Sequence[WaitingNotice]
    ) -> list[str]:
        """Write the fields that change; return the new versions, none if one was taken."""
        names = ("due_ms", "attempts", "message", "left", "error")
        writes = [
            Update(COLLECTION, one.id, {name: getattr(after, name) for name in names}, one.version)
            for one, after in zip(entries, changed, strict=True)
        ]
        try:
            return await self._client.write(writes)
        except VersionConflict:
            return []


def _parts(entries: Sequence[OutboxEntry]) -> Iterator[Sequence[OutboxEntry]]:
    return (entries[start : start + BATCH_MAX] for start in range(0, len(entries), BATCH_MAX))


def _first(documents: Sequence[Document], field: str) -> int | None:
    return int(documents[0].fields[field]) if documents else None


def _entry(document: Document) -> OutboxEntry:
    notice = msgspec.convert(document.fields, WaitingNotice)
    return OutboxEntry(document.id, document.version, notice)
