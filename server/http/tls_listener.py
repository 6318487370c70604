"""TlsListener: accepts connections and makes TLS of them; plain HTTP gets an answer that says so.

asyncio would count a connection after its handshake only. Here it counts from its first moment, so
that clients which never finish a handshake have the same limits as all others.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from server.common.seldom import Seldom

log = logging.getLogger(__name__)

# A connection has this time for its first byte, and again for its handshake. A Pico W needs 1 to
# 3 s for one.
HANDSHAKE_S = 15.0
# For the peer's part of the end of TLS, which many clients leave out.
SHUTDOWN_S = 2.0
# A client of plain HTTP has this time to take its answer.
PLAIN_S = 1.0
PLAIN_MAX_BYTES = 64 * 1024
# Without a file for a new connection the next attempt is made after this time.
PAUSE_S = 0.5
ACCEPTED_AT_ONCE = 100
# What may wait for a client that does not read: as on a plain connection.
WRITE_BUFFER_BYTES = 64 * 1024
# RFC 8446, section 5.1: how a handshake begins.
HANDSHAKE = b"\x16"
_NO_FILE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_BODY = (
    b'{"error":"This port speaks https only","code":"HTTPS_REQUIRED",'
    b'"message":"begin the address with https://"}'
)
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"X-Content-Type-Options: nosniff\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class TlsOwner(Protocol):
    """The part that counts the connections of a process."""

    def enter(self, peer: str) -> bool:
        """Count a connection from this address if there is room for it; return whether it is."""

    def leave(self, peer: str) -> None:
        """Stop counting a connection that ended before it was TLS."""

    def new_tls_connection(self) -> asyncio.Protocol:
        """Return the protocol of a connection that is counted already."""

    def keep(self, task: asyncio.Task[None]) -> None:
        """Own a task until its end, and cancel it at the end of the process."""


class TlsListener:
    """Accepts on `sock` from `start` to `close`; `context` returns the TLS settings of now."""

    def __init__(
        self, sock: socket.socket, owner: TlsOwner, context: Callable[[], ssl.SSLContext]
    ) -> None:
        self._sock = sock
        self._owner = owner
        self._context = context
        self._pause: asyncio.TimerHandle | None = None
        self._strangers = Seldom()

    def start(self, backlog: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock.listen(backlog)
        self._listen()

    def close(self) -> None:
        """Accept no more; calling it again changes nothing."""
        if self._sock.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
                # The socket stays readable: without a pause the loop would do nothing else.
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(PAUSE_S, self._listen)
                return
            if self._owner.enter(address[0]):
                begun = self._begin(sock, address[0])
                self._owner.keep(self._loop.create_task(begun, name="tls"))
            else:
                sock.close()

    async def _begin(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(False)
        connection = None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                first = await _peek(sock)
            if first == HANDSHAKE:
                connection = await self._secured(sock)
            elif first.isalpha():
                self._warn_of_plain(peer)
                async with asyncio.timeout(PLAIN_S):
                    await _refuse_plain(sock)
        except ssl.SSLError as error:
            self._warn_of_handshake(peer, error.reason or str(error))
        except OSError as error:  # also TimeoutError
            log.debug("a connection ended before it was TLS: %s", error)
        finally:
            if connection is None:
                self._owner.leave(peer)
                sock.close()

    async def _secured(self, sock: socket.socket) -> asyncio.Protocol:
        """Make the handshake. Raises OSError."""
        transport, protocol = await self._loop.connect_accepted_socket(
            self._owner.new_tls_connection,
            sock,
            ssl=self._context(),
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        return protocol

    def _warn_of_plain(self, peer: str) -> None:
        if self._strangers.may_log(peer):
            log.warning(
                "%s speaks plain HTTP, and this port speaks https only: give it an address that"
                " begins with https://. A controller that cannot speak TLS gets no command here,"
                " and its relays stay as they are: docs/operations.md, TLS, shows a way in for it",
                peer,
            )

    def _warn_of_handshake(self, peer: str, reason: str) -> None:
        if self._strangers.may_log(peer):
            log.warning(
                "no TLS with %s (%s): if it is one of yours, check the protocol that it speaks (TLS"
                " 1.2 or newer), its clock, and the certificate that it shows",
                peer,
                reason,
            )


async def _peek(sock: socket.socket) -> bytes:
    """Wait for the first byte, and leave it in the socket; b"" if the peer sends none."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


async def _refuse_plain(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_recv(sock, PLAIN_MAX_BYTES)
    await loop.sock_sendall(sock, _PLAIN_ANSWER)
    sock.shutdown(socket.SHUT_WR)
    # With bytes that nobody has read, the kernel would reset the connection before the answer.
    left = PLAIN_MAX_BYTES
    while left > 0 and (more := await loop.sock_recv(sock, left)):
        left -= len(more)
