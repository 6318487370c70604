"""WsgiApp: serves an unmodified WSGI application over ASGI, in a separate thread pool.

PEP 3333 (https://peps.python.org/pep-3333/) defines what both sides may expect.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeAlias

import msgspec

from server.common.asgi import Receive, Scope, Send
from server.common.errors import Unavailable
from server.sync_api.bridge import BridgeClosed, CallTimedOut
from server.sync_api.services import Services
from server.sync_api.wsgi_environ import make_environ
from server.sync_api.wsgi_loading import Wsgi

log = logging.getLogger(__name__)

Headers: TypeAlias = list[tuple[bytes, bytes]]

# A body over MEMORY_MAX is kept in a temporary file, of which LARGE_MAX may exist at once; a body
# that does not come within BODY_S is refused.
MEMORY_MAX, BODY_MAX, LARGE_MAX, BODY_S = 256 * 1024, 16 * 1024 * 1024, 16, 60.0
# A client that takes no slice of the answer for STALL_S is disconnected.
SLICE_MAX, STALL_S = 64 * 1024, 20.0
RETRY_AFTER_S = 2
# The server sets these headers itself.
OWN_HEADERS = {
    b"connection",
    b"date",
    b"keep-alive",
    b"proxy-authenticate",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}

# In a header these characters could begin another header, here or at a proxy.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class _Refused(Exception):
    """This adapter answers the request itself, with an error."""

    def __init__(self, status: int, code: str, error: str) -> None:
        super().__init__(error)
        self.status, self.code, self.error = status, code, error


class _Gone(Exception):
    """The client takes no more of the answer."""


class WsgiApp:
    """An ASGI application that calls a WSGI one.

    A request's body is complete before a thread is used; an answer is sent as fast as its client
    takes it. The application finds the sync faces as `environ["bas.services"]` and, if it is
    Flask's, as `app.extensions["bas"]`. `own_headers` are added to the adapter's own answers.
    """

    def __init__(self, app: Wsgi, services: Services, own_headers: Headers) -> None:
        self._app = app
        self._services = services
        self._own_headers = own_headers
        self._large: set[int] = set()
        extensions = getattr(app, "extensions", None)
        if isinstance(extensions, dict):
            extensions["bas"] = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with SpooledTemporaryFile(max_size=MEMORY_MAX) as body:
            try:
                await self._read(scope, receive, body)
                await self._answer(scope, receive, send, body)
            except _Gone:
                return
            except _Refused as refusal:
                await self._refuse(send, refusal)
            except Unavailable as busy:
                await self._refuse(send, _Refused(503, busy.code, busy.error))
            finally:
                self._large.discard(id(body))

    async def _read(self, scope: Scope, receive: Receive, body: IO[bytes]) -> None:
        """Read the whole body into `body`. Raises _Refused, _Gone."""
        size = 0
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > BODY_MAX:
            raise _Refused(413, "TOO_LARGE", f"At most {BODY_MAX} bytes")
        try:
            async with asyncio.timeout(BODY_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    size += len(message.get("body", b""))
                    if size > BODY_MAX:
                        raise _Refused(413, "TOO_LARGE", f"At most {BODY_MAX} bytes")
                    if size > MEMORY_MAX:
                        self._large.add(id(body))
                        if len(self._large) > LARGE_MAX:
                            raise _Refused(503, "BUSY", "Too many large requests at once")
                    body.write(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise _Refused(408, "TIMEOUT", f"The body did not come in {BODY_S:g} s") from None
        body.seek(0)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, body: IO[bytes]) -> None:
        environ = make_environ(scope, body)
        environ["bas.services"] = self._services
        reply = _Reply(self._services, scope, send)
        watching = asyncio.create_task(_watch(receive, reply), name="wsgi-client")
        try:
            threads = self._services.wsgi_threads
            await threads.run(partial(self._run, environ, reply))
        finally:
            reply.gone = True
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _run(self, environ: dict[str, Any], reply: _Reply) -> None:
        """Run one request in a thread."""
        try:
            pieces = self._app(environ, reply.start)
            try:
                for piece in pieces:
                    reply.write(piece)
                reply.finish()
            finally:
                close = getattr(pieces, "close", None)
                if close is not None:
                    close()
        except (_Gone, BridgeClosed):
            return
        except BaseException as error:  # sys.exit() in a view ends this request, not the server
            if reply.gone:
                return
            log.error("%s failed", environ["PATH_INFO"], exc_info=error)
            if reply.sent:
                return  # the missing end shows the client that the answer is incomplete
            raise _Refused(500, "INTERNAL", "Internal server error") from None

    async def _refuse(self, send: Send, refusal: _Refused) -> None:
        body = msgspec.json.encode({"error": refusal.error, "code": refusal.code})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *self._own_headers,
        ]
        if refusal.status == 503:
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _Reply:
    """The application's answer; its thread passes it to the loop piece by piece."""

    def __init__(self, services: Services, scope: Scope, send: Send) -> None:
        self._bridge = services.bridge
        self._scope = scope
        self._send = send
        self._start: dict[str, Any] | None = None
        self._left: int | None = None
        self._ended = False
        self.sent = False
        self.gone = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """WSGI's `start_response`; status and headers are sent with the first piece."""
        if exc_info is not None and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._start is not None and exc_info is None:
            raise RuntimeError("start_response was called twice")
        for name, value in headers:
            if not name.strip() or _CONTROLS.search(name + value.strip()):
                raise ValueError(f"no header can be {name!r}: {value!r}")
        encoded = [
            (name.strip().lower().encode("latin-1"), value.strip().encode("latin-1"))
            for name, value in headers
        ]
        encoded = [(name, value) for name, value in encoded if name not in OWN_HEADERS]
        length = dict(encoded).get(b"content-length", b"")
        self._left = int(length) if length.isdigit() else None
        self._start = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": encoded,
        }
        return self.write

    def write(self, piece: bytes) -> None:
        """Send a piece, and wait until the client has taken it."""
        for start in range(0, len(piece), SLICE_MAX):
            self._write(piece[start : start + SLICE_MAX])

    def _write(self, piece: bytes) -> None:
        more = True
        if self._left is not None:
            self._left -= len(piece)
            more = self._left > 0
        self._deliver(piece, more)

    def finish(self) -> None:
        """Send the end of the answer."""
        if not self._ended:
            self._deliver(b"", more=False)

    def _deliver(self, piece: bytes, more: bool) -> None:
        if self._start is None:
            raise RuntimeError("start_response was not called")
        if self._ended:
            raise RuntimeError("the answer is longer than its Content-Length")
        messages = [{"type": "http.response.body", "body": piece, "more_body": more}]
        if not self.sent:
            messages.insert(0, self._start)
        if self.gone:
            raise _Gone
        self.sent, self._ended = True, not more
        try:
            self._bridge.call(self._send_all, messages, timeout=STALL_S)
        except CallTimedOut:
            self._bridge.post(self._cut)
            raise _Gone from None

    async def _send_all(self, messages: Sequence[Any]) -> None:
        for message in messages:
            await self._send(message)

    def _cut(self) -> None:
        transport = (self._scope.get("state") or {}).get("transport")
        if transport is not None and self._scope["http_version"].startswith("1."):
            transport.abort()


async def _watch(receive: Receive, reply: _Reply) -> None:
    """Wait until the client hangs up, and note it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    reply.gone = True
