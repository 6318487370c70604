"""Connections: counts, finishes and cuts the connections of one process, also Hypercorn's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import LifespanState
from hypercorn.utils import wrap_app
from quart import Quart

from server.common.addresses import address_group
from server.common.asgi import UNCERTIFIED, App
from server.common.excess_body import BODY_IS_LONGER, is_excess
from server.common.seldom import Seldom, Spell
from server.http.app import SECURITY_HEADERS
from server.http.device_connection import DeviceConnection
from server.http.empty_lines import EmptyLines
from server.http.no_http2 import http1_only
from server.http.plain_posts import PlainPosts

if TYPE_CHECKING:
    from server.http.http2_connection import Http2Connection

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30
# Requests have this time to finish; then their connections are cut. With the 2 s of the drain
# before it, the shutdown takes less than 5 s.
FINISH_S, CUT_S = 1.5, 0.5
# This part of FINISH_S is for connections without a request so far: their request may be on the
# way, and a device loses its reading if its connection is closed instead.
FIRST_REQUEST_S = 1.0
# asyncio makes an accepted socket into a connection in four turns of the event loop.
SETTLE_TURNS = 10

_SECURITY_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
# An application may use status codes that have no phrase.
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
# Answers that Hypercorn makes itself begin with these headers: to requests that it does not
# understand or cannot pass on.
_HYPERCORN_HEADERS = [(b"content-length", b"0"), (b"connection", b"close")]


# Methods whose requests have a body; its length is 0 if the request does not give it.
_WITH_BODY = {b"POST", b"PUT", b"PATCH"}
# A proxy may take the other one for the body's length, and what follows for the same or for another
# request. RFC 9112, section 6.1: such a request is the last one of its connection.
_TWO_LENGTHS = {b"content-length", b"transfer-encoding"}
# The client's states between two requests, and after the last one.
_NO_REQUEST = {h11.IDLE, h11.DONE, h11.MUST_CLOSE}


class _Wire(h11.Connection):
    """h11 with reason phrases: the firmware in the field looks for the text `200 OK`.

    It skips empty lines before and after a request, which h11 would answer as a bad request, and
    all other bytes behind the last request. `after_body` says that the first bytes follow a body;
    `too_long` is called when a body is longer than its Content-Length says.
    """

    def __init__(self, max_size: int, after_body: bool, too_long: Callable[[], None]) -> None:
        super().__init__(h11.SERVER, max_size)
        self._after_body = after_body
        self._too_long = too_long
        self._has_excess = False
        self._has_two_lengths = False
        self._empty_lines = EmptyLines()

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
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
            event = http1_only(event)
            names = {name for name, _ in event.headers}
            self._has_two_lengths = names >= _TWO_LENGTHS
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

    def send(self, event: Any) -> Any:  # h11 overloads it
        if isinstance(event, h11.Response) and not event.reason:
            headers = list(event.headers)
            if headers[:2] == _HYPERCORN_HEADERS:
                headers += _SECURITY_HEADERS  # the application adds them to all other answers
            if self._has_two_lengths:
                headers.append((b"connection", b"close"))
            event = h11.Response(
                status_code=event.status_code,
                headers=headers,
                reason=_PHRASES.get(event.status_code, ""),
            )
        return super().send(event)


class _Connection(TCPServer):
    """Hypercorn's connection, with reason phrases, and with time for a first request at shutdown.

    It does not wait for a request from a peer that has closed or half-closed its side.
    """

    # The same two as in _Wire.
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
    """Admits, counts and ends all connections of one process.

    A connection begins as a DeviceConnection, which may hand it over to Hypercorn.
    """

    def __init__(
        self,
        app: Quart,
        posts: PlainPosts,
        max_connections: int,
        is_shared_address: Callable[[str], bool],
        refused: Callable[[], None],
    ) -> None:
        self._config = config = Config()
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.keep_alive_max_requests = 10**9
        config.include_server_header = False
        self._app = wrap_app(app, config.wsgi_max_body_size, "asgi")
        self._asgi: App = app
        self._posts = posts
        self._max_connections = max_connections
        self._is_shared_address = is_shared_address
        self._peers: Counter[str] = Counter()
        self._open = 0
        self._none_left = asyncio.Event()
        self._count_refused = refused
        self._refusals = Spell()
        self._too_long_warnings = Seldom()
        self._context = WorkerContext(None)
        self._device_connections: dict[DeviceConnection, None] = {}  # the oldest first
        self._http2_connections: set[Http2Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def new_connection(self) -> DeviceConnection:
        """Return the protocol that every connection begins with."""
        return DeviceConnection(self, self._posts, KEEP_ALIVE_S)

    def new_tls_connection(self) -> DeviceConnection:
        """Return the protocol of a connection that `enter` has counted already."""
        return DeviceConnection(self, self._posts, KEEP_ALIVE_S, tls=True)

    def enter(self, peer: str) -> bool:
        if not self._has_room(peer):
            self._count_refusal(peer)
            if not self._made_room(peer):
                return False
        self._peers[address_group(peer)] += 1
        self._open += 1
        return True

    def leave(self, peer: str) -> None:
        self._count_closed(peer)

    def keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def admit(self, connection: DeviceConnection, peer: str) -> bool:
        if not connection.tls and not self.enter(peer):
            return False
        self._device_connections[connection] = None
        return True

    def ended(self, connection: DeviceConnection) -> None:
        if connection in self._device_connections:
            del self._device_connections[connection]
            self._count_closed(connection.peer)

    def take_over(self, connection: DeviceConnection) -> asyncio.Protocol:
        del self._device_connections[connection]
        if connection.is_http2:
            return self._http2(connection)
        loop = asyncio.get_running_loop()
        served = partial(self._serve, connection.peer, connection.served, connection.certified)
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), served, loop=loop)

    def _http2(self, connection: DeviceConnection) -> asyncio.Protocol:
        from server.http.http2_connection import Http2Connection  # a server without TLS needs none

        state: dict[str, object] = {} if connection.certified else {UNCERTIFIED: True}
        http2 = Http2Connection(self._asgi, self, connection.peer, state, KEEP_ALIVE_S)
        self._http2_connections.add(http2)
        return http2

    def http2_ended(self, connection: Http2Connection) -> None:
        self._http2_connections.discard(connection)
        self._count_closed(connection.peer)

    def too_long(self, peer: str) -> None:
        if self._too_long_warnings.may_log(peer):
            log.warning(
                "a body from %s is longer than its Content-Length says, and what is behind that "
                "length was not read: let its client send the length in bytes, all of them",
                peer,
            )

    async def finish(self) -> None:
        """Close idle connections, let running requests finish, then cut the connections left."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
        await self._context.terminated.set()
        for connection in self._all():
            connection.finish()
        await self._wait_for_all(FINISH_S)
        for connection in self._all():
            connection.cut()
        for task in self._tasks:
            task.cancel()
        await self._wait_for_all(CUT_S)
        if self._open:
            log.warning("%d connections did not close in time", self._open)

    def _all(self) -> list[DeviceConnection | Http2Connection]:
        """The connections that Hypercorn does not serve."""
        return [*self._device_connections, *self._http2_connections]

    def _has_room(self, peer: str) -> bool:
        """Whether one more connection may be open, in all and from this address.

        One address may have a quarter, so that one machine cannot shut out all others. This limit
        does not apply to proxies and this machine, through which many people connect.
        """
        if self._open >= self._max_connections or self._has_its_share(peer):
            return False
        if over := self._refusals.over():
            log.warning("connections are accepted again: %d were refused in %.0f s", *over)
        return True

    def _has_its_share(self, peer: str) -> bool:
        if self._is_shared_address(peer):
            return False
        return self._peers[address_group(peer)] >= self._max_connections // 4

    def _made_room(self, peer: str) -> bool:
        """Close the oldest connection on which nothing ever came; return whether there was one.

        A device sends its post as soon as it is connected, so a new connection is worth more than
        an old one without a byte. An address that has its share makes room for itself only.
        """
        group = address_group(peer) if self._has_its_share(peer) else None
        for connection in self._device_connections:
            if connection.is_unused and group in {None, address_group(connection.peer)}:
                connection.cut()
                return True
        return False

    def _count_refusal(self, peer: str) -> None:
        self._count_refused()
        if self._refusals.goes_on():
            log.warning(
                "connections are refused because %d are open, this one from %s: raise the"
                " limit of open files (LimitNOFILE=), or find the client that opens so many",
                self._open,
                peer,
            )

    def _count_closed(self, peer: str) -> None:
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
        certified: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.keep(task)
        # The application aborts this transport if a client does not read its answer.
        state: LifespanState = {"transport": writer.transport}
        if not certified:
            state[UNCERTIFIED] = True
        loop = asyncio.get_running_loop()
        try:
            parts = self._app, loop, self._config, self._context, state, reader, writer
            connection = _Connection(*parts)
            connection.after_body = after_body
            connection.too_long = partial(self.too_long, peer)
            await connection
        except asyncio.CancelledError:
            # `finish` cut it. Up to Python 3.12.2 asyncio prints a traceback if the task of a
            # connection ends as cancelled.
            log.debug("a connection was closed by force")
        except OSError as error:
            # The peer is gone; Hypercorn lets only some of these errors pass without a traceback.
            log.debug("a connection broke: %s", error)
        finally:
            self._count_closed(peer)
