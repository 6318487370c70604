"""Runs plain `def` views: gives them a thread, their request, and answers made piece by piece."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from functools import partial, wraps
from types import TracebackType
from typing import Any, cast

import msgspec
import quart
from quart.wrappers.response import ResponseBody
from werkzeug.datastructures import Headers, MultiDict

from server.common.asgi import Scope
from server.common.errors import Invalid, Unavailable, UnsupportedMedia
from server.sync_api.threads import Threads

log = logging.getLogger(__name__)

# A client that takes no slice of a piece for STALL_S is disconnected, as on a stream.
SLICE_MAX, STALL_S = 64 * 1024, 20.0

_body: ContextVar[bytes] = ContextVar("body")
_threads: ContextVar[Threads] = ContextVar("threads")


class SyncRequest:
    """The request with the names of Flask's (`request` below); it holds the whole body."""

    @property
    def method(self) -> str:
        return str(quart.request.method)

    @property
    def path(self) -> str:
        return str(quart.request.path)

    @property
    def args(self) -> MultiDict[str, str]:
        args: MultiDict[str, str] = quart.request.args
        return args

    @property
    def headers(self) -> Headers:
        return quart.request.headers

    @property
    def cookies(self) -> MultiDict[str, str]:
        cookies: MultiDict[str, str] = quart.request.cookies
        return cookies

    @property
    def remote_addr(self) -> str | None:
        return quart.request.remote_addr

    @property
    def content_type(self) -> str | None:
        return quart.request.content_type

    @property
    def is_json(self) -> bool:
        return bool(quart.request.is_json)

    @property
    def data(self) -> bytes:
        return _body.get()

    @property
    def json(self) -> Any:
        return self.get_json()

    def get_data(self) -> bytes:
        """The whole body."""
        return _body.get()

    def get_json(self, force: bool = False, silent: bool = False) -> Any:
        """Return the body as JSON; `force` accepts any content type.

        `silent` returns None where otherwise UnsupportedMedia or Invalid is raised (answered with
        415 and 400).
        """
        if not force and not self.is_json:
            if silent:
                return None
            raise UnsupportedMedia(message="send Content-Type: application/json")
        try:
            return msgspec.json.decode(_body.get())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if silent:
                return None
            raise Invalid("Invalid JSON", "INVALID_JSON", str(error)) from None


request = SyncRequest()


class Response(quart.Response):
    """Quart's response for sync views; if its body is an iterator, it runs in a thread."""

    def __init__(self, response: Any = None, *args: Any, **kwargs: Any) -> None:
        if not isinstance(response, Iterator):
            super().__init__(response, *args, **kwargs)
            return
        body = IteratorBody(_threads.get(), response, _cutter(cast(Scope, quart.request.scope)))
        super().__init__(b"" if quart.request.method == "HEAD" else body, *args, **kwargs)
        self.timeout = None


class IteratorBody(ResponseBody):
    """A body whose pieces a thread makes one by one, as its client takes them.

    `cut` ends a write that the client does not take.
    """

    def __init__(
        self,
        threads: Threads,
        pieces: Iterator[str | bytes],
        cut: Callable[[], None] | None,
    ) -> None:
        self._threads = threads
        self._pieces = pieces
        self._cut = cut
        self._lock = threading.Lock()
        self._running = self._ended = False

    async def __aenter__(self) -> AsyncIterator[bytes]:
        return self._each()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._ended, running = True, self._running
        if not running:  # else the thread that runs the iterator now closes it
            try:
                await self._threads.run(self._close)
            except Unavailable as refusal:
                log.warning("an answer's iterator was not closed: %s", refusal)

    async def _each(self) -> AsyncIterator[bytes]:
        loop, writer = asyncio.get_running_loop(), asyncio.current_task()
        assert writer is not None
        cut: Callable[[], object] = self._cut or writer.cancel
        while (piece := await self._threads.run(self._next)) is not None:
            data = piece.encode() if isinstance(piece, str) else piece
            for start in range(0, len(data), SLICE_MAX):
                stalled = loop.call_later(STALL_S, cut)
                try:
                    yield data[start : start + SLICE_MAX]
                finally:
                    stalled.cancel()

    def _next(self) -> str | bytes | None:
        with self._lock:
            if self._ended:
                return None
            self._running = True
        try:
            return next(self._pieces, None)
        finally:
            with self._lock:
                self._running, ended = False, self._ended
            if ended:
                self._close()

    def _close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _cutter(scope: Scope) -> Callable[[], None] | None:
    """Return a function that ends the connection at once; None unless it serves one answer only."""
    transport = (scope.get("state") or {}).get("transport")
    if transport is None or not scope["http_version"].startswith("1."):
        return None
    cut: Callable[[], None] = transport.abort
    return cut


def in_thread(threads: Threads, view: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Make a sync view async: read the request's body, then run the view in one of `threads`."""

    @wraps(view)
    async def threaded(*args: Any, **kwargs: Any) -> Any:
        if quart.has_request_context():
            body: Any = await quart.request.get_data(as_text=False, parse_form_data=False)
            _body.set(body)
        _threads.set(threads)
        return await threads.run(partial(_answer, view, args, kwargs))

    return threaded


def _answer(view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the view; a generator, alone or before a status and headers, becomes a Response."""
    answer = view(*args, **kwargs)
    if inspect.isgenerator(answer):
        return Response(answer)
    if isinstance(answer, tuple) and answer and inspect.isgenerator(answer[0]):
        return (Response(answer[0]), *answer[1:])
    return answer
