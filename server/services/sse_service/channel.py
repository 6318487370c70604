"""Channel: one tenant's newest events in this process, released to all its subscribers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from server.clock import Clock
from server.services.sse_service.backend import Cursor, Entry

if TYPE_CHECKING:
    from server.services.sse_service.subscription import Subscription

# Not for pages that only use `onmessage`, and take every event for a reading. What stands for it
# is not empty: an empty chunk would end the answer.
ONLY_NAMED, COMMENT = b"event: zone\n", b":\n\n"
TAIL_MAX_BYTES = 1_000_000
CHUNK_MAX_BYTES = 256 * 1024
# Live subscribers stand at one or two places; those that catch up must not fill the memory.
RENDERED_MAX = 16
# A flush costs every subscriber one write, about 4 µs: spend a fifth of the time on it at most, and
# keep an event of a thousand subscribers no longer than 20 ms.
FLUSH_S_PER_SUBSCRIBER = 20e-6
# More events a second than this leave little time beside deciding and storing them: the wait grows
# as they do, so that fewer and larger writes carry them.
FLUSH_EVENTS_A_SECOND = 500
# Counted over at least so long, so that a few that come together are no rate.
RATE_S = 0.1


class Wire(Protocol):
    """A client's connection below the HTTP server, for whole chunks of a chunked answer; that of
    asyncio has these methods."""

    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def is_closing(self) -> bool: ...


class Channel:
    """The live tail of one tenant's history: a `Follower` of the log.

    `tail` holds the entries after `base` up to `head`, counted from where the channel began;
    subscribers see them up to `released`. An entry is released at once when events are rare, and
    every few milliseconds, together with all that came meanwhile, when they are not: `flush_max_s`
    seconds is the longest that it waits.

    `live` holds, by whether they want names, the subscribers that have got everything up to
    `live_index` and wait for more: a flush writes to their connections one after the other, and
    looks at nothing else of them.
    """

    def __init__(
        self,
        tenant_id: str,
        queue_max: int,
        flush_max_s: float,
        clock: Clock,
        on_lost: Callable[[Channel], None],
    ) -> None:
        self.tenant_id = tenant_id
        self._clock = clock
        self._queue_max = queue_max
        self._flush_max_s = flush_max_s
        self._tail_max = max(256, 2 * queue_max)
        self._on_lost = on_lost
        self.subscriptions: set[Subscription] = set()
        self.live: dict[bool, dict[Wire, Subscription]] = {True: {}, False: {}}
        self.live_index = 0
        self.live_written = 0.0
        self.opening = asyncio.Lock()
        self.idle_since = clock.monotonic()
        self.ready = False
        self.base = self.head = self.released = 0
        self.tail: list[Entry] = []
        self._base_id = ""
        self._tail_bytes = 0
        self._flush: asyncio.Handle | None = None
        self._last_flush = 0.0
        self._events_a_second = 0.0
        self._rate_since, self._rate_from = 0.0, 0
        self._rendered: dict[tuple[int, bool], tuple[bytes, int, str]] = {}
        # The chunk that was made last, and for whom: nearly everyone takes the same.
        self._chunk: tuple[int, bool, tuple[bytes, int, str]] | None = None

    def begin(self, cursor: Cursor) -> None:
        """Start at this place of the log."""
        self._base_id, self.ready = str(cursor), True

    def lose(self) -> None:
        """The log cannot go on from here, and neither can anyone who follows it."""
        self.ready = False
        self._on_lost(self)

    def id_at(self, index: int) -> str:
        """The id of the place after entry number `index`, from `base` to `head`."""
        return self._base_id if index == self.base else self.tail[index - self.base - 1].id

    def find(self, event_id: str) -> int | None:
        """Which place of the tail has this id; None if none has."""
        for index in range(self.head, self.base - 1, -1):
            if self.id_at(index) == event_id:
                return index
        return None

    def add(self, entry: Entry) -> None:
        """Take a new entry and see that it is released soon."""
        self.tail.append(entry)
        self._tail_bytes += entry.size
        self.head += 1
        if not self.subscriptions:
            # Kept for a while all the same: who comes back at once finds its place here.
            self.released = self.live_index = self.head
            self._trim(self.head)
            return
        if self._flush is None:
            wait_s = self.pause_s() - (self._clock.monotonic() - self._last_flush)
            loop = asyncio.get_running_loop()
            self._flush = (
                loop.call_later(wait_s, self.flush) if wait_s > 0 else loop.call_soon(self.flush)
            )

    def pause_s(self) -> float:
        """Seconds from one flush to the next, while events come fast."""
        pause_s = FLUSH_S_PER_SUBSCRIBER * len(self.subscriptions)
        pause_s *= max(1.0, self._events_a_second / FLUSH_EVENTS_A_SECOND)
        return min(pause_s, self._flush_max_s)

    def flush(self) -> None:
        """Release what has come, wake who waits for it and let go who fell too far behind."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        now = self._clock.monotonic()
        self._forget_rendered()
        before, self.released = self.released, self.head
        self._last_flush = now
        if now - self._rate_since >= RATE_S:
            self._events_a_second = (self.head - self._rate_from) / (now - self._rate_since)
            self._rate_since, self._rate_from = now, self.head
        self._write_to_live(now)
        for subscription in [item for item in self.subscriptions if not item.is_live]:
            if subscription.write_now(now):
                continue
            if not subscription.wake() and subscription.waiting_events() > self._queue_max:
                subscription.end("slow")
        self._trim(before)

    def _write_to_live(self, now: float) -> None:
        """Write what was released to all who are live; who cannot take it so is live no longer."""
        if self.live_index == self.released:
            return
        for names, live in self.live.items():
            if not live:
                continue
            chunk, reached, _ = self.chunk(self.live_index, names)
            for wire in list(live):
                if reached < self.released or wire.get_write_buffer_size() or wire.is_closing():
                    live[wire].settle()
                else:
                    wire.write(chunk)
        self.live_index, self.live_written = self.released, now

    def chunk(self, index: int, names: bool) -> tuple[bytes, int, str]:
        """What `render` gives, as one chunk of a chunked answer."""
        last = self._chunk
        if last is not None and last[0] == index and last[1] is names:
            return last[2]
        piece, reached, place = self.render(index, names)
        made = as_chunk(piece), reached, place
        self._chunk = index, names, made
        return made

    def render(self, index: int, names: bool) -> tuple[bytes, int, str]:
        """The released frames after `index` as one piece of bytes, and the place it reaches: its
        index and id. Made once for all subscribers at the same place."""
        key = (index, names)
        done = self._rendered.get(key)
        if done is None:
            if len(self._rendered) >= RENDERED_MAX:
                self._rendered.clear()
            piece, taken = join(self.tail[index - self.base : self.released - self.base], names)
            done = self._rendered[key] = piece, index + taken, self.id_at(index + taken)
        return done

    def _forget_rendered(self) -> None:
        self._rendered.clear()
        self._chunk = None

    def _trim(self, before: int) -> None:
        """Forget the oldest entries that are too many. Of those after `before`, which subscribers
        could not take yet, only what is too much in bytes."""
        excess = len(self.tail) - self._tail_max
        cut = max(0, min(excess, before - self.base))
        size = self._tail_bytes - sum(entry.size for entry in self.tail[:cut])
        while size > TAIL_MAX_BYTES and cut < len(self.tail):
            size -= self.tail[cut].size
            cut += 1
        if cut:
            self._forget_rendered()
            self._base_id = self.tail[cut - 1].id
            del self.tail[:cut]
            self._tail_bytes = size
            self.base += cut


def as_chunk(piece: bytes) -> bytes:
    """A piece of an answer as HTTP/1.1 frames it (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def join(entries: list[Entry], names: bool) -> tuple[bytes, int]:
    """The frames of the first `entries`, up to CHUNK_MAX_BYTES (at least one), and how many.

    Without `names` an event that a page could take for a reading is a comment, which no page sees.
    """
    frames: list[bytes] = []
    size = 0
    for entry in entries:
        frame = entry.frame
        if not names:
            frame = COMMENT if frame.startswith(ONLY_NAMED) else frame[entry.name_length :]
        size += len(frame)
        if frames and size > CHUNK_MAX_BYTES:
            break
        frames.append(frame)
    return b"".join(frames), len(frames)
