"""Histories: what this process asks of the tenants' shared histories, one script a call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from server.clock import Clock
from server.services.sse_service.backend import KEY_S, Cursor, Entry
from server.services.sse_service.shared.outbox import Item, Queue, new_epoch
from server.services.sse_service.shared.reading import Damaged, entries_for, records_after
from server.services.sse_service.shared.records import Record, mark_of, origin
from server.services.sse_service.shared.scripts import (
    APPEND,
    HEAD,
    READ,
    RENEW,
    Script,
    channel_name,
    events_key,
    head_key,
    producer_key,
)

log = logging.getLogger(__name__)

# Longer than any outage after which a producer could still repeat a call.
PRODUCER_S = 86_400

RunScript = Callable[[Script, Sequence[str], Sequence[Any]], Awaitable[Any]]


class Histories:
    """Every tenant's history in Redis, bounded by events and bytes. All calls raise LogUnavailable.

    `run` runs a script; `ask` runs one that changes nothing for one of many clients; `producer`
    names this process.
    """

    def __init__(
        self,
        run: RunScript,
        ask: RunScript,
        producer: str,
        clock: Clock,
        *,
        max_events: int,
        max_bytes: int,
    ) -> None:
        self._run = run
        self._ask = ask
        self._producer = producer
        self._clock = clock
        self._max_events, self._max_bytes = max_events, max_bytes

    async def head(self, tenant_id: str) -> tuple[Cursor, int]:
        """The tip, and the number of this process's newest event before it."""
        epoch, tip, mark, own = await self._run(HEAD, self._keys(tenant_id), [new_epoch()])
        return Cursor(epoch.decode(), int(tip), mark.decode()), int(own)

    async def append(self, queue: Queue, items: list[Item]) -> list[Item]:
        """Append a queue's oldest events, and settle them; those that the history has now: all
        but such as had come before with their key."""
        remembered_until = queue.confirmed_at + PRODUCER_S / 2
        answer = await self._run(
            APPEND,
            self._keys(queue.tenant_id),
            [
                channel_name(queue.tenant_id),
                queue.new_epoch or new_epoch(),
                "1" if queue.new_epoch else "0",
                self._max_events,
                self._max_bytes,
                self._producer,
                items[0].seq,
                # Redis forgets the number some day: then it means nothing that it has none.
                queue.confirmed if self._clock.monotonic() < remembered_until else 0,
                PRODUCER_S,
                KEY_S,
                *(part for item in items for part in item.parts),
            ],
        )
        epoch, before, positions = answer[0].decode(), int(answer[1]), map(int, answer[2:])
        new = [item for item in items if item.seq > before]
        held = [item for item in items if item.seq <= before]
        for item, position in zip(new, positions, strict=True):
            if position:
                item.settle(Cursor(epoch, position, mark_of(self._producer, item.seq)))
                held.append(item)
        return held

    async def entries(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        """What a client at `cursor` is sent next; None if this history does not go on there."""
        producer, last = origin(cursor.ahead)
        if not cursor.mark or (cursor.ahead and not producer):
            return None
        keys = self._keys(tenant_id)[:2]
        if producer:
            keys.append(producer_key(tenant_id, producer))
        answer = await self._ask(READ, keys, [cursor.position, limit + 1])
        if int(answer[3] or 0) < last:
            return None  # what the client got ahead of the history is not in it
        records = await self._checked(tenant_id, cursor, answer)
        if records is None:
            return None
        return entries_for(cursor, records[:limit], int(answer[1]))

    async def records(self, tenant_id: str, place: Cursor, limit: int) -> list[Record] | None:
        """What follows a place where this process heard the history; [] at the tip. None if that
        history is gone: should it still bear the same name, it begins anew, since clients that are
        away now would take what they come back to for theirs."""
        answer = await self._run(READ, self._keys(tenant_id)[:2], [place.position, limit + 1])
        records = await self._checked(tenant_id, place, answer)
        if records is None:
            await self._renew(tenant_id, place)
        return records

    async def _checked(
        self, tenant_id: str, place: Cursor, answer: Sequence[bytes | None]
    ) -> list[Record] | None:
        try:
            return records_after(answer, place)
        except Damaged as error:
            log.error("the history of tenant %s is damaged: %s", tenant_id, error)
            await self._renew(tenant_id, place, damaged=True)
            return None

    async def _renew(self, tenant_id: str, place: Cursor, *, damaged: bool = False) -> None:
        args = [channel_name(tenant_id), new_epoch(), place.epoch, place.position, place.mark]
        keys = self._keys(tenant_id)[:2]
        if await self._run(RENEW, keys, [*args, "1" if damaged else "0"]):
            log.error("the history of tenant %s was not what was heard: it begins anew", tenant_id)

    def _keys(self, tenant_id: str) -> list[str]:
        return [
            head_key(tenant_id),
            events_key(tenant_id),
            producer_key(tenant_id, self._producer),
        ]
