"""Subscriber: one connection that hears what is published, kept up as long as the server runs."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from server.services.sse_service.backend import LogUnavailable

log = logging.getLogger(__name__)

# Probes go out every PROBE_S: a connection that hears nothing for SILENT_S is dead.
PROBE_S, SILENT_S = 2.0, 7.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 2.0

_random = secrets.SystemRandom()


class Wire(Protocol):
    """A connection in subscription mode. Its failures are LogUnavailable."""

    async def send(self, *words: str) -> None:
        """Send a command."""

    async def receive(self, timeout_s: float) -> list[bytes]:
        """The next message."""

    async def close(self) -> None:
        """End the connection."""


def jittered(failures: int, low_s: float, high_s: float) -> float:
    """How long to wait after so many failures in a row: doubling, and never the same for all."""
    most = min(high_s, low_s * 2.0 ** min(failures, 16))
    return _random.uniform(most / 2, most)


class Subscriber:
    """Calls `on_subscribed` with a channel each time it is (again) subscribed to it: whatever was
    published before may have been missed; `on_message` with what is published; and `on_alive` when
    something is heard again after a silence."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        channels: Callable[[], Iterable[str]],
        on_subscribed: Callable[[str], None],
        on_message: Callable[[str, bytes], None],
        on_alive: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._channels = channels
        self._on_subscribed = on_subscribed
        self._on_message = on_message
        self._on_alive = on_alive
        self._wire: Wire | None = None
        # Something was heard on this connection: it is subscribed.
        self._heard = asyncio.Event()
        self._why_not = ""
        self._closed = False

    async def run(self) -> None:
        """Hear until closed, on a new connection whenever one breaks."""
        failures = 0
        wire: Wire | None
        while not self._closed:
            try:
                self._wire = wire = await self._connect()
                await wire.send("SUBSCRIBE", *self._channels())
                silent_since = 0.0
                while not self._closed:
                    message = await wire.receive(SILENT_S)
                    now = asyncio.get_running_loop().time()
                    if now - silent_since > 2 * PROBE_S:
                        self._on_alive()
                    silent_since, failures = now, 0
                    self._hear(message)
            except LogUnavailable as error:
                self._why_not = error.message or ""
                if not self._closed and not failures:
                    log.warning("the subscription is connected anew: %s", error.message)
            finally:
                wire, self._wire = self._wire, None
                self._heard.clear()
                if wire is not None:
                    await wire.close()
            if not self._closed:
                await asyncio.sleep(jittered(failures, PAUSE_MIN_S, PAUSE_MAX_S))
            failures += 1

    @property
    def up(self) -> bool:
        """Whether what is published is heard now."""
        return self._heard.is_set()

    async def wait_until_up(self, timeout_s: float) -> None:
        """Return once what is published is heard. Raises LogUnavailable saying why it is not."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        except TimeoutError:
            raise LogUnavailable(message=f"nothing can be heard: {self._why_not}") from None

    def _hear(self, message: list[bytes]) -> None:
        self._heard.set()
        kind = message[0]
        if kind == b"message":
            self._on_message(message[1].decode(), message[2])
        elif kind == b"subscribe":
            self._on_subscribed(message[1].decode())

    async def subscribe(self, channel: str) -> None:
        """Ask for a channel more; the next connection asks by itself. LogUnavailable."""
        if self._wire is not None:
            await self._wire.send("SUBSCRIBE", channel)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Hear no more of these. LogUnavailable."""
        if self._wire is not None:
            await self._wire.send("UNSUBSCRIBE", *channels)

    async def probe(self) -> None:
        """Ask for a sign of life, without which the connection is given up. LogUnavailable."""
        if self._wire is not None:
            await self._wire.send("PING")

    def close(self) -> None:
        """Connect no more; whoever runs this cancels it."""
        self._closed = True
