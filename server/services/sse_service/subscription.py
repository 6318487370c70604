"""Subscription: one open stream, an iterator of pieces of bytes to write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec

from server.clock import Clock
from server.metrics import Metrics
from server.services.sse_service.backend import Cursor, Entry, EventLog, LogUnavailable
from server.services.sse_service.channel import Channel, Wire, as_chunk, join
from server.services.sse_service.event import COMMENT, control_frame, retry_frame

REPLAY_PAGE = 500

Resume = Literal["fresh", "recovered", "reset"]


Preamble = Sequence[Callable[["Subscription"], Awaitable[bytes]]]


class Subscription:
    """One client's place in its tenant's events.

    Iterate it for the bytes to write: what `preamble` makes, then events and heartbeats. A piece
    counts as written when the next one is asked for. It ends by itself after `end` or `say_bye`.
    While it waits for the next piece and its `wire` has taken all before, events are written there
    at once: by its channel, which then knows its place (`is_live`), or by `write_now`.
    """

    # Half the memory of a dict for as many, of which there is one a stream.
    __slots__ = (
        "_bye_retry_ms", "_channel", "_client", "_clock", "_closed", "_devices", "_ended",
        "_expire_at", "_first_page", "_heartbeat_due", "_id", "_index", "_kill", "_last_write",
        "_log", "_metrics", "_names", "_on_close", "_replay_until", "_replaying", "_retry_ms",
        "_seen_head", "_steps", "_unread", "_waiter", "_wire", "_writing_since", "is_live", "owner",
        "resumed", "tenant_id",
    )  # fmt: skip

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
        wire: Wire | None,
        preamble: Preamble,
        retry_ms: int,
        on_close: Callable[[Subscription, str], None],
    ) -> None:
        self._channel = channel
        self.tenant_id = channel.tenant_id
        self._log = event_log
        self._clock = clock
        self._metrics = metrics
        self._devices = devices
        self._names = names
        self.owner = owner
        self._expire_at = expire_at
        self._kill = kill
        self._wire = wire
        self._steps = list(preamble)
        self._retry_ms = retry_ms
        self._on_close = on_close
        self.resumed: Resume = "fresh"
        # What is not released yet comes as the first events: nothing is missed or repeated.
        # None: this client's place is not in the channel's tail; it reads the log until it is.
        self._index: int | None = channel.released
        self._id = channel.id_at(channel.released)
        self.is_live = False
        self._replay_until = 0
        self._replaying = False
        # What was read to see whether the history reaches back, to be sent first.
        self._first_page: list[Entry] | None = None
        self._unread = True
        self._seen_head = channel.head
        self._waiter: asyncio.Future[None] | None = None
        self._writing_since: float | None = None
        self._last_write = clock.monotonic()
        self._heartbeat_due = False
        self._ended: str | None = None
        self._bye_retry_ms: int | None = None
        self._closed = False
        self._client: asyncio.Future[Any] | None = None

    async def resume(self, last_event_id: str | None) -> None:
        """Go on after the event that `last_event_id` names, if the history reaches back to it."""
        if last_event_id:
            self._replay_until = self._channel.head
            if await self._knows(last_event_id):
                self.resumed, self._id = "recovered", last_event_id
                self._index = self._channel.find(last_event_id)
                self._replaying = self._index is None
            else:
                self.resumed = "reset"
        # A client that never asks for its first piece is as slow as one that never takes it.
        self._writing_since, self._seen_head = self._clock.monotonic(), self._channel.head
        self._metrics.resumes.labels(kind=self.resumed).inc()

    async def _knows(self, event_id: str) -> bool:
        """Whether all that came after this place can be had."""
        cursor = Cursor.parse(event_id)
        if cursor is None:
            return False
        if self._channel.find(event_id) is not None:
            return True
        try:
            page = await self._log.read_after(self._channel.tenant_id, cursor, REPLAY_PAGE)
        except LogUnavailable:
            return False  # a stream that begins anew is better than none
        self._first_page = page
        return page is not None

    @property
    def id(self) -> str:
        """The cursor of the place behind all that was written."""
        return self._channel.id_at(self._channel.live_index) if self.is_live else self._id

    def opening(self) -> bytes:
        """The comment that opens every stream and the client's own reconnect delay."""
        return COMMENT + retry_frame(self._retry_ms)

    def control(self, name: str, data: object, retry_ms: int | None = None) -> bytes:
        """A frame of this client's own, with its place as id."""
        frame = control_frame(name, msgspec.json.encode(data), self.id, retry_ms)
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
            if self._bye_retry_ms is not None and not self._behind():
                self._ended = "drain"
                farewell = {"ts": self._clock.now_ms(), "retry_ms": self._bye_retry_ms}
                return self.control("bye", farewell, retry_ms=self._bye_retry_ms)
            if self._heartbeat_due:
                return self.control("heartbeat", {"ts": self._clock.now_ms()})
            if self._ended is None and not self._behind():
                await self._wait()
        return None

    def _behind(self) -> bool:
        """Whether there is something to take without waiting."""
        if self._index is None:
            return self._unread
        return self._index < self._channel.released

    async def _take(self) -> bytes:
        """The frames after this client's place; b"" if none concern it. Moves the place."""
        channel = self._channel
        if self._index is None or self._index < channel.base:
            return await self._take_from_log()
        start = self._index
        if start >= channel.released:
            return b""
        if not self._devices:
            piece, self._index, self._id = channel.render(start, self._names)
            self._count_replayed(min(self._index, self._replay_until) - start)
            return piece
        entries = channel.tail[start - channel.base : channel.released - channel.base]
        piece, taken = self._join_wanted(entries, replayed=self._replay_until - start)
        self._index, self._id = start + taken, entries[taken - 1].id
        return piece

    async def _take_from_log(self) -> bytes:
        """A page of the log after this client's place, until that is in the channel's tail.

        Where there is none the stream ends: the client comes back with its last id then, and is
        told what it missed.
        """
        self._index, cursor = None, Cursor.parse(self.id)
        assert cursor is not None, self.id
        # What comes to the tail from now on is looked at again.
        self._unread = False
        page, self._first_page = self._first_page, None
        try:
            if page is None:
                page = await self._log.read_after(self._channel.tenant_id, cursor, REPLAY_PAGE)
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
        self._index = self._channel.find(self.id)
        self._replaying = self._replaying and self._index is None
        return piece

    def _join_wanted(self, entries: list[Entry], replayed: int) -> tuple[bytes, int]:
        """The frames among `entries` that concern this client, as far as they fit into a piece,
        and how many entries that took. The first `replayed` entries came before the client did."""
        wanted = [index for index, entry in enumerate(entries) if self._concerns(entry)]
        piece, joined = join([entries[index] for index in wanted], self._names)
        self._count_replayed(sum(1 for index in wanted[:joined] if index < replayed))
        return piece, len(entries) if joined == len(wanted) else wanted[joined]

    def _concerns(self, entry: Entry) -> bool:
        return not self._devices or entry.device_id is None or entry.device_id in self._devices

    def _count_replayed(self, replayed: int) -> None:
        if replayed > 0:
            self._metrics.events_replayed.inc(replayed)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        self._go_live()
        try:
            await self._waiter
        finally:
            self.settle()
            self._waiter = None

    def _go_live(self) -> None:
        """Let the channel write what comes, if this client wants all and has all before it."""
        channel, index = self._channel, self._index
        if self._wire is None or self._devices or index is None:
            return
        # What counts as replayed is counted here.
        if index == channel.released and index >= self._replay_until:
            channel.live[self._names][self._wire] = self
            self.is_live = True

    def settle(self) -> None:
        """Stand by itself where the channel has brought it."""
        if self.is_live and self._wire is not None:
            channel = self._channel
            self._index, self._id = channel.live_index, self.id
            del channel.live[self._names][self._wire]
            self.is_live = False

    def wake(self) -> bool:
        """Let a waiting client look again; False if it is not waiting."""
        self._unread = True
        if self._waiter is None:
            return False
        if not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def write_now(self, now: float) -> bool:
        """Write what was released straight to the connection; False if this client's own task has
        to: it is not waiting, its connection has not taken everything yet, or there is more.
        `now` is monotonic, in seconds."""
        wire, waiter, index = self._wire, self._waiter, self._index
        if wire is None or waiter is None or index is None or waiter.done() or self._ended:
            return False
        if wire.get_write_buffer_size() or wire.is_closing():
            return False
        channel = self._channel
        if index < channel.base:
            return False
        if index == channel.released:
            return True
        if self._devices:
            entries = channel.tail[index - channel.base : channel.released - channel.base]
            piece, taken = self._join_wanted(entries, replayed=self._replay_until - index)
            self._index, self._id = index + taken, entries[taken - 1].id
            chunk = as_chunk(piece) if piece else b""
        else:
            chunk, self._index, self._id = channel.chunk(index, self._names)
            if index < self._replay_until:
                self._count_replayed(min(self._index, self._replay_until) - index)
        if chunk:
            wire.write(chunk)
            self._last_write = now
            self._heartbeat_due = False
        if self._index != channel.released:
            return False
        self._go_live()
        return True

    def waiting_events(self) -> int:
        """Events that came since the piece now being written was taken, and concern this client."""
        if self._writing_since is None:
            return 0
        channel = self._channel
        since = max(self._index or 0, self._seen_head)
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
        elif now - max(self._last_write, self._live_written()) >= heartbeat_s:
            self._heartbeat_due = True
            self.wake()

    def _live_written(self) -> float:
        return self._channel.live_written if self.is_live else self._last_write

    def say_bye(self, retry_ms: int) -> None:
        """End the stream after what has come so far and a `bye` with this reconnect delay."""
        self._bye_retry_ms = retry_ms
        self.wake()

    def end(self, reason: str) -> None:
        """End the stream now, with no event more; a write under way is cut off."""
        if self._closed:
            return
        if self._ended is None:
            self._ended = reason
            if reason in {"slow", "stalled"}:
                behind = max(self._index or 0, self._channel.base)
                self._metrics.events_dropped.inc(self._channel.head - behind)
        self.settle()
        if not self.wake() and self._writing_since is not None and self._kill is not None:
            self._kill()

    def ends_with(self, client: asyncio.Future[Any]) -> None:
        """End the stream once this is done: its client has gone. It is cancelled at the end."""
        self._client = client
        client.add_done_callback(lambda _: self.end("client"))

    def close(self, reason: str = "client") -> None:
        """Forget the stream. The reason counts unless `end` gave one first."""
        if not self._closed:
            self._closed = True
            self.settle()
            if self._client is not None:
                self._client.cancel()
            self._channel.subscriptions.discard(self)
            self._on_close(self, self._ended or reason)
