"""Channel: receives one tenant's events from the log and releases them to all subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.common.clock import Clock
from server.services.ports.event_log import Cursor, Entry
from server.services.sse_service.delivery import Delivery

# A flush costs one write for each subscriber, about 4 µs. With 20 µs a subscriber between flushes,
# writes take at most a fifth of the time, and with 1,000 subscribers an event waits at most 20 ms.
FLUSH_S_PER_SUBSCRIBER = 20e-6
# Above this rate, deciding and storing the events leave little time. The pause then grows with the
# rate, so that fewer and larger writes carry the events.
FLUSH_EVENTS_A_SECOND = 500
# The rate is an average over at least this many seconds: a short burst does not raise it.
RATE_S = 0.1


class Channel:
    """A `Follower` of the log that keeps a tenant's newest events in the tail of its delivery.

    It releases a rare event at once. It releases frequent events together, every few milliseconds;
    no event waits longer than `flush_max_s` seconds.
    """

    def __init__(
        self,
        delivery: Delivery,
        flush_max_s: float,
        clock: Clock,
        on_lost: Callable[[Channel], None],
    ) -> None:
        self.delivery = delivery
        self.tail = delivery.tail
        self.tenant_id = delivery.tenant_id
        self._flush_max_s = flush_max_s
        self._clock = clock
        self._on_lost = on_lost
        self.opening = asyncio.Lock()
        self.idle_since = clock.monotonic()
        self.ready = False
        self._flush: asyncio.Handle | None = None
        self._last_flush = 0.0
        self._events_a_second = 0.0
        self._rate_since, self._rate_from = 0.0, 0

    def begin(self, cursor: Cursor) -> None:
        """Start after this position of the log."""
        self.tail.begin(cursor)
        self.ready = True

    def lose(self) -> None:
        """The log cannot continue this history: end the streams that follow it."""
        self.ready = False
        self._on_lost(self)

    def add(self, entry: Entry) -> None:
        """Take a new entry and schedule its release."""
        tail = self.tail
        tail.add(entry)
        if not self.delivery.subscribers:
            # Keep the entry for a while: a client that reconnects soon finds its offset here.
            tail.release()
            tail.trim(tail.head)
        elif self._flush is None:
            wait_s = self.pause_s() - (self._clock.monotonic() - self._last_flush)
            loop = asyncio.get_running_loop()
            self._flush = (
                loop.call_later(wait_s, self.flush) if wait_s > 0 else loop.call_soon(self.flush)
            )

    def pause_s(self) -> float:
        """Seconds from one flush to the next while events are frequent."""
        pause_s = FLUSH_S_PER_SUBSCRIBER * len(self.delivery.subscribers)
        pause_s *= max(1.0, self._events_a_second / FLUSH_EVENTS_A_SECOND)
        return min(pause_s, self._flush_max_s)

    def flush(self) -> None:
        """Release the waiting events and deliver them."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        now = self._last_flush = self._clock.monotonic()
        before = self.tail.release()
        if now - self._rate_since >= RATE_S:
            head = self.tail.head
            self._events_a_second = (head - self._rate_from) / (now - self._rate_since)
            self._rate_since, self._rate_from = now, head
        self.delivery.deliver(now)
        self.tail.trim(before)
