"""Channel: one tenant's newest events in this process, released to all its subscribers at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.clock import Clock
from server.services.sse_service.backend import Cursor, Entry

if TYPE_CHECKING:
    from server.services.sse_service.subscription import Subscription

TAIL_MAX_BYTES = 1_000_000
CHUNK_MAX_BYTES = 256 * 1024
# Live subscribers stand at one or two places; those that catch up must not fill the memory.
RENDERED_MAX = 16
# A flush costs every subscriber one write, about 20 to 30 µs under Hypercorn: spend at most about
# the time between two flushes on it, and never hold an event back longer than 20 ms.
FLUSH_S_PER_SUBSCRIBER = 20e-6
FLUSH_MAX_S = 0.02


class Channel:
    """The live tail of one tenant's history.

    `tail` holds the entries after `base` up to `head`; subscribers see them up to `released`.
    An entry is released at once when events are rare, and every few milliseconds, together with
    all that came meanwhile, when they are not.
    """

    def __init__(self, tenant_id: str, queue_max: int, clock: Clock) -> None:
        self.tenant_id = tenant_id
        self._clock = clock
        self._queue_max = queue_max
        self._tail_max = max(256, 2 * queue_max)
        self.subscriptions: set[Subscription] = set()
        self.ready = False
        self.epoch = ""
        self.base = self.head = self.released = 0
        self.tail: list[Entry] = []
        self._tail_bytes = 0
        self._flush: asyncio.Handle | None = None
        self._last_flush = 0.0
        self._rendered: dict[tuple[int, bool], tuple[bytes, int]] = {}

    def begin(self, tip: Cursor) -> None:
        """Start at the log's tip; what was added while it was being asked for follows it."""
        if self.ready:
            return
        newer = [entry for entry in self.tail if entry.position > tip.position]
        self.tail, self._tail_bytes = newer, sum(entry.size for entry in newer)
        self.epoch, self.ready = tip.epoch, True
        self.base = newer[0].position - 1 if newer else tip.position
        self.head = self.released = newer[-1].position if newer else tip.position

    def cursor(self, position: int) -> Cursor:
        """A place in this tenant's history."""
        return Cursor(self.epoch, position)

    def add(self, entry: Entry) -> None:
        """Take a new entry and see that it is released soon; one the tip had counted is known."""
        if self.ready and entry.position <= self.head:
            return
        self.tail.append(entry)
        self._tail_bytes += entry.size
        self.head = entry.position
        if not self.ready:
            self._trim()
            return
        if not self.subscriptions:
            self.tail.clear()
            self._tail_bytes = 0
            self.base = self.released = self.head
            return
        if self._flush is None:
            wait_s = min(FLUSH_MAX_S, FLUSH_S_PER_SUBSCRIBER * len(self.subscriptions))
            wait_s -= self._clock.monotonic() - self._last_flush
            loop = asyncio.get_running_loop()
            self._flush = (
                loop.call_later(wait_s, self.flush) if wait_s > 0 else loop.call_soon(self.flush)
            )

    def flush(self) -> None:
        """Release what has come, wake who waits for it and let go who fell too far behind."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._last_flush = self._clock.monotonic()
        self._rendered.clear()
        self.released = self.head
        for subscription in list(self.subscriptions):
            if not subscription.wake() and subscription.waiting_events() > self._queue_max:
                subscription.end("slow")
        self._trim()

    def render(self, position: int, names: bool) -> tuple[bytes, int]:
        """The released frames after `position` as one piece of bytes, and the place it reaches.

        Made once for all subscribers at the same place; CHUNK_MAX_BYTES bounds a piece.
        """
        key = (position, names)
        done = self._rendered.get(key)
        if done is None:
            if len(self._rendered) >= RENDERED_MAX:
                self._rendered.clear()
            entries = self.tail[position - self.base : self.released - self.base]
            done = self._rendered[key] = join(entries, names, position)
        return done

    def _trim(self) -> None:
        excess = len(self.tail) - self._tail_max
        cut = max(0, excess)
        size = self._tail_bytes - sum(entry.size for entry in self.tail[:cut])
        while size > TAIL_MAX_BYTES and cut < len(self.tail):
            size -= self.tail[cut].size
            cut += 1
        if cut:
            self._rendered.clear()
            del self.tail[:cut]
            self._tail_bytes = size
            self.base += cut


def join(entries: list[Entry], names: bool, position: int) -> tuple[bytes, int]:
    """The frames of `entries`, up to CHUNK_MAX_BYTES (at least one), and the last one's place."""
    frames: list[bytes] = []
    size = 0
    for entry in entries:
        frame = entry.frame if names else entry.frame[entry.name_length :]
        size += len(frame)
        if frames and size > CHUNK_MAX_BYTES:
            break
        frames.append(frame)
        position = entry.position
    return b"".join(frames), position
