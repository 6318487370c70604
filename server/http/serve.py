"""Serves one process: accepts connections, drains on SIGTERM, and ends within 5 s."""

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

from server.http.connections import Connections
from server.http.plain_posts import PlainPosts
from server.http.tls import ServerTls
from server.http.tls_listener import TlsListener

log = logging.getLogger(__name__)

BACKLOG = 1024
# A peer that acknowledges nothing for this time is gone or does not read; the kernel drops it.
TCP_USER_TIMEOUT_MS = 20_000
# Files that are not connections of clients: the store, Redis, Firestore, the log, files that are
# sent. A server with all of them had 60 open.
OTHER_FILES = 150
# Streams get their last event and end in this time; then requests finish (`Connections.finish`).
DRAIN_S = 2.0

# The time after which Python lets another thread run. The thread that writes to the store needs
# the interpreter between two statements. With Python's default of 5 ms a busy event loop holds it
# for that long each time: with the loop saturated every write timed out; at 0.5 ms the p99 of a
# write was 17 ms.
SWITCH_S = 0.0005

Drain = Callable[[float], Awaitable[None]]
OnReady = Callable[[int], Awaitable[None]]


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket whose connections notice a dead peer.

    Raises OSError that names the remedy.
    """
    sock = bind(host, port)
    sock.listen(BACKLOG)
    return sock


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind the socket of `listen` without listening yet. Raises OSError that names the remedy.

    `shared` lets other sockets of this user bind to the same address in the same way; the kernel
    distributes connections among those that listen.
    """
    try:
        return _bind(host, port, shared)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port} ({error.strerror}): "
            "set BAS_HOST and BAS_PORT to a free address"
        ) from error


def _bind(host: str, port: int, shared: bool) -> socket.socket:
    # For a `str`, Python loads the tables of international names.
    ascii_host = host.encode() if host.isascii() else host
    family, kind, proto, _, address = socket.getaddrinfo(
        ascii_host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
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
    ready: OnReady,
    stop: asyncio.Event,
    *,
    max_connections: int,
    is_shared_address: Callable[[str], bool],
    others_accept: bool = False,
    refused: Callable[[], None] = lambda: None,
    tls: ServerTls | None = None,
) -> None:
    """Serve until `stop` is set, then drain and return.

    Ordinary `posts` do not reach the `app`. `ready` is awaited with the port once connections are
    accepted, `drain` with the seconds in which it must end the streams. `is_shared_address` says
    whether an address may have more than its share of the connections, `others_accept` whether
    other processes accept on this port during the drain. `refused` is called for each connection
    that is closed at once, since too many are open. With `tls` all connections are https. No
    connection is left at the return.
    """
    max_connections = min(max_connections, _raised_file_limit())
    sys.setswitchinterval(SWITCH_S)
    await app.startup()
    try:
        connections = Connections(app, posts, max_connections, is_shared_address, refused)
        server = await _listening(connections, sock, tls)
        try:
            # Objects that exist now stay: exclude them from full garbage collections.
            gc.collect()
            gc.freeze()
            await ready(sock.getsockname()[1])
            await stop.wait()
            log.info("shutting down: every stream is asked to reconnect")
            if others_accept:
                server.close()
            await drain(DRAIN_S)
        finally:
            server.close()
            await connections.finish()
    finally:
        await app.shutdown()


async def _listening(
    connections: Connections, sock: socket.socket, tls: ServerTls | None
) -> asyncio.Server | TlsListener:
    if tls is None:
        loop = asyncio.get_running_loop()
        return await loop.create_server(connections.new_connection, sock=sock, backlog=BACKLOG)
    listener = TlsListener(sock, connections, lambda: tls.context)
    listener.start(BACKLOG)
    return listener


def stop_signal() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; further signals change nothing."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _raised_file_limit() -> int:
    """Raise the limit of open files to the hard one; return how many may be connections.

    The soft limit is often 1,024, and each stream is a file. Without a file that is left, the event
    loop would reset new connections without a word, and the store could not be opened again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, hard - min(OTHER_FILES, hard // 2))
