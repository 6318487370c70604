"""RedisNotices: sends notices to the other processes over one Redis channel of the site."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.services.ports.event_log import LogUnavailable

log = logging.getLogger(__name__)

# Above this, notices are dropped while Redis cannot be reached: every cache entry expires anyway.
WAITING_MAX = 1000
# For these seconds after a lost notice, the next one may be lost too. It is longer than the time
# between two looks at `reach_others`, so that no short outage of Redis goes unnoticed.
FAILED_S = 3.0

Publish = Callable[[str], Awaitable[None]]


class RedisNotices:
    """`Notices` on Redis.

    `publish` sends a text to every process, also to this one, and raises LogUnavailable. `reached`
    says whether Redis answers and its messages are received.
    """

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

    def publish(self, topic: str, name: str) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(f"{self._run} {topic} {name}")

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        self._listeners[topic] = listener

    async def send(self) -> None:
        """Send the queued notices; runs until cancelled."""
        while True:
            text = await self._waiting.get()
            try:
                await self._publish(text)
            except LogUnavailable as error:
                self._failed_at = _now()
                log.debug("a notice to the other processes was lost: %s", error)

    def miss(self) -> None:
        """Note that notices of the others may not have arrived: the subscription is a new one."""
        self._failed_at = _now()

    def receive(self, message: bytes) -> None:
        """Pass another process's notice to the listener of its topic."""
        run, _, notice = message.decode(errors="replace").partition(" ")
        topic, _, name = notice.partition(" ")
        listener = self._listeners.get(topic)
        if listener is not None and run != self._run:
            listener(name)


def _now() -> float:
    return asyncio.get_running_loop().time()
