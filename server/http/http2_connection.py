"""Http2Connection: one connection of HTTP/2, with limits for what a client may keep or cost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol, cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from server.common.asgi import App
from server.common.seldom import Seldom
from server.common.tracebacks import log_failure
from server.http.http2_stream import BadHead, Http2Stream, scope_of
from server.http.http2_wire import CHUNK_BYTES, ENDED, STREAMS_MAX, Http2Wire

log = logging.getLogger(__name__)

# The requests whose bodies the application reads before they are complete: each costs 40 KB there.
# Others wait here until they are complete, each with what fits into the small window.
READ_AT_ONCE = 8
LARGE_WINDOW = 64 * 1024
# A body that waits has this time; then its request is reset.
BODY_S = 10.0
# At the end of the process a connection has this time for its first request.
FIRST_REQUEST_S = 1.0
# The event loop does other work between two pieces of this size: they hold up to 450 frames.
PIECE_BYTES = 4096
_noisy = Seldom()


class Http2Owner(Protocol):
    """The part that counts the connections of a process."""

    def http2_ended(self, connection: Http2Connection) -> None:
        """Stop counting a connection that is closed, and whose requests have ended."""


class Http2Connection(asyncio.Protocol):
    """Runs `app` in a task for each request, until the connection ends.

    A connection without a request for `idle_s` seconds is closed. `state` is part of each scope.
    """

    def __init__(
        self, app: App, owner: Http2Owner, peer: str, state: Mapping[str, object], idle_s: float
    ) -> None:
        self.peer = peer
        self._app = app
        self._owner = owner
        self._state = dict(state)
        self._idle_s = idle_s
        self._streams: dict[int, Http2Stream] = {}
        # Started before their body was complete, and not started yet.
        self._reading: set[Http2Stream] = set()
        self._waiting: dict[int, Http2Stream] = {}
        self._received = bytearray()
        self._is_used = self._is_finishing = False
        self._is_turn_due = self._is_lost = self._is_reported = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._client = transport.get_extra_info("peername")[:2]
        self._server = transport.get_extra_info("sockname")[:2]
        self._last_active_s = self._loop.time()
        self._idle = self._loop.call_later(self._idle_s, self._close_if_idle)
        self._wire = Http2Wire(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_turn_due:
            self._take_turn()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._wire.is_paused = True
        self._read_or_not()

    def resume_writing(self) -> None:
        self._wire.is_paused = False
        self._read_or_not()
        self._wake_writers()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self._received.clear()
        self._idle.cancel()
        for stream in list(self._streams.values()):
            self._leave(stream)
        self._report_end()

    def finish(self) -> None:
        """Take no more requests, and close the connection when the running ones have ended.

        A connection without a request so far has some time: one may be on the way.
        """
        if self._is_used:
            self._refuse_more()
        else:
            self._loop.call_later(FIRST_REQUEST_S, self._refuse_more)

    def _refuse_more(self) -> None:
        self._is_finishing = True
        self._close_if_done()

    def cut(self) -> None:
        """Close the connection and cancel its requests now."""
        self._transport.abort()
        for stream in list(self._streams.values()):
            if stream.task is not None:
                stream.task.cancel()

    # What comes in.

    def _take_turn(self) -> None:
        """Handle one piece of what has come; the rest has its turn after the other work."""
        self._is_turn_due = False
        if self._is_lost or self._transport.is_closing():
            return
        piece = bytes(self._received[:PIECE_BYTES])
        del self._received[:PIECE_BYTES]
        try:
            for event in self._wire.receive(piece):
                self._handle(event)
        except ProtocolError as error:
            log.debug("a client at %s broke the rules of HTTP/2: %s", self.peer, error)
            self._wire.end()
            return
        except Exception as error:  # noqa: BLE001 - strangers choose the bytes; h2 asserts some
            log_failure(log, error, "bytes of HTTP/2 from %s", self.peer)
            self._transport.abort()
            return
        if not self._wire.calm.holds(self._loop.time()):
            self._calm_down()
            return
        self._wire.flush()
        if self._received:
            self._is_turn_due = True
            self._loop.call_soon(self._take_turn)
        self._read_or_not()

    def _calm_down(self) -> None:
        if _noisy.may_log(self.peer):
            log.warning(
                "%s resets or asks too much over HTTP/2 without taking answers: its connection is"
                " closed. If it is one of yours, look at its program",
                self.peer,
            )
        self._wire.end(ErrorCodes.ENHANCE_YOUR_CALM)

    def _read_or_not(self) -> None:
        if self._transport.is_closing():
            return
        if self._wire.is_paused or self._is_turn_due:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _handle(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            self._begin(event.stream_id, event.headers or [])
        elif isinstance(event, events.DataReceived):
            self._take_data(event)
        elif isinstance(event, events.StreamEnded):
            self._take_end(event.stream_id)
        elif isinstance(event, events.ConnectionTerminated):
            self._wire.end()
        elif isinstance(event, events.SettingsAcknowledged):
            self._wire.settings_acknowledged()
        elif not isinstance(event, events.TrailersReceived):
            self._wire.calm.disturb()
            self._take_other(event)

    def _take_other(self, event: events.Event) -> None:
        if isinstance(event, events.StreamReset):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                self._leave(stream)
        elif isinstance(event, events.WindowUpdated):
            stream = self._streams.get(event.stream_id or 0)
            if stream is not None:
                stream.wake_writer()
            elif not event.stream_id:
                self._wake_writers()
        elif isinstance(event, events.RemoteSettingsChanged):
            self._wire.settings_changed()
            self._wake_writers()

    def _take_data(self, event: events.DataReceived) -> None:
        self._wire.took(event.flow_controlled_length or 0)
        if not event.data and event.stream_ended is None:
            self._wire.calm.disturb()
        stream = self._streams.get(event.stream_id)
        if stream is not None and event.data:
            stream.feed(event.data)

    # Requests.

    def _begin(self, stream_id: int, headers: Any) -> None:
        self._is_used, self._last_active_s = True, self._loop.time()
        # Reset streams count too, until the application has ended their requests.
        if self._is_finishing or len(self._streams) >= 2 * STREAMS_MAX:
            self._wire.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        try:
            scope = scope_of(headers, self._client, self._server, self._state)
        except BadHead:
            self._wire.send_head(stream_id, [(b":status", b"400")], is_all=True)
            self._wire.reset(stream_id, ErrorCodes.NO_ERROR)
            return
        stream = Http2Stream(self, stream_id, scope)
        self._streams[stream_id] = self._waiting[stream_id] = stream
        stream.timer = self._loop.call_later(BODY_S, self._give_up, stream)
        # The end of a request without a body is the next event.
        self._loop.call_soon(self._start_some)

    def _take_end(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.end_body()
            self._reading.discard(stream)
            if stream.id in self._waiting:
                self._start(stream)
            self._start_some()

    def _start_some(self) -> None:
        """Let the application read bodies that are not complete, while few are read."""
        while self._waiting and len(self._reading) < READ_AT_ONCE and not self._is_lost:
            stream = next(iter(self._waiting.values()))
            self._reading.add(stream)
            self._wire.widen(stream.id, LARGE_WINDOW)
            self._start(stream)

    def _start(self, stream: Http2Stream) -> None:
        self._stop_waiting(stream)
        stream.task = self._loop.create_task(self._run(stream), name="http2")

    def _stop_waiting(self, stream: Http2Stream) -> bool:
        if stream.timer is not None:
            stream.timer.cancel()
        return self._waiting.pop(stream.id, None) is not None

    def _give_up(self, stream: Http2Stream) -> None:
        self._wire.reset(stream.id, ErrorCodes.CANCEL)
        self._leave(stream)

    def _leave(self, stream: Http2Stream) -> None:
        """The client wants no answer: the application learns it, and ends the request."""
        stream.disconnect()
        self._reading.discard(stream)
        if self._stop_waiting(stream):
            del self._streams[stream.id]
        self._loop.call_soon(self._start_some)

    async def _run(self, stream: Http2Stream) -> None:
        why = ErrorCodes.CANCEL
        try:
            await self._app(stream.scope, stream.receive, stream.send)
        except Exception as error:  # noqa: BLE001 - nothing else would learn of it
            why = ErrorCodes.INTERNAL_ERROR
            log_failure(log, error, "%s %s failed", stream.scope["method"], stream.scope["path"])
        finally:
            if not (stream.gone or self._is_lost):
                if not stream.is_done:
                    self._wire.reset(stream.id, why)
                elif not stream.ended:
                    self._wire.reset(stream.id, ErrorCodes.NO_ERROR)  # enough of the body
            del self._streams[stream.id]
            self._reading.discard(stream)
            self._last_active_s = self._loop.time()
            self._start_some()
            self._close_if_done()
            self._report_end()

    def consumed(self, stream: Http2Stream, size: int) -> None:
        stream.unacknowledged += size
        if not stream.ended and stream.unacknowledged >= CHUNK_BYTES:
            self._wire.widen(stream.id, stream.unacknowledged)
            stream.unacknowledged = 0

    def send_head(self, stream: Http2Stream, headers: list[tuple[bytes, bytes]]) -> None:
        if not self._wire.send_head(stream.id, headers):
            stream.disconnect()

    def send_some(self, stream: Http2Stream, data: bytes, is_last: bool) -> int:
        try:
            sent, stream.is_done = self._wire.send_some(stream.id, data, is_last)
        except ENDED:
            stream.disconnect()
            return 0
        return sent

    def stalled(self, stream: Http2Stream) -> None:
        self._wire.reset(stream.id, ErrorCodes.CANCEL)
        stream.disconnect()

    def _wake_writers(self) -> None:
        for stream in self._streams.values():
            stream.wake_writer()

    # The end.

    def _close_if_done(self) -> None:
        if self._is_finishing and not self._streams and not self._transport.is_closing():
            self._wire.end()

    def _close_if_idle(self) -> None:
        left_s = self._last_active_s + self._idle_s - self._loop.time()
        if self._streams or left_s > 0:
            self._idle = self._loop.call_later(max(left_s, 1.0), self._close_if_idle)
        elif self._wire.is_paused:
            self._transport.abort()
        else:
            self._wire.end()

    def _report_end(self) -> None:
        if self._is_lost and not self._streams and not self._is_reported:
            self._is_reported = True
            self._owner.http2_ended(self)
