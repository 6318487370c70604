"""Histories: reads and appends to the tenants' shared histories in Redis, one script a call."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.common.clock import Clock
from server.services.ports.event_log import KEY_S, Cursor, Entry
from server.services.site.redis_keys import channel_name, events_key, head_key, producer_key
from server.services.site.redis_script import RunScript
from server.services.sse_service.redis.history_check import Damaged, entries_for, records_after
from server.services.sse_service.redis.outbox import Item, Queue, new_epoch
from server.services.sse_service.redis.records import Record, mark_of, origin
from server.services.sse_service.redis.scripts import APPEND, HEAD, READ, RENEW

log = logging.getLogger(__name__)

# Redis remembers a process's newest number for these seconds: longer than any outage after which
# the process could still repeat a call.
PRODUCER_S = 86_400
# A history expires after these seconds without an event, as its tenant's zones do in the store. A
# stream that is open then gets `reset`.
HISTORY_S = 30 * 86_400


class Histories:
    """Every tenant's history in Redis, bounded by events and bytes. All calls raise LogUnavailable.

    `run` runs a script; `ask` runs a read-only script for one of many clients; `producer` is the
    name of this process.
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
        """The tip, and the number of this process's newest event in the history."""
        epoch, tip, mark, own = await self._run(
            HEAD, self._keys(tenant_id), [new_epoch(), HISTORY_S]
        )
        return Cursor(epoch.decode(), int(tip), mark.decode()), int(own)

    async def append(self, queue: Queue, items: list[Item]) -> list[Item]:
        """Append a queue's oldest events and settle them; return those that the history has now.

        An event whose `key` came before is not appended and not returned.
        """
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
                # Redis forgets the number after PRODUCER_S: then its absence proves no data loss.
                queue.confirmed if self._clock.monotonic() < remembered_until else 0,
                PRODUCER_S,
                KEY_S,
                HISTORY_S,
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

    async def begin_epoch(self, tenant_id: str) -> None:
        """Start a new epoch: events are missing, so that every client has to reload."""
        await self._run(
            APPEND,
            self._keys(tenant_id),
            [
                channel_name(tenant_id),
                new_epoch(),
                "1",
                self._max_events,
                self._max_bytes,
                self._producer,
                0,
                0,
                PRODUCER_S,
                KEY_S,
                HISTORY_S,
            ],
        )

    async def entries(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        """The next entries for a client at `cursor`; None if this history does not continue it."""
        producer, last = origin(cursor.ahead)
        if not cursor.mark or (cursor.ahead and not producer):
            return None
        keys = self._keys(tenant_id)[:2]
        if producer:
            keys.append(producer_key(tenant_id, producer))
        answer = await self._ask(READ, keys, [cursor.position, limit + 1])
        if int(answer[3] or 0) < last:
            return None  # the client got events ahead of the history that are not in it
        records = await self._checked(tenant_id, cursor, answer)
        if records is None:
            return None
        return entries_for(cursor, records[:limit], int(answer[1]))

    async def records(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Record] | None:
        """The records after a cursor that this process has reached; [] at the tip.

        None if that history is gone. If another one has the same epoch, it gets a new epoch:
        otherwise clients that reconnect later would take it for the history that they know.
        """
        answer = await self._run(READ, self._keys(tenant_id)[:2], [cursor.position, limit + 1])
        records = await self._checked(tenant_id, cursor, answer)
        if records is None:
            await self._renew(tenant_id, cursor)
        return records

    async def _checked(
        self, tenant_id: str, cursor: Cursor, answer: Sequence[bytes | None]
    ) -> list[Record] | None:
        try:
            return records_after(answer, cursor)
        except Damaged as error:
            log.error("tenant %s: the event history in Redis is damaged: %s", tenant_id, error)
            await self._renew(tenant_id, cursor, damaged=True)
            return None

    async def _renew(self, tenant_id: str, cursor: Cursor, *, damaged: bool = False) -> None:
        args = [channel_name(tenant_id), new_epoch(), cursor.epoch, cursor.position, cursor.mark]
        keys = self._keys(tenant_id)[:2]
        if await self._run(RENEW, keys, [*args, "1" if damaged else "0"]):
            log.error(
                "tenant %s: the event history in Redis changed unexpectedly; starting a new "
                "epoch, all clients reload",
                tenant_id,
            )

    def _keys(self, tenant_id: str) -> list[str]:
        return [
            head_key(tenant_id),
            events_key(tenant_id),
            producer_key(tenant_id, self._producer),
        ]
