"""Delivery: writes a tenant's events straight to its subscribers' sockets, live or as a replay."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Literal

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.event_log import Cursor, Entry, EventLog, LogUnavailable
from server.services.sse_service.stream_request import ClientConnection, StreamRequest
from server.services.sse_service.tail import Tail, as_chunk, join, wanted_by

REPLAY_PAGE = 500

Resume = Literal["fresh", "recovered", "reset"]


class Delivery:
    """One tenant's subscribers, its newest events (`tail`), and the log with the older ones.

    `live` holds the subscribers that have every event up to `live_offset` and wait for more. Its
    two groups are the subscribers that want event names and those that do not. `deliver` writes
    the same bytes to every connection of a group and needs no other state of its subscribers.
    """

    def __init__(
        self, tenant_id: str, event_log: EventLog, clock: Clock, metrics: Metrics, queue_max: int
    ) -> None:
        self.tenant_id = tenant_id
        self.log = event_log
        self.clock = clock
        self.metrics = metrics
        self._queue_max = queue_max
        self.tail = Tail(max(256, 2 * queue_max))
        self.subscribers: set[EventSubscriber] = set()
        self.live: dict[bool, dict[ClientConnection, EventSubscriber]] = {True: {}, False: {}}
        self.live_offset = 0
        self.live_written = 0.0

    def enter(self, subscriber: EventSubscriber) -> None:
        """Deliver to this subscriber too."""
        if not self.subscribers:
            # Without subscribers the tail released events, but `live_offset` did not follow.
            self.live_offset = self.tail.released
        self.subscribers.add(subscriber)

    def leave(self, subscriber: EventSubscriber) -> None:
        """Deliver nothing more to this subscriber."""
        subscriber.settle()
        self.subscribers.discard(subscriber)

    def deliver(self, now: float) -> None:
        """Write released events, wake subscribers, end slow ones; `now` is in monotonic seconds."""
        self._write_to_live(now)
        for subscriber in [item for item in self.subscribers if not item.is_live]:
            if subscriber.write_now(now):
                continue
            if not subscriber.wake() and subscriber.waiting_events() > self._queue_max:
                subscriber.end("slow")

    def _write_to_live(self, now: float) -> None:
        """Write released events to live subscribers; one that cannot take them is live no more."""
        released = self.tail.released
        if self.live_offset == released:
            return
        for names, live in self.live.items():
            if not live:
                continue
            chunk, reached, _ = self.tail.chunk(self.live_offset, names)
            for wire in list(live):
                if reached < released or wire.get_write_buffer_size() or wire.is_closing():
                    live[wire].settle()
                else:
                    wire.write(chunk)
        self.live_offset, self.live_written = released, now


class EventSubscriber(ABC):
    """One client's offset in its tenant's events, and the steps that move it on.

    A subscriber that waits for events, with an empty write buffer, gets them at once: from the
    delivery, which then keeps its offset (`is_live`), or from `write_now`. The task of any other
    subscriber asks `_take` for the next piece.
    """

    # There is one object for each stream; slots need half the memory of a dict.
    __slots__ = (
        "_clock", "_delivery", "_devices", "_first_page", "_id", "_last_write", "_names", "_offset",
        "_replay_until", "_replaying", "_seen_head", "_tail", "_unread", "_waiter", "_wire",
        "_writing_since", "is_live", "resumed",
    )  # fmt: skip

    def __init__(self, delivery: Delivery, request: StreamRequest) -> None:
        tail = delivery.tail
        self._delivery = delivery
        self._tail = tail
        self._clock = delivery.clock
        self._devices = request.devices
        self._names = request.names
        self._wire = request.wire
        self.resumed: Resume = "fresh"
        # The stream begins with the events that are not released yet: none is lost or repeated.
        # None: the offset is not in the tail, and the client reads the log until it is.
        self._offset: int | None = tail.released
        self._id = tail.id_at(tail.released)
        self.is_live = False
        self._replay_until = 0
        self._replaying = False
        # The page that `_knows` read from the log; it is sent first.
        self._first_page: list[Entry] | None = None
        self._unread = True
        self._waiter: asyncio.Future[None] | None = None
        self._seen_head = tail.head
        self._last_write = self._clock.monotonic()
        self._writing_since: float | None = None

    @abstractmethod
    def end(self, reason: str) -> None:
        """Deliver no more events and cut off a write that is under way."""

    @property
    def tenant_id(self) -> str:
        """The tenant whose events the client gets."""
        return self._delivery.tenant_id

    @property
    def id(self) -> str:
        """The cursor after the last event that was written."""
        return self._tail.id_at(self._delivery.live_offset) if self.is_live else self._id

    @property
    def written_at(self) -> float:
        """The time of the last write to this client: monotonic, in seconds."""
        if self.is_live:
            return max(self._last_write, self._delivery.live_written)
        return self._last_write

    async def resume(self, last_event_id: str | None) -> None:
        """Continue after the event with this id, if the history reaches back to it."""
        if last_event_id:
            self._replay_until = self._tail.head
            if await self._knows(last_event_id):
                self.resumed, self._id = "recovered", last_event_id
                self._offset = self._tail.find(last_event_id)
                self._replaying = self._offset is None
            else:
                self.resumed = "reset"
        # From here on, a client that never asks for its first piece counts as slow.
        self._writing_since, self._seen_head = self._clock.monotonic(), self._tail.head
        self._delivery.metrics.resumes.labels(kind=self.resumed).inc()

    async def _knows(self, event_id: str) -> bool:
        """Whether every event after this id can be replayed."""
        cursor = Cursor.parse(event_id)
        if cursor is None:
            return False
        if self._tail.find(event_id) is not None:
            return True
        try:
            page = await self._delivery.log.read_after(self.tenant_id, cursor, REPLAY_PAGE)
        except LogUnavailable:
            return False  # a stream that starts over (`reset`) is better than none
        self._first_page = page
        return page is not None

    def _is_behind(self) -> bool:
        """Whether `_take` may find events without waiting."""
        if self._offset is None:
            return self._unread
        return self._offset < self._tail.released

    async def _take(self) -> bytes:
        """Return the next frames and move the offset; b"" if none are for this client."""
        start, tail = self._offset, self._tail
        if start is None or start < tail.base:
            return await self._take_from_log()
        if start >= tail.released:
            return b""
        if not self._devices:
            piece, self._offset, self._id = tail.render(start, self._names)
            self._count_replayed(min(self._offset, self._replay_until) - start)
            return piece
        return self._take_wanted(start)

    def _take_wanted(self, start: int) -> bytes:
        """Return the released frames after `start` that are for this client's devices."""
        entries = self._tail.after(start)
        piece, taken = self._join_wanted(entries, replayed=self._replay_until - start)
        self._offset, self._id = start + taken, entries[taken - 1].id
        return piece

    async def _take_from_log(self) -> bytes:
        """Return a page of the log after this client's id, until the tail holds that id.

        If the log cannot give it, the stream ends: the client reconnects with its last id, and the
        new stream sends the events that it missed or says `reset`.
        """
        self._offset, cursor = None, Cursor.parse(self.id)
        assert cursor is not None, self.id
        # An event that arrives during the read sets this again (`wake`).
        self._unread = False
        page, self._first_page = self._first_page, None
        try:
            if page is None:
                page = await self._delivery.log.read_after(self.tenant_id, cursor, REPLAY_PAGE)
        except LogUnavailable:
            self.end("log")
            return b""
        if page is None:
            self.end("gap")
            return b""
        piece = b""
        if page:
            self._unread = True
            piece, taken = self._join_wanted(page, replayed=len(page) if self._replaying else 0)
            self._id = page[taken - 1].id
        self._offset = self._tail.find(self.id)
        self._replaying = self._replaying and self._offset is None
        return piece

    def _join_wanted(self, entries: list[Entry], replayed: int) -> tuple[bytes, int]:
        """Join the frames for this client that fit into one piece; return it and the entries used.

        The first `replayed` entries are older than the connection and are counted as replayed.
        """
        wanted = wanted_by(self._devices, entries)
        piece, joined = join([entries[index] for index in wanted], self._names)
        if replayed > 0:
            self._count_replayed(sum(1 for index in wanted[:joined] if index < replayed))
        return piece, len(entries) if joined == len(wanted) else wanted[joined]

    def _count_replayed(self, replayed: int) -> None:
        if replayed > 0:
            self._delivery.metrics.events_replayed.inc(replayed)

    async def _wait(self) -> None:
        """Wait until `wake` is called: for new events, a heartbeat, or the end."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._go_live()
        try:
            await self._waiter
        finally:
            self.settle()
            self._waiter = None

    def _go_live(self) -> None:
        """Join the live subscribers, if this client wants all devices and has every event."""
        offset = self._offset
        if self._wire is None or self._devices or offset is None:
            return
        # Up to `_replay_until` this subscriber counts its replayed events itself.
        if offset == self._tail.released and offset >= self._replay_until:
            self._delivery.live[self._names][self._wire] = self
            self.is_live = True

    def settle(self) -> None:
        """Leave the live subscribers, at the offset that the delivery has reached."""
        if self.is_live and self._wire is not None:
            self._offset, self._id = self._delivery.live_offset, self.id
            del self._delivery.live[self._names][self._wire]
            self.is_live = False

    def wake(self) -> bool:
        """Let a waiting client check for work again; False if it is not waiting."""
        self._unread = True
        if self._waiter is None:
            return False
        if not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def write_now(self, now: float) -> bool:
        """Write the released events straight to the connection; False if the task must do it.

        That is so if it is not waiting, its write buffer is not empty, or one piece is too small.
        """
        wire, waiter, start, tail = self._wire, self._waiter, self._offset, self._tail
        if wire is None or waiter is None or start is None or waiter.done():
            return False
        if wire.get_write_buffer_size() or wire.is_closing() or start < tail.base:
            return False
        if start == tail.released:
            return True
        if self._devices:
            piece = self._take_wanted(start)
            chunk = as_chunk(piece) if piece else b""
        else:
            chunk, self._offset, self._id = tail.chunk(start, self._names)
            self._count_replayed(min(self._offset, self._replay_until) - start)
        if chunk:
            wire.write(chunk)
            self._last_write = now
        if self._offset != tail.released:
            return False
        self._go_live()
        return True

    def waiting_events(self) -> int:
        """Count the events for this client that arrived during the write that is under way."""
        if self._writing_since is None:
            return 0
        tail = self._tail
        since = max(self._offset or 0, self._seen_head)
        if not self._devices or tail.head - since <= 0:
            return tail.head - since
        newer = tail.entries[max(0, since - tail.base) :]
        return len(wanted_by(self._devices, newer))
