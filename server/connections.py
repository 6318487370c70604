"""Connections: those of one process, counted, finished and cut; Hypercorn's among them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import LifespanState
from hypercorn.utils import wrap_app
from quart import Quart

from server.addresses import address_group
from server.app import SECURITY_HEADERS
from server.arrivals import Arrival
from server.empty_lines import EmptyLines
from server.excess import BODY_IS_LONGER, is_excess
from server.routes.plain_posts import PlainPosts
from server.seldom import Seldom

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30
# Requests are finished in this time, then the rest is cut; the drain before takes 2 s, all of it
# less than 5.
FINISH_S, CUT_S = 1.5, 0.5
# Part of FINISH_S: a connection that has not asked for anything yet may still do so. Its request
# is on the way, and a device whose connection is closed instead loses a reading.
FIRST_REQUEST_S = 1.0
# Enough turns of the event loop for what was accepted last to become a connection here.
SETTLE_S = 0.05

_SECURITY_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
# An application may use numbers that have none.
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
# So begins what Hypercorn answers by itself: a request it does not understand or cannot pass on.
_HYPERCORN_S_OWN = [(b"content-length", b"0"), (b"connection", b"close")]


# Methods whose body has a length, of 0 if they do not say it.
_WITH_BODY = {b"POST", b"PUT", b"PATCH"}
# Between two requests, or after the last one.
_NO_REQUEST = {h11.IDLE, h11.DONE, h11.MUST_CLOSE}


class _Wire(h11.Connection):
    """h11 with reason phrases: the firmware in the field looks for the text `200 OK`.

    It skips empty lines before and after a request, which h11 would answer as a bad one, and
    whatever else follows the last request. `after_body`: what comes first follows a body already;
    `too_long` is called when a body is longer than its Content-Length says.
    """

    def __init__(self, max_size: int, after_body: bool, too_long: Callable[[], None]) -> None:
        super().__init__(h11.SERVER, max_size)
        self._after_body = after_body
        self._too_long = too_long
        self._has_excess = False
        self._empty_lines = EmptyLines()

    def next_event(self) -> Any:
        if self.their_state in _NO_REQUEST:
            received, is_all = self.trailing_data
            self._skip(self._empty_lines.size(received))
            received = self.trailing_data[0]
            if not is_all and self._empty_lines.may_begin(received):
                return h11.NEED_DATA
            if self.body_is_longer() and not self._has_excess:
                self._has_excess = True
                self._too_long()
            if self.their_state is h11.MUST_CLOSE:
                self._skip(len(received))
            elif self.their_state is h11.IDLE and self._has_excess:
                raise h11.RemoteProtocolError("no request begins like this")
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            has_length = event.method in _WITH_BODY or b"content-length" in names
            self._after_body = has_length and b"transfer-encoding" not in names
            self._has_excess = False
            self._empty_lines.start_again()
        return event

    def body_is_longer(self) -> bool:
        """Whether more of the request's body has come than its Content-Length says."""
        behind = self._after_body and self.their_state in _NO_REQUEST
        return self._has_excess or (behind and is_excess(self.trailing_data[0]))

    def _skip(self, size: int) -> None:
        if size:
            self._receive_buffer.maybe_extract_at_most(size)  # h11 has no public way

    def send(self, event: Any) -> Any:
        if isinstance(event, h11.Response) and not event.reason:
            headers = list(event.headers)
            if headers[:2] == _HYPERCORN_S_OWN:
                headers += _SECURITY_HEADERS  # what Hypercorn answers by itself has none
            event = h11.Response(
                status_code=event.status_code,
                headers=headers,
                reason=_PHRASES.get(event.status_code, ""),
            )
        return super().send(event)


class _Connection(TCPServer):
    """Hypercorn's connection, with reason phrases, and time for its first request at the end.

    It does not wait for a request of a peer that has closed, or half-closed, its side.
    """

    # As in _Wire.
    after_body: bool
    too_long: Callable[[], None]
    _peer_is_done = False

    async def _idle_timeout(self) -> None:
        if not self._peer_is_done:
            await self._wait_for_request()
        await asyncio.shield(self._initiate_server_close())

    async def _wait_for_request(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.keep_alive_timeout):
                await self.context.terminated.wait()
            protocol = self.protocol.protocol
            if isinstance(protocol, H11Protocol) and not protocol.keep_alive_requests:
                await asyncio.sleep(FIRST_REQUEST_S)

    async def _read_data(self) -> None:
        protocol = self.protocol.protocol
        if isinstance(protocol, H11Protocol):
            limit = self.config.h11_max_incomplete_size
            protocol.connection = wire = _Wire(limit, self.after_body, self.too_long)
            self.state[BODY_IS_LONGER] = wire.body_is_longer
        await super()._read_data()
        self._peer_is_done = True
        await self.idle_task.stop()


class Connections:
    """All of one process: arrivals, and those that moved on to Hypercorn; who may come, and how
    they end."""

    def __init__(
        self,
        app: Quart,
        posts: PlainPosts,
        max_connections: int,
        speaks_for_many: Callable[[str], bool],
    ) -> None:
        self._config = config = Config()
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.keep_alive_max_requests = 10**9
        config.include_server_header = False
        self._app = wrap_app(app, config.wsgi_max_body_size, "asgi")
        self._posts = posts
        self._max_connections = max_connections
        self._speaks_for_many = speaks_for_many
        self._peers: Counter[str] = Counter()
        self._open = 0
        self._none_left = asyncio.Event()
        self._silent_until = 0.0
        self._told_too_long = Seldom()
        self._context = WorkerContext(None)
        self._arrivals: set[Arrival] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def arrival(self) -> Arrival:
        """The protocol of a new connection."""
        return Arrival(self, self._posts, KEEP_ALIVE_S)

    def arrived(self, arrival: Arrival, peer: str) -> bool:
        if not self._has_room(peer):
            return False
        self._arrivals.add(arrival)
        self._peers[address_group(peer)] += 1
        self._open += 1
        return True

    def left(self, arrival: Arrival) -> None:
        if arrival in self._arrivals:
            self._arrivals.remove(arrival)
            self._count_out(arrival.peer)

    def take_over(self, arrival: Arrival) -> asyncio.Protocol:
        self._arrivals.remove(arrival)
        loop = asyncio.get_running_loop()
        served = partial(self._serve, arrival.peer, arrival.served)
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), served, loop=loop)

    def too_long(self, peer: str) -> None:
        if self._told_too_long.may_say(peer):
            log.warning(
                "a body from %s is longer than its Content-Length says, and what is behind that "
                "length was not read: let its client send the length in bytes, all of them",
                peer,
            )

    async def finish(self) -> None:
        """Close idle connections, let requests in work be answered, then cut what is left."""
        await asyncio.sleep(SETTLE_S)
        await self._context.terminated.set()
        for arrival in set(self._arrivals):
            arrival.finish()
        await self._wait_for_all(FINISH_S)
        for arrival in set(self._arrivals):
            arrival.cut()
        for task in self._tasks:
            task.cancel()
        await self._wait_for_all(CUT_S)
        if self._open:
            log.warning("%d connections did not end", self._open)

    def _has_room(self, peer: str) -> bool:
        """Whether one more connection may be open, in all and from this address.

        A quarter is the most for one address, so that one machine cannot shut out all others; a
        proxy's, and this machine's own, connections are many people's.
        """
        many = self._speaks_for_many(peer)
        full = self._open >= self._max_connections
        if not full and (many or self._peers[address_group(peer)] < self._max_connections // 4):
            return True
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + 1.0
            log.warning("connections are refused: %d open, last from %s", self._open, peer)
        return False

    def _count_out(self, peer: str) -> None:
        group = address_group(peer)
        self._peers[group] -= 1
        if not self._peers[group]:
            del self._peers[group]
        self._open -= 1
        if not self._open:
            self._none_left.set()

    async def _wait_for_all(self, timeout_s: float) -> None:
        self._none_left.clear()
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), timeout_s)

    async def _serve(
        self,
        peer: str,
        after_body: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The application finds the connection here, to end a write that its client never takes.
        state: LifespanState = {"transport": writer.transport}
        loop = asyncio.get_running_loop()
        try:
            parts = self._app, loop, self._config, self._context, state, reader, writer
            connection = _Connection(*parts)
            connection.after_body = after_body
            connection.too_long = partial(self.too_long, peer)
            await connection
        except asyncio.CancelledError:
            # Cut by `finish`. Until Python 3.12.2 asyncio prints a traceback for a connection's
            # task that ends as cancelled.
            log.debug("a connection was cut")
        finally:
            self._count_out(peer)
