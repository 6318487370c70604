"""Subscription: one client's open stream, iterated for the bytes to write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from server.common.session_end import SessionEnd
from server.services.sse_service.delivery import Delivery, EventSubscriber
from server.services.sse_service.event import COMMENT, control_frame, retry_frame
from server.services.sse_service.stream_request import StreamRequest

# A person needs this long to see that the session ends, and to come to the page: WCAG 2.2, success
# criterion 2.2.1, asks for 20 s at least.
WARN_S = 120.0
# Ends that are closer to each other are the same one, calculated by two clocks.
SAME_END_S = 1.0

Preamble = Sequence[Callable[["Subscription"], Awaitable[bytes]]]


class Subscription(EventSubscriber):
    """One client's stream: the pieces that `preamble` makes, then events and heartbeats.

    A piece counts as written when the next one is asked for. The iteration ends after `end` or
    `say_bye`. While it waits for the next piece, events may be written straight to the client's
    connection.
    """

    __slots__ = (
        "_announced_s", "_bye_retry_ms", "_client", "_closed", "_end_due", "_ended", "_ends_s",
        "_extendable", "_heartbeat_due", "_kill", "_on_close", "_retry_ms", "_steps", "counted",
        "owner",
    )  # fmt: skip

    def __init__(
        self,
        delivery: Delivery,
        request: StreamRequest,
        *,
        preamble: Preamble,
        retry_ms: int,
        on_close: Callable[[Subscription, str], None],
    ) -> None:
        super().__init__(delivery, request)
        self.owner = request.owner
        # Under which limits the stream is counted.
        self.counted: tuple[tuple[str, str], ...] = ()
        # On the clock of `tick`, which nobody can set.
        self._ends_s: float | None = None
        # The end that was sent to the client; None if none was, or it is not near.
        self._announced_s: float | None = None
        self._end_due = False
        self._extendable = False
        if request.end is not None:
            self.move_end(request.end)
        self._kill = request.kill
        self._steps = list(preamble)
        self._retry_ms = retry_ms
        self._on_close = on_close
        self._heartbeat_due = False
        self._ended: str | None = None
        self._bye_retry_ms: int | None = None
        self._closed = False
        self._client: asyncio.Future[Any] | None = None

    def opening(self) -> bytes:
        """The first bytes of a stream: a comment and the client's reconnect delay."""
        return COMMENT + retry_frame(self._retry_ms)

    def control(self, name: str, data: object, retry_ms: int | None = None) -> bytes:
        """A frame for this client alone, with its current cursor as id."""
        frame = control_frame(name, msgspec.json.encode(data), self.id, retry_ms)
        return frame if self._names else frame[len(name) + len("event: \n") :]

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next piece to write."""
        self._writing_since = None
        piece = await self._next()
        if piece is None:
            raise StopAsyncIteration
        self._writing_since = self._last_write = self._clock.monotonic()
        self._seen_head = self._tail.head
        self._heartbeat_due = False
        return piece

    async def _next(self) -> bytes | None:
        while self._ended is None:
            if self._steps:
                return await self._steps.pop(0)(self)
            if self._end_due:
                return self._session_event()
            piece = await self._take()
            if piece:
                return piece
            if self._bye_retry_ms is not None and not self._is_behind():
                self._ended = "drain"
                data = {"ts": self._clock.now_ms(), "retry_ms": self._bye_retry_ms}
                return self.control("bye", data, retry_ms=self._bye_retry_ms)
            if self._heartbeat_due:
                return self.control("heartbeat", {"ts": self._clock.now_ms()})
            if self._ended is None and not self._is_behind():
                await self._wait()
        return None

    def tick(self, now: float, heartbeat_s: float, stall_s: float) -> None:
        """End the stream if it expired or stalled, else send what is due.

        `now` is `Clock.monotonic`. The hub calls this every second, or more often.
        """
        if self._ends_s is not None and now >= self._ends_s:
            self.end("session")
            return
        if self._must_announce(now):
            self._end_due = True
            self.wake()
        if self._writing_since is not None:
            if now - self._writing_since > stall_s:
                self.end("stalled")
        elif now - self.written_at >= heartbeat_s:
            self._heartbeat_due = True
            self.wake()

    def move_end(self, end: SessionEnd) -> None:
        """Let the stream end with its session; this is when that ends, as far as is known now."""
        left_s = (end.expire_at - self._clock.now_ms()) / 1000
        self._ends_s = self._clock.monotonic() + left_s
        self._extendable = end.extendable

    def _must_announce(self, now: float) -> bool:
        """Whether the session ends soon, or later than the end that was sent to the client.

        A client that reads without event names could not tell this event from others.
        """
        if self._ends_s is None or not self._names:
            return False
        if self._announced_s is not None:
            return abs(self._ends_s - self._announced_s) > SAME_END_S
        return self._ends_s - now <= WARN_S

    def _session_event(self) -> bytes:
        assert self._ends_s is not None
        left_s = self._ends_s - self._clock.monotonic()
        self._announced_s, self._end_due = self._ends_s if left_s <= WARN_S else None, False
        now = self._clock.now_ms()
        data = {"ends_at": now + round(left_s * 1000), "extendable": self._extendable, "ts": now}
        return self.control("session", data)

    def say_bye(self, retry_ms: int) -> None:
        """End the stream after the events so far and a `bye` with this reconnect delay."""
        self._bye_retry_ms = retry_ms
        self.wake()

    def end(self, reason: str) -> None:
        """End the stream now, with no more events; a write that is under way is cut off."""
        if self._closed:
            return
        if self._ended is None:
            self._ended = reason
            if reason in {"slow", "stalled"}:
                has = max(self._offset or 0, self._tail.base)
                self._delivery.metrics.events_dropped.inc(self._tail.head - has)
        self.settle()
        if not self.wake() and self._writing_since is not None and self._kill is not None:
            self._kill()

    def ends_with(self, client: asyncio.Future[Any]) -> None:
        """End the stream when `client` is done, because the client has gone; `close` cancels it."""
        self._client = client
        client.add_done_callback(lambda _: self.end("client"))

    def close(self, reason: str = "client") -> None:
        """Remove the stream from the delivery; a reason that `end` gave counts before this one."""
        if not self._closed:
            self._closed = True
            self._delivery.leave(self)
            if self._client is not None:
                self._client.cancel()
            self._on_close(self, self._ended or reason)
