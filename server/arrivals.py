"""Arrival: a new connection, on which ordinary posts are answered; with anything else it moves on.

A device's connection never comes to Hypercorn, which costs more than the reading does. What is not
whole and ordinary is handed over as it came, byte for byte: h11 alone says what a request means.
"""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol, cast

from server.empty_lines import EmptyLines
from server.excess import is_excess
from server.routes.plain_posts import Answer, NotOrdinary, PlainPosts, Post, first_post

# A post that takes longer than its first pieces usually do is waited for in Hypercorn.
REST_S = 2.0
# An answer to a sender that is gone comes back as a reset; over a slow radio link within this.
RESET_S = 0.5
# Of requests that were sent before the answer to the one before; more is not read meanwhile.
AHEAD_MAX_BYTES = 64 * 1024
END_OF_HEAD = b"\n\r\n"


class Owner(Protocol):
    """Who counts the connections of a process."""

    def arrived(self, arrival: Arrival, peer: str) -> bool:
        """Whether there is room for a connection from this address."""

    def left(self, arrival: Arrival) -> None:
        """It is closed, and its post is answered."""

    def too_long(self, peer: str) -> None:
        """A body from this address is longer than its Content-Length says."""

    def take_over(self, arrival: Arrival) -> asyncio.Protocol:
        """The protocol that has the connection from now on."""


class Arrival(asyncio.Protocol):
    """One connection, until it is closed or handed over to `owner`.

    At most one post is in work; it is finished even if the connection is lost, and keeps its place
    until then. A connection that asks for nothing for `idle_s` seconds is closed. `served` says
    whether a post was answered on it.
    """

    def __init__(self, owner: Owner, posts: PlainPosts, idle_s: float) -> None:
        self.peer = ""
        self.task: asyncio.Task[None] | None = None
        self._owner = owner
        self._posts = posts
        self._idle_s = idle_s
        self._received = b""
        self._empty_lines = EmptyLines()
        self.served = False
        self._half_closed = self._ending = self._full = self._deaf = False
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._loop = asyncio.get_running_loop()
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        self._rest: asyncio.TimerHandle | None = None
        self._heard_s = self._loop.time()
        self._idle = self._loop.call_later(self._idle_s, self._close_if_idle)
        if not self._owner.arrived(self, self.peer):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if self.task is None and not self._full:
            self._begin()
        elif len(self._received) > AHEAD_MAX_BYTES and not self._deaf:
            self._deaf = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._half_closed = True
        if self.task is None and self._received:
            self._hand_over()
        return self.task is not None or bool(self._received)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self.task is None:
            self._begin()

    def connection_lost(self, error: Exception | None) -> None:
        self._forget_timers()
        self._received = b""
        self._lost = True
        if self.task is None:
            self._owner.left(self)

    def finish(self) -> None:
        """Ask for nothing more: close it, unless its first request may be on the way still."""
        self._ending = True
        if self.task is None:
            if self.served and not self._received:
                self._transport.close()
            elif not self._transport.is_closing():
                self._hand_over()

    def cut(self) -> None:
        """Close it now, whatever it waits for."""
        self._transport.abort()
        if self.task is not None:
            self.task.cancel()

    def _begin(self) -> None:
        """Answer the next post if it is whole, wait for it, or hand the connection over."""
        self._skip_empty_lines()
        if not self._received or self._full or self._transport.is_closing():
            return
        if self._empty_lines.may_begin(self._received):
            self._wait_for_rest()
            return
        try:
            post = first_post(self._received)
        except NotOrdinary:
            self._hand_over()
            return
        if post is None:
            self._wait_for_rest()
            return
        self._received = self._received[post.size :]
        self._empty_lines.start_again()
        self._stop_waiting()
        self.task = self._loop.create_task(self._answer(post), name="post")

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
        if self._half_closed:
            self._hand_over()
        elif self._rest is None:
            self._rest = self._loop.call_later(REST_S, self._hand_over)

    async def _answer(self, post: Post) -> None:
        try:
            answer = await self._posts.answer(post, self.peer)
            if self._lost and answer[0] == HTTPStatus.OK:
                await self._posts.not_taken(post, self.peer)
        finally:
            self.task = None
            if self._lost:
                self._owner.left(self)
        self.served = True
        self._heard_s = self._loop.time()
        if self._transport.is_closing():
            return
        self._skip_empty_lines()
        closes = not post.head.kept or self._ending or (self._half_closed and not self._received)
        self._transport.write(_wire(answer, self._posts, self._loop.time(), closes))
        if closes:
            if is_excess(self._received):
                self._owner.too_long(self.peer)
            if self._half_closed and answer[0] == HTTPStatus.OK:
                self.task = self._loop.create_task(self._close_seen(post), name="post")
            else:
                self._transport.close()
            return
        if len(self._received) <= AHEAD_MAX_BYTES:
            self._read_on()
        self._begin()

    async def _close_seen(self, post: Post) -> None:
        """Close a connection whose sender sends no more: one that does not read either resets it.
        That is not told while nothing is read, but the socket knows."""
        try:
            if await self._was_reset():
                await self._posts.not_taken(post, self.peer)
        finally:
            self.task = None
            if self._lost:
                self._owner.left(self)
            else:
                self._transport.close()

    async def _was_reset(self) -> bool:
        try:
            self._transport.write_eof()
            await asyncio.sleep(RESET_S)
            sock = self._transport.get_extra_info("socket")
            return self._lost or bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        except OSError:
            return True  # it is closed already

    def _hand_over(self) -> None:
        self._forget_timers()
        self._read_on()
        protocol = self._owner.take_over(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._full:
            protocol.pause_writing()
        if self._received:
            protocol.data_received(self._received)
        if self._half_closed:
            protocol.eof_received()

    def _read_on(self) -> None:
        if self._deaf:
            self._deaf = False
            self._transport.resume_reading()

    def _close_if_idle(self) -> None:
        left_s = self._heard_s + self._idle_s - self._loop.time()
        if self.task is not None or self._rest is not None or left_s > 0:
            self._idle = self._loop.call_later(max(left_s, REST_S), self._close_if_idle)
        elif self._full:
            self._transport.abort()  # it does not take its answers
        else:
            self._transport.close()

    def _forget_timers(self) -> None:
        self._idle.cancel()
        if self._rest is not None:
            self._rest.cancel()


def _wire(answer: Answer, posts: PlainPosts, second: float, closes: bool) -> bytes:
    status, body, more = answer
    head = _head(status, posts.headers, tuple(more.items()))
    end = b"\r\nConnection: close\r\n\r\n" if closes else b"\r\n\r\n"
    return b"%bcontent-length: %d\r\ndate: %b%b%b" % (
        head,
        len(body),
        _date(int(second)),
        end,
        body,
    )


@lru_cache(64)
def _head(status: int, *groups: tuple[tuple[str, str], ...]) -> bytes:
    pairs = "".join(f"{name.lower()}: {text}\r\n" for group in groups for name, text in group)
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{pairs}".encode()


@lru_cache(1)
def _date(_second: int) -> bytes:
    """Now, for as long as that second lasts."""
    return formatdate(usegmt=True).encode()
