"""One process: accepts connections, drains on SIGTERM, is gone within 5 s."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

from quart import Quart

from server.connections import Connections
from server.routes.plain_posts import PlainPosts

log = logging.getLogger(__name__)

BACKLOG = 1024
# A peer that acknowledges nothing is dropped after this: it is gone, or reads no more.
TCP_USER_TIMEOUT_MS = 20_000
# Streams are told and end in this time; then requests are finished (`Connections.finish`).
DRAIN_S = 2.0

# The writing thread needs the interpreter between two statements. At Python's 5 ms a busy event
# loop takes it back each time and starves the thread: with the loop saturated every write timed
# out; at 0.5 ms the p99 of a write was 17 ms.
SWITCH_S = 0.0005

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


async def serve(
    app: Quart,
    posts: PlainPosts,
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

    Ordinary `posts` never get to the `app`. `ready` is awaited with the port once connections are
    accepted; `drain` with the seconds it has to end the streams; `speaks_for_many` says of an
    address whether it may have more than its share of the connections; `others_accept`, whether
    other processes take this port's connections during the drain. When this returns no connection
    is left.
    """
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_S)
    await app.startup()
    try:
        connections = Connections(app, posts, max_connections, speaks_for_many)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connections.arrival, sock=sock, backlog=BACKLOG)
        try:
            # What is alive now stays alive: full collections need not look at it again.
            gc.collect()
            gc.freeze()
            await ready(sock.getsockname()[1])
            await stop.wait()
            log.info("draining: telling every stream to reconnect")
            if others_accept:
                server.close()
            await drain(DRAIN_S)
        finally:
            server.close()
            await connections.finish()
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
