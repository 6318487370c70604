"""sse-starlette as its documentation shows it: a queue for each client, filled by the producer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

queues: set[asyncio.Queue[ServerSentEvent]] = set()
numbers = itertools.count(1)


async def stream(_: Request) -> EventSourceResponse:
    """Every event from now on."""
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    queues.add(queue)

    async def events() -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    return EventSourceResponse(events())


async def publish(request: Request) -> PlainTextResponse:
    """The body is the event's data."""
    body = (await request.body()).decode()
    event = ServerSentEvent(body, event="telemetry", id=f"starlette-{next(numbers)}")
    for queue in queues:
        queue.put_nowait(event)
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"])])
