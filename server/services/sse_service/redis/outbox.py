"""Outbox: queues events for the log in Redis, in order, numbered and bounded in memory."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator

from server.services.ports.event_log import ENTRY_OVERHEAD_BYTES, Cursor, Event
from server.services.sse_service.redis.records import parts_of

BATCH_MAX = 100
BATCH_BYTES = 512 * 1024
TOTAL_BYTES = 32_000_000


class Item:
    """One event. The publisher waits on `done` for the event's cursor; None once it is settled.

    `ahead`: its publisher went on before the log had it.
    """

    def __init__(self, seq: int, event: Event) -> None:
        self.seq = seq
        self.event = event
        self.parts = parts_of(event)
        self.size = sum(map(len, self.parts)) + ENTRY_OVERHEAD_BYTES
        self.done: asyncio.Future[Cursor | None] | None = asyncio.get_running_loop().create_future()
        self.ahead = False

    def settle(self, cursor: Cursor | None) -> None:
        """Give the cursor to the publisher that waits; None if the event has no cursor."""
        if self.done is not None and not self.done.done():
            self.done.set_result(cursor)
        self.done = None


class Queue:
    """One tenant's waiting events.

    `new_epoch` is set when events were dropped: the history continues under it, so that every
    client reloads. `doubted`: its last call failed, though Redis took a small one. `failures`
    counts consecutive refusals of this tenant alone; until `retry_at` (monotonic, in seconds) it is
    left alone then.
    """

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.items: deque[Item] = deque()
        self.size = 0
        self.next_seq = 1
        self.confirmed = 0
        self.confirmed_at = 0.0
        self.new_epoch: str | None = None
        self.doubted = False
        self.failures = 0
        self.retry_at = 0.0

    def batch(self) -> list[Item]:
        """The oldest events that fit into one call."""
        items: list[Item] = []
        size = 0
        for item in self.items:
            size += item.size
            if items and (size > BATCH_BYTES or len(items) >= BATCH_MAX):
                break
            items.append(item)
        return items


class Outbox:
    """Every tenant's queue. A queue that exceeds a bound is dropped completely."""

    def __init__(self, max_events: int, max_bytes: int, total_bytes: int = TOTAL_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._total_bytes = total_bytes
        self._queues: dict[str, Queue] = {}
        self.waiting = 0
        self._size = 0

    def add(self, tenant_id: str, event: Event) -> tuple[Item, int]:
        """Append an event to the tenant's queue; return it and the number of dropped events."""
        queue = self._queues.get(tenant_id)
        if queue is None:
            queue = self._queues[tenant_id] = Queue(tenant_id)
        item = Item(queue.next_seq, event)
        queue.next_seq += 1
        dropped = 0
        if (
            len(queue.items) >= self._max_events
            or (queue.items and queue.size + item.size > self._max_bytes)
            or (queue.items and self._size + item.size > self._total_bytes)
        ):
            dropped = self.drop(queue)
        queue.items.append(item)
        queue.size += item.size
        self._size += item.size
        self.waiting += 1
        return item, dropped

    def appended(self, queue: Queue, items: list[Item], epoch: str | None, now: float) -> None:
        """Remove these oldest events: the log has them since `now` (monotonic, in seconds).

        `epoch` is the new epoch that was sent with them, if any.
        """
        if queue.new_epoch == epoch:
            queue.new_epoch = None
        queue.confirmed, queue.confirmed_at = max(queue.confirmed, items[-1].seq), now
        for item in items:
            # The queue may have been dropped during the call, with these events.
            if queue.items and queue.items[0] is item:
                self._remove(queue)
        self.end_turn(queue)

    def end_turn(self, queue: Queue) -> None:
        """Put the queue behind all others, so that a busy tenant does not hold up the rest."""
        self._queues[queue.tenant_id] = self._queues.pop(queue.tenant_id)

    def drop(self, queue: Queue) -> int:
        """Drop a tenant's waiting events, so its history gets a new epoch; return their number."""
        dropped = len(queue.items)
        queue.new_epoch = new_epoch()
        while queue.items:
            self._remove(queue)
        return dropped

    def is_held(self, tenant_id: str) -> bool:
        """Whether Redis refuses this tenant's events while it takes those of others."""
        queue = self._queues.get(tenant_id)
        return queue is not None and queue.failures > 0

    def queues(self) -> Iterator[Queue]:
        """The queues that hold events."""
        return (queue for queue in self._queues.values() if queue.items)

    def _remove(self, queue: Queue) -> None:
        item = queue.items.popleft()
        queue.size -= item.size
        self._size -= item.size
        self.waiting -= 1
        item.settle(None)


def new_epoch() -> str:
    """A random epoch: no other history has it."""
    return secrets.token_hex(6)
