"""HandedStreams: writes a stream whose head Quart has made, so that nothing of Quart stays behind.

The view decides who may have the stream and leaves in the scope how to open it. Once Quart has
ended, its contexts, tasks and request (a third of a stream's memory) are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from server.errors import Unavailable
from server.services.sse_service.subscription import Subscription

log = logging.getLogger(__name__)

HANDED = "bas.stream"

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
OpenStream = Callable[[Callable[[], None]], Awaitable[Subscription]]
"""Opens the stream; is given what ends a write that its client never takes."""


class HandedStreams:
    """ASGI around Quart."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        is_handed, gone = await self._ask_quart(scope, receive, send)
        if is_handed:
            stream = await _opened(scope, receive, gone)
            if stream is not None:
                await _write(stream, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ask_quart(self, scope: Message, receive: Receive, send: Any) -> tuple[bool, bool]:
        """Let Quart answer; whether only the head of a stream was sent, and whether the client has
        gone already, which is told only once."""
        gone = False

        async def noted() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def without_body(message: Message) -> None:
            if HANDED not in scope:
                await send(message)
            elif message["type"] == "http.response.start":
                await send({**message, "headers": [_shared(*pair) for pair in message["headers"]]})

        await self._app(scope, noted, without_body)
        return HANDED in scope, gone


@lru_cache(64)
def _shared(name: bytes, text: bytes) -> tuple[bytes, bytes]:
    """One and the same pair for all streams that have it: each head is kept as long as its answer
    goes on."""
    return name, text


async def _opened(scope: Message, receive: Receive, gone: bool) -> Subscription | None:
    writer = asyncio.current_task()
    assert writer is not None
    open_stream: OpenStream = scope.pop(HANDED)
    try:
        stream = await open_stream(lambda: _cancel(writer))
    except Unavailable as error:
        # The status line is out already: end the stream, and the client comes back to a 503.
        log.warning("a stream could not be opened: %s", error)
        return None
    stream.ends_with(asyncio.ensure_future(asyncio.sleep(0) if gone else receive()))
    return stream


def _cancel(writer: asyncio.Task[Any]) -> None:
    writer.cancel()


async def _write(stream: Subscription, send: Any) -> None:
    try:
        async for piece in stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        stream.close()
