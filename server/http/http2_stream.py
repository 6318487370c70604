"""Http2Stream: one request of an HTTP/2 connection, as ASGI sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import unquote

from server.common.asgi import Message, Scope

# A stream whose client takes none of its answer for this time ends. Live streams end a little
# earlier by themselves, and are counted as stalled.
STALL_S = 30.0
_WITHOUT_BODY = {204, 304}


class StreamOwner(Protocol):
    """The connection of a stream."""

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """Note that the application took this many bytes of the request's body."""

    def send_head(self, stream: Http2Stream, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer."""

    def send_some(self, stream: Http2Stream, data: bytes, is_last: bool) -> int:
        """Send as many bytes as the client takes now, and return their number.

        The last bytes end the answer; so do zero bytes if `is_last`.
        """

    def stalled(self, stream: Http2Stream) -> None:
        """End a stream whose client does not take its answer."""


class BadHead(ValueError):
    """The head of a request has a path or method that no request may have."""


class Http2Stream:
    """The request's body waits here until the application takes it; the window bounds it."""

    __slots__ = (
        "_connection", "_gave_end", "_is_head", "_readable", "_received", "_writable",
        "ended", "gone", "id", "is_done", "scope", "task", "timer", "unacknowledged",
    )  # fmt: skip

    def __init__(self, connection: StreamOwner, stream_id: int, scope: Scope) -> None:
        self.id = stream_id
        self.scope = scope
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        # The whole body has come.
        self.ended = False
        # The client has reset the stream or closed the connection.
        self.gone = False
        # All of the answer is sent.
        self.is_done = False
        self.unacknowledged = 0
        self._connection = connection
        self._is_head = scope["method"] == "HEAD"
        self._received = bytearray()
        self._gave_end = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Add bytes of the body."""
        self._received += data
        self._readable.set()

    def end_body(self) -> None:
        self.ended = True
        self._readable.set()

    def disconnect(self) -> None:
        """The client wants no answer any more."""
        self.gone = True
        self._received.clear()
        self._readable.set()
        self._writable.set()

    def wake_writer(self) -> None:
        """The client may take more now."""
        self._writable.set()

    async def receive(self) -> Message:
        while True:
            if self.gone or self.is_done:
                return {"type": "http.disconnect"}
            if self._received or (self.ended and not self._gave_end):
                body = bytes(self._received)
                self._received.clear()
                self._gave_end = self.ended
                self._connection.consumed(self, len(body))
                return {"type": "http.request", "body": body, "more_body": not self.ended}
            self._readable.clear()
            await self._readable.wait()

    async def send(self, message: Message) -> None:
        """Send a part of the answer; without a client it does nothing, as ASGI wants it."""
        if self.gone or self.is_done:
            return
        if message["type"] == "http.response.start":
            status = int(message["status"])
            self._is_head = self._is_head or status in _WITHOUT_BODY
            headers = [(b":status", b"%d" % status)]
            headers += [(name.lower(), value.strip()) for name, value in message["headers"]]
            self._connection.send_head(self, headers)
        elif message["type"] == "http.response.body":
            body = b"" if self._is_head else bytes(message.get("body", b""))
            is_last = not message.get("more_body", False)
            if body or is_last:
                await self._send_body(body, is_last)

    async def _send_body(self, body: bytes, is_last: bool) -> None:
        while not self.gone:
            self._writable.clear()
            sent = self._connection.send_some(self, body, is_last)
            body = body[sent:]
            if self.is_done or not (body or is_last):
                return
            try:
                async with asyncio.timeout(STALL_S):
                    await self._writable.wait()
            except TimeoutError:
                self._connection.stalled(self)


def scope_of(
    headers: Iterable[tuple[bytes, bytes]],
    client: tuple[str, int],
    server: tuple[str, int],
    state: dict[str, object],
) -> Scope:
    """The ASGI scope of a request, which h2 has checked. Raises BadHead."""
    method = path = host = b""
    fields = []
    for name, value in headers:
        if name == b":method":
            method = value
        elif name == b":path":
            path = value
        elif name in {b":authority", b"host"}:
            host = value or host
        elif not name.startswith(b":"):
            fields.append((name, value))
    if not method.isalpha() or not path or not path.isascii() or method == b"CONNECT":
        raise BadHead
    raw_path, _, query = path.partition(b"?")
    return {
        "type": "http",
        "http_version": "2",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": method.decode().upper(),
        "scheme": "https",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", host), *fields],
        "client": client,
        "server": server,
        "state": dict(state),
        "extensions": {},
    }
