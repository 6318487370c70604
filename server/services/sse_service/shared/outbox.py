"""Outbox: events on their way into the log, in order, numbered, bounded in memory."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator

from server.services.sse_service.backend import ENTRY_OVERHEAD_BYTES, Cursor
from server.services.sse_service.event import Event
from server.services.sse_service.shared.records import parts_of

BATCH_MAX = 100
BATCH_BYTES = 512 * 1024
TOTAL_BYTES = 32_000_000


class Item:
    """One event. `done` is who waits for its place; None once nobody does."""

    def __init__(self, seq: int, event: Event) -> None:
        self.seq = seq
        self.event = event
        self.parts = parts_of(event)
        self.size = sum(map(len, self.parts)) + ENTRY_OVERHEAD_BYTES
        self.done: asyncio.Future[Cursor | None] | None = asyncio.get_running_loop().create_future()

    def settle(self, cursor: Cursor | None) -> None:
        """Tell who waits."""
        if self.done is not None and not self.done.done():
            self.done.set_result(cursor)
        self.done = None


class Queue:
    """One tenant's events. `new_epoch` is set once some were dropped: the history that follows is
    another one, so that every client is told."""

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.items: deque[Item] = deque()
        self.size = 0
        self.next_seq = 1
        self.confirmed = 0
        self.confirmed_at = 0.0
        self.new_epoch: str | None = None

    def batch(self) -> list[Item]:
        """The oldest events, as many as fit into one call."""
        items: list[Item] = []
        size = 0
        for item in self.items:
            size += item.size
            if items and (size > BATCH_BYTES or len(items) >= BATCH_MAX):
                break
            items.append(item)
        return items


class Outbox:
    """Every tenant's queue. A queue that outgrows its bounds is dropped as a whole."""

    def __init__(self, max_events: int, max_bytes: int, total_bytes: int = TOTAL_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._total_bytes = total_bytes
        self._queues: dict[str, Queue] = {}
        self.waiting = 0
        self._size = 0

    def add(self, tenant_id: str, event: Event) -> tuple[Item, int]:
        """Put an event at the end; how many had to be dropped for it."""
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
        """Forget these oldest events, which are in the log now (monotonic seconds), sent with this
        new epoch if any."""
        if queue.new_epoch == epoch:
            queue.new_epoch = None
        queue.confirmed, queue.confirmed_at = max(queue.confirmed, items[-1].seq), now
        for item in items:
            # The queue may have been dropped meanwhile, and these with it.
            if queue.items and queue.items[0] is item:
                self._remove(queue)
        self.end_turn(queue)

    def end_turn(self, queue: Queue) -> None:
        """Put the queue behind all others: no tenant waits behind a busier one for ever."""
        self._queues[queue.tenant_id] = self._queues.pop(queue.tenant_id)

    def drop(self, queue: Queue) -> int:
        """Give up all that waits of a tenant, whose history begins anew; how many that were."""
        dropped = len(queue.items)
        queue.new_epoch = new_epoch()
        while queue.items:
            self._remove(queue)
        return dropped

    def queues(self) -> Iterator[Queue]:
        """The queues that hold something."""
        return (queue for queue in self._queues.values() if queue.items)

    def _remove(self, queue: Queue) -> None:
        item = queue.items.popleft()
        queue.size -= item.size
        self._size -= item.size
        self.waiting -= 1
        item.settle(None)


def new_epoch() -> str:
    """A name for a history that no other history has."""
    return secrets.token_hex(6)
