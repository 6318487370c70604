"""RedisNotices: notices to the other processes over the channel that all of them hear."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.services.sse_service.backend import LogUnavailable

log = logging.getLogger(__name__)

# What waits is dropped while Redis is away: everyone's memory ages by itself.
WAITING_MAX = 1000
# So long after one was lost the next may be as well.
FAILED_S = 3.0

Publish = Callable[[str], Awaitable[None]]


class RedisNotices:
    """`Notices`. `publish` sends a text to every process, this one too, and raises LogUnavailable;
    `reached` says whether Redis answers, and is heard."""

    def __init__(self, publish: Publish, reached: Callable[[], bool], run: str) -> None:
        self._publish = publish
        self._reached = reached
        self._run = run
        self._failed_at = -FAILED_S
        self._waiting: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)
        self._listeners: dict[str, Callable[[str], None]] = {}

    @property
    def reach_others(self) -> bool:
        return self._reached() and _now() - self._failed_at >= FAILED_S

    def tell(self, topic: str, name: str) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(f"{self._run} {topic} {name}")

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        self._listeners[topic] = listener

    async def send(self) -> None:
        """Send what is told; runs until cancelled."""
        while True:
            text = await self._waiting.get()
            try:
                await self._publish(text)
            except LogUnavailable as error:
                self._failed_at = _now()
                log.debug("a notice was lost: %s", error)

    def hear(self, message: bytes) -> None:
        """Hand on what another process told."""
        run, _, notice = message.decode(errors="replace").partition(" ")
        topic, _, name = notice.partition(" ")
        listener = self._listeners.get(topic)
        if listener is not None and run != self._run:
            listener(name)


def _now() -> float:
    return asyncio.get_running_loop().time()
