"""One process under Hypercorn: accepts connections, drains on SIGTERM, is gone within 5 s."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import h11
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import AppWrapper, LifespanState
from hypercorn.utils import wrap_app
from quart import Quart

from server.addresses import address_group
from server.app import SECURITY_HEADERS

log = logging.getLogger(__name__)

BACKLOG = 1024
KEEP_ALIVE_S = 30
# A peer that acknowledges nothing is dropped after this: it is gone, or reads no more.
TCP_USER_TIMEOUT_MS = 20_000
# Together under 5 s: streams are told and end, then requests are finished, then the rest is cut.
DRAIN_S, FINISH_S, CUT_S = 2.0, 1.5, 0.5
# Part of FINISH_S: a connection that has not asked for anything yet may still do so. Its request
# is on the way, and a device whose connection is closed instead loses a reading.
FIRST_REQUEST_S = 1.0
# Enough turns of the event loop for what was accepted last to become a connection here.
SETTLE_S = 0.05

# The writing thread needs the interpreter between two statements. At Python's 5 ms a busy event
# loop takes it back each time and starves the thread: with the loop saturated every write timed
# out; at 0.5 ms the p99 of a write was 17 ms.
SWITCH_S = 0.0005

_SECURITY_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
# An application may use numbers that have none.
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
# So begins what Hypercorn answers by itself: a request it does not understand or cannot pass on.
_HYPERCORN_S_OWN = [(b"content-length", b"0"), (b"connection", b"close")]

Drain = Callable[[float], Awaitable[None]]
Ready = Callable[[int], Awaitable[None]]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections notice a dead peer. Raises OSError saying what to do."""
    sock = bind(host, port)
    sock.listen(BACKLOG)
    return sock


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """What `listen` listens on, still deaf. Raises OSError saying what to do.

    `shared`: beside all other sockets of this user that are bound here so; the kernel deals the
    connections out to those that listen.
    """
    try:
        return _bind(host, port, shared)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port} ({error.strerror}): "
            "set BAS_HOST and BAS_PORT to a free address"
        ) from error


def _bind(host: str, port: int, shared: bool) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class _Wire(h11.Connection):
    """h11 with reason phrases: the firmware in the field looks for the text `200 OK`."""

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
            protocol.connection = _Wire(h11.SERVER, max_incomplete_event_size=limit)
        await super()._read_data()
        self._peer_is_done = True
        await self.idle_task.stop()


class _Acceptor:
    """The connections of one process, so that they can be counted, finished and cut."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        max_connections: int,
        speaks_for_many: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._config = config
        self._max_connections = max_connections
        self._speaks_for_many = speaks_for_many
        self._peers: Counter[str] = Counter()
        self._silent_until = 0.0
        self._context = WorkerContext(None)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; one too many is closed at once."""
        peer = (writer.get_extra_info("peername") or ("",))[0]
        if not self._has_room(peer):
            writer.transport.abort()
            return
        group = address_group(peer)
        self._peers[group] += 1
        try:
            await self._serve(reader, writer)
        finally:
            self._peers[group] -= 1
            if not self._peers[group]:
                del self._peers[group]

    def _has_room(self, peer: str) -> bool:
        """Whether one more connection may be open, in all and from this address.

        A quarter is the most for one address, so that one machine cannot shut out all others; a
        proxy's, and this machine's own, connections are many people's.
        """
        many = self._speaks_for_many(peer)
        full = len(self._tasks) >= self._max_connections
        if not full and (many or self._peers[address_group(peer)] < self._max_connections // 4):
            return True
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + 1.0
            log.warning("connections are refused: %d open, last from %s", len(self._tasks), peer)
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The application finds the connection here, to end a write that its client never takes.
        state: LifespanState = {"transport": writer.transport}
        loop = asyncio.get_running_loop()
        connection = _Connection(
            self._app, loop, self._config, self._context, state, reader, writer
        )
        # Cut by `finish`. Until Python 3.12.2 asyncio prints a traceback for a connection's task
        # that ends as cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await connection

    async def finish(self) -> None:
        """Close idle connections, let requests in work be answered, then cut what is left."""
        await asyncio.sleep(SETTLE_S)
        await self._context.terminated.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=FINISH_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CUT_S)
        if self._tasks:
            log.warning("%d connections did not end", len(self._tasks))


async def serve(
    app: Quart,
    sock: socket.socket,
    drain: Drain,
    ready: Ready,
    stop: asyncio.Event,
    *,
    max_connections: int,
    speaks_for_many: Callable[[str], bool],
    others_accept: bool = False,
) -> None:
    """Serve until `stop` is set, then drain and return.

    `ready` is awaited with the port once connections are accepted; `drain` with the seconds it has
    to end the streams; `speaks_for_many` says of an address whether it may have more than its
    share of the connections; `others_accept`, whether other processes take this port's connections
    during the drain. When this returns no connection is left.
    """
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_S)
    await app.startup()
    try:
        config = Config()
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.keep_alive_max_requests = 10**9
        config.include_server_header = False
        wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
        acceptor = _Acceptor(wrapped, config, max_connections, speaks_for_many)
        server = await asyncio.start_server(acceptor.connected, sock=sock, backlog=BACKLOG)
        try:
            # What is alive now stays alive: full collections need not look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(10_000)
            await ready(sock.getsockname()[1])
            await stop.wait()
            log.info("draining: telling every stream to reconnect")
            if others_accept:
                server.close()
            await drain(DRAIN_S)
        finally:
            server.close()
            await acceptor.finish()
    finally:
        await app.shutdown()


def stop_signal() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT from now on; more of them change nothing."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _raise_file_limit() -> None:
    """A stream is a file; the usual soft limit of 1,024 is a habit, the hard one is the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
