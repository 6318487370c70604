"""Begins live streams after Quart has sent the head; `Delivery` then writes to their sockets.

The view decides who may have the stream and leaves in the scope a function that opens it. When
Quart has ended, its contexts, tasks and request (a third of a stream's memory) are freed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from server.common.asgi import App, Message, Receive, Scope, Send
from server.common.errors import RateLimited, Unavailable
from server.services.sse_service.subscription import Subscription

log = logging.getLogger(__name__)

STREAM_KEY = "bas.stream"

OpenStream = Callable[[Callable[[], None]], Awaitable[Subscription]]
"""Opens the stream; its argument ends a write that the client never takes."""


class StreamWriter:
    """An ASGI app around Quart that writes the streams."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_stream, disconnected = await self._run_quart(scope, receive, send)
        if has_stream:
            stream = await _opened(scope, receive, disconnected)
            if stream is not None:
                await _write(stream, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run_quart(self, scope: Scope, receive: Receive, send: Send) -> tuple[bool, bool]:
        """Let Quart answer; return whether a stream follows, and whether the client is gone.

        ASGI reports a disconnect only once, so it is noted here.
        """
        disconnected = False

        async def noted() -> Message:
            nonlocal disconnected
            message: Message = await receive()
            disconnected = disconnected or message["type"] == "http.disconnect"
            return message

        async def without_body(message: Message) -> None:
            if STREAM_KEY not in scope:
                await send(message)
            elif message["type"] == "http.response.start":
                await send({**message, "headers": [_shared(*pair) for pair in message["headers"]]})

        await self._app(scope, noted, without_body)
        return STREAM_KEY in scope, disconnected


@lru_cache(64)
def _shared(name: bytes, text: bytes) -> tuple[bytes, bytes]:
    """The same pair object for all streams: each stream's head stays in memory until it ends."""
    return name, text


async def _opened(scope: Scope, receive: Receive, disconnected: bool) -> Subscription | None:
    writer = asyncio.current_task()
    assert writer is not None
    open_stream: OpenStream = scope.pop(STREAM_KEY)
    try:
        stream = await open_stream(lambda: _cancel(writer))
    except (Unavailable, RateLimited) as error:
        # The status line is sent already: end the stream, and the client reconnects and gets a
        # refusal.
        log.warning("a stream could not be opened: %s", error)
        return None
    stream.ends_with(asyncio.ensure_future(asyncio.sleep(0) if disconnected else receive()))
    return stream


def _cancel(writer: asyncio.Task[Any]) -> None:
    writer.cancel()


async def _write(stream: Subscription, send: Send) -> None:
    try:
        async for piece in stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        stream.close()
