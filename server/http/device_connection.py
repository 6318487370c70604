"""DeviceConnection: a new connection; it answers a device's posts and hands over all the rest.

It answers ordinary posts without Hypercorn, which takes more time than the reading itself. An
incomplete or unusual request is handed over to Hypercorn unchanged, byte for byte: only h11 decides
what such a request means.
"""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol, cast

from server.common.excess_body import is_excess
from server.http.empty_lines import EmptyLines
from server.http.no_http2 import GOAWAY, PREFACE_LINE
from server.http.plain_posts import HttpAnswer, NotOrdinary, Pairs, PlainPosts, Post, first_post
from server.http.tls import has_certificate, speaks_http2

# If the rest of a post does not come in this time, Hypercorn waits for it.
REST_S = 2.0
# If the sender is gone, its machine resets the connection; over a slow radio link in this time.
RESET_S = 0.5
# A client may send this much before it gets its answer; then reading stops until the answer.
AHEAD_MAX_BYTES = 64 * 1024


class ConnectionOwner(Protocol):
    """The part that counts the connections of a process."""

    def admit(self, connection: DeviceConnection, peer: str) -> bool:
        """Count a connection from this address if there is room for it; return whether it is."""

    def ended(self, connection: DeviceConnection) -> None:
        """Stop counting a connection that is closed."""

    def too_long(self, peer: str) -> None:
        """Report that a body from this address is longer than its Content-Length says."""

    def take_over(self, connection: DeviceConnection) -> asyncio.Protocol:
        """Return the protocol that serves the connection from now on."""


class Incoming(Enum):
    """What the peer may still send; a connection is in one of these states.

    Only reading finds the end of the peer's data: it cannot come while reading is paused, and
    after it there is nothing to pause. No state follows `LOST`.
    """

    OPEN = auto()
    READING_PAUSED = auto()  # the peer sent too much before it got its answers
    HALF_CLOSED = auto()  # the peer sends no more, but may wait for an answer
    LOST = auto()  # the connection is gone in both directions


# Looking a member up in its class takes ten times as long, and each post does it a few times.
OPEN, READING_PAUSED, HALF_CLOSED, LOST = Incoming


class DeviceConnection(asyncio.Protocol):
    """One connection, until it is closed or handed over to `owner`.

    At most one post is in work. It is finished even if the connection is lost, and the connection
    is counted until then. A connection without a request for `idle_s` seconds is closed. `served`
    says whether a post was answered on it, `tls` whether it is encrypted.
    """

    def __init__(
        self, owner: ConnectionOwner, posts: PlainPosts, idle_s: float, *, tls: bool = False
    ) -> None:
        self.peer = ""
        self.tls = tls
        # False without the client certificate that the server asks for.
        self.certified = True
        self.is_http2 = False
        self.task: asyncio.Task[None] | None = None
        self._owner = owner
        self._posts = posts
        self._idle_s = idle_s
        self._received = b""
        self._empty_lines = EmptyLines()
        self.served = False
        self._incoming = OPEN
        # The peer does not read its answers: no further post is answered until it does.
        self._writing_paused = False
        # The process ends: the answer to the post in work is the last one.
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._loop = asyncio.get_running_loop()
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        if self.tls:
            self.certified = has_certificate(self._transport)
            self.is_http2 = speaks_http2(self._transport)
        self._rest: asyncio.TimerHandle | None = None
        self._last_active_s = self._loop.time()
        self._idle = self._loop.call_later(self._idle_s, self._close_if_idle)
        if not self._owner.admit(self, self.peer):
            self._transport.abort()
        elif self.is_http2:
            self._hand_over()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if self.task is None and not self._writing_paused:
            self._begin()
        elif len(self._received) > AHEAD_MAX_BYTES and self._incoming is OPEN:
            self._incoming = READING_PAUSED
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self.tls:
            return False  # TLS of asyncio ends in both directions at once
        self._incoming = HALF_CLOSED
        if self.task is None and self._received:
            self._hand_over()
        return self.task is not None or bool(self._received)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self.task is None:
            self._begin()

    def connection_lost(self, error: Exception | None) -> None:
        self._forget_timers()
        self._received = b""
        self._incoming = LOST
        if self.task is None:
            self._owner.ended(self)

    @property
    def is_unused(self) -> bool:
        """Whether nothing has come on the connection yet."""
        return not (self.served or self._received or self.task) and self._incoming is OPEN

    def finish(self) -> None:
        """Close the connection at shutdown, unless its first request may still be on the way."""
        self._finishing = True
        if self.task is None:
            if self.served and not self._received:
                self._transport.close()
            elif not self._transport.is_closing():
                self._hand_over()

    def cut(self) -> None:
        """Close the connection now, without waiting for a post in work, which still finishes."""
        self._transport.abort()
        self._owner.ended(self)

    def _begin(self) -> None:
        """Answer the next post if it is complete; else wait, or hand the connection over."""
        self._skip_empty_lines()
        if not self._received or self._writing_paused or self._transport.is_closing():
            return
        if self._empty_lines.may_begin(self._received):
            self._wait_for_rest()
            return
        try:
            post = first_post(self._received)
        except NotOrdinary:
            if self._received.startswith(PREFACE_LINE):
                self._refuse_http2()
            else:
                self._hand_over()
            return
        if post is None:
            self._wait_for_rest()
            return
        self._received = self._received[post.size :]
        self._empty_lines.start_again()
        self._stop_waiting()
        self.task = self._posts.begin(self._answer(post))

    def _refuse_http2(self) -> None:
        self._received = b""
        self._transport.write(GOAWAY)
        self._transport.close()

    def _skip_empty_lines(self) -> None:
        size = self._empty_lines.size(self._received)
        if size:
            self._received = self._received[size:]
            if not self._received:
                self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _wait_for_rest(self) -> None:
        if self._incoming is HALF_CLOSED:
            self._hand_over()
        elif self._rest is None:
            self._rest = self._loop.call_later(REST_S, self._hand_over)

    async def _answer(self, post: Post) -> None:
        try:
            answer = await self._posts.answer(post, self.peer, self.certified)
            if self._incoming is LOST and answer[0] == HTTPStatus.OK:
                await self._posts.answer_lost(post, self.peer)
        finally:
            self.task = None
            if self._incoming is LOST:
                self._owner.ended(self)
        self.served = True
        self._last_active_s = self._loop.time()
        if self._transport.is_closing():
            return
        self._skip_empty_lines()
        closes = (
            not post.head.kept
            or self._finishing
            or (self._incoming is HALF_CLOSED and not self._received)
        )
        headers = self._posts.https_headers if self.tls else self._posts.headers
        self._transport.write(_wire(answer, headers, self._loop.time(), closes))
        if closes:
            if is_excess(self._received):
                self._owner.too_long(self.peer)
            if self._incoming is HALF_CLOSED and answer[0] == HTTPStatus.OK:
                self.task = self._posts.begin(self._close_seen(post))
            else:
                self._transport.close()
            return
        if len(self._received) <= AHEAD_MAX_BYTES:
            self._read_on()
        self._begin()

    async def _close_seen(self, post: Post) -> None:
        """Close a connection whose peer sends no more, and note whether it took its answer.

        A peer that does not read either resets the connection. asyncio does not report the reset
        while it reads nothing, but the socket's error state shows it.
        """
        try:
            if await self._was_reset():
                await self._posts.answer_lost(post, self.peer)
        finally:
            self.task = None
            if self._incoming is LOST:
                self._owner.ended(self)
            else:
                self._transport.close()

    async def _was_reset(self) -> bool:
        try:
            self._transport.write_eof()
            await asyncio.sleep(RESET_S)
            sock = self._transport.get_extra_info("socket")
            return self._incoming is LOST or bool(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            )
        except OSError:
            return True  # the connection is closed already

    def _hand_over(self) -> None:
        self._forget_timers()
        self._read_on()
        protocol = self._owner.take_over(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._writing_paused:
            protocol.pause_writing()
        if self._received:
            protocol.data_received(self._received)
        if self._incoming is HALF_CLOSED:
            protocol.eof_received()

    def _read_on(self) -> None:
        if self._incoming is READING_PAUSED:
            self._incoming = OPEN
            self._transport.resume_reading()

    def _close_if_idle(self) -> None:
        left_s = self._last_active_s + self._idle_s - self._loop.time()
        if self.task is not None or self._rest is not None or left_s > 0:
            self._idle = self._loop.call_later(max(left_s, REST_S), self._close_if_idle)
        elif self._writing_paused:
            self._transport.abort()  # the peer does not read its answers
        else:
            self._transport.close()

    def _forget_timers(self) -> None:
        self._idle.cancel()
        if self._rest is not None:
            self._rest.cancel()


def _wire(answer: HttpAnswer, headers: Pairs, second: float, closes: bool) -> bytes:
    status, body, more = answer
    head = _head(status, headers, tuple(more.items()))
    end = b"\r\nConnection: close\r\n\r\n" if closes else b"\r\n\r\n"
    return b"%bcontent-length: %d\r\ndate: %b%b%b" % (
        head,
        len(body),
        _date(int(second)),
        end,
        body,
    )


@lru_cache(64)
def _head(status: int, *groups: Pairs) -> bytes:
    pairs = "".join(f"{name.lower()}: {text}\r\n" for group in groups for name, text in group)
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{pairs}".encode()


@lru_cache(1)
def _date(_second: int) -> bytes:
    """Return the current date for the header; the cached text is used for one second."""
    return formatdate(usegmt=True).encode()
