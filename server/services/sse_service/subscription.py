"""Subscription: one open stream, an iterator of pieces of bytes to write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from server.clock import Clock
from server.metrics import Metrics
from server.services.sse_service.backend import Cursor, Entry, EventLog, LogUnavailable
from server.services.sse_service.channel import Channel, join
from server.services.sse_service.event import COMMENT, control_frame, retry_frame

REPLAY_PAGE = 500

Resume = Literal["fresh", "recovered", "reset"]
Preamble = Sequence[Callable[["Subscription"], Awaitable[bytes]]]


class Subscription:
    """One client's place in its tenant's events.

    Iterate it for the bytes to write: what `preamble` makes, then events and heartbeats. A piece
    counts as written when the next one is asked for. It ends by itself after `end` or `say_bye`.
    """

    def __init__(
        self,
        channel: Channel,
        event_log: EventLog,
        clock: Clock,
        metrics: Metrics,
        *,
        devices: frozenset[str],
        names: bool,
        owner: str | None,
        expire_at: int | None,
        kill: Callable[[], None] | None,
        preamble: Preamble,
        retry_ms: int,
        on_close: Callable[[Subscription, str], None],
    ) -> None:
        self._channel = channel
        self._log = event_log
        self._clock = clock
        self._metrics = metrics
        self._devices = devices
        self._names = names
        self.owner = owner
        self._expire_at = expire_at
        self._kill = kill
        self._steps = list(preamble)
        self._retry_ms = retry_ms
        self._on_close = on_close
        self.resumed: Resume = "fresh"
        # What is not released yet comes as the first events: nothing is missed or repeated.
        self.position = channel.released
        self._replay_until = 0
        self._seen_head = channel.head
        self._waiter: asyncio.Future[None] | None = None
        self._writing_since: float | None = None
        self._last_write = clock.monotonic()
        self._heartbeat_due = False
        self._ended: str | None = None
        self._bye_retry_ms: int | None = None
        self._closed = False

    async def resume(self, last_event_id: str | None) -> None:
        """Go on after the event that `last_event_id` names, if the history reaches back to it."""
        if last_event_id:
            cursor = Cursor.parse(last_event_id)
            tenant_id = self._channel.tenant_id
            known = cursor is not None and (
                await self._log.read_after(tenant_id, cursor, 1) is not None
            )
            if cursor is not None and known:
                self.resumed, self.position = "recovered", cursor.position
                self._replay_until = self._channel.head
            else:
                self.resumed = "reset"
        # A client that never asks for its first piece is as slow as one that never takes it.
        self._writing_since, self._seen_head = self._clock.monotonic(), self._channel.head
        self._metrics.resumes.labels(kind=self.resumed).inc()

    @property
    def cursor(self) -> str:
        """The id of the place this client has reached."""
        return str(self._channel.cursor(self.position))

    def opening(self) -> bytes:
        """The comment that opens every stream and the client's own reconnect delay."""
        return COMMENT + retry_frame(self._retry_ms)

    def control(self, name: str, data: object, retry_ms: int | None = None) -> bytes:
        """A frame of this client's own, with its place as id."""
        frame = control_frame(name, msgspec.json.encode(data), self.cursor, retry_ms)
        return frame if self._names else frame[len(name) + len("event: \n") :]

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> bytes:
        """The next piece to write; waits until there is one."""
        self._writing_since = None
        piece = await self._next()
        if piece is None:
            raise StopAsyncIteration
        self._writing_since = self._last_write = self._clock.monotonic()
        self._seen_head = self._channel.head
        self._heartbeat_due = False
        return piece

    async def _next(self) -> bytes | None:
        while self._ended is None:
            if self._steps:
                return await self._steps.pop(0)(self)
            piece = await self._take()
            if piece:
                return piece
            if self._bye_retry_ms is not None and self.position >= self._channel.released:
                self._ended = "drain"
                farewell = {"ts": self._clock.now_ms(), "retry_ms": self._bye_retry_ms}
                return self.control("bye", farewell, retry_ms=self._bye_retry_ms)
            if self._heartbeat_due:
                return self.control("heartbeat", {"ts": self._clock.now_ms()})
            if self._ended is None and self.position >= self._channel.released:
                await self._wait()
        return None

    async def _take(self) -> bytes:
        """The frames after this client's place; b"" if none concern it. Moves the place."""
        channel = self._channel
        start = self.position
        if start >= channel.released:
            return b""
        if start >= channel.base:
            if not self._devices:
                piece, self.position = channel.render(start, self._names)
                self._count_replayed(min(self.position, self._replay_until) - start)
                return piece
            entries = channel.tail[start - channel.base : channel.released - channel.base]
        else:
            older = await self._read_history(start)
            if older is None:
                return b""
            entries = older
        if not entries:
            return b""
        wanted = [entry for entry in entries if self._concerns(entry)]
        piece, reached = join(wanted, self._names, entries[-1].position)
        cut_short = bool(wanted) and reached != wanted[-1].position
        self.position = reached if cut_short else entries[-1].position
        until = min(reached, self._replay_until)
        self._count_replayed(sum(1 for entry in wanted if entry.position <= until))
        return piece

    async def _read_history(self, start: int) -> list[Entry] | None:
        """A page of the log after `start`; None, and the end of the stream, if there is none.

        The client comes back with its last id then, and is told what it missed.
        """
        tenant_id, cursor = self._channel.tenant_id, self._channel.cursor(start)
        try:
            page = await self._log.read_after(tenant_id, cursor, REPLAY_PAGE)
        except LogUnavailable:
            self.end("log")
            return None
        if page is None:
            self.end("gap")
        return page

    def _concerns(self, entry: Entry) -> bool:
        return not self._devices or entry.device_id is None or entry.device_id in self._devices

    def _count_replayed(self, replayed: int) -> None:
        if replayed > 0:
            self._metrics.events_replayed.inc(replayed)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> bool:
        """Let a waiting client look again; False if it is not waiting."""
        if self._waiter is None:
            return False
        if not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def waiting_events(self) -> int:
        """Events that came since the piece now being written was taken, and concern this client."""
        if self._writing_since is None:
            return 0
        channel = self._channel
        since = max(self.position, self._seen_head)
        if not self._devices or channel.head - since <= 0:
            return channel.head - since
        newer = channel.tail[max(0, since - channel.base) :]
        return sum(1 for entry in newer if self._concerns(entry))

    def tick(self, now: float, heartbeat_s: float, stall_s: float) -> None:
        """Called every second or so: end what expired or stalled, or send a heartbeat."""
        if self._expire_at is not None and self._clock.now_ms() >= self._expire_at:
            self.end("session")
        elif self._writing_since is not None:
            if now - self._writing_since > stall_s:
                self.end("stalled")
        elif now - self._last_write >= heartbeat_s:
            self._heartbeat_due = True
            self.wake()

    def say_bye(self, retry_ms: int) -> None:
        """End the stream after what has come so far and a `bye` with this reconnect delay."""
        self._bye_retry_ms = retry_ms
        self.wake()

    def end(self, reason: str) -> None:
        """End the stream now; a write under way is cut off."""
        if self._ended is None:
            self._ended = reason
            if reason in {"slow", "stalled"}:
                self._metrics.events_dropped.inc(self._channel.head - self.position)
        if not self.wake() and self._writing_since is not None and self._kill is not None:
            self._kill()

    def close(self, reason: str = "client") -> None:
        """Forget the stream. The reason counts unless `end` gave one first."""
        if not self._closed:
            self._closed = True
            self._channel.subscriptions.discard(self)
            self._on_close(self, self._ended or reason)
