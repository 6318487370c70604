"""RedisListener: receives published messages on one Redis connection, and reconnects it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from server.services.ports.event_log import LogUnavailable

log = logging.getLogger(__name__)

# A probe is sent every PROBE_S; a connection that receives nothing for SILENT_S is dead.
PROBE_S, SILENT_S = 2.0, 7.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 2.0

_random = secrets.SystemRandom()


class PubSubConnection(Protocol):
    """A connection in subscription mode. Its failures are LogUnavailable."""

    async def send(self, *words: str) -> None:
        """Send a command."""

    async def receive(self, timeout_s: float) -> list[bytes]:
        """The next message."""

    async def close(self) -> None:
        """End the connection."""


def jittered(failures: int, low_s: float, high_s: float) -> float:
    """A random pause after consecutive failures: its bound doubles with each, up to `high_s`."""
    most = min(high_s, low_s * 2.0 ** min(failures, 16))
    return _random.uniform(most / 2, most)


class RedisListener:
    """Subscribes to channels, and again after each reconnect.

    It calls `on_subscribed` with a channel at each new subscription, because messages before it may
    have been missed; `on_message` with each message; and `on_alive` at the first message after a
    silence.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[PubSubConnection]],
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
        self._wire: PubSubConnection | None = None
        # This connection received a message, so it is subscribed.
        self._receiving = asyncio.Event()
        self._error = ""
        self._closed = False

    async def run(self) -> None:
        """Receive messages until closed; reconnect when the connection breaks."""
        failures = 0
        wire: PubSubConnection | None
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
                    self._receive(message)
            except LogUnavailable as error:
                self._error = error.message or ""
                if not self._closed and not failures:
                    log.warning(
                        "the Redis subscription was lost and is connected again: %s", error.message
                    )
            finally:
                wire, self._wire = self._wire, None
                self._receiving.clear()
                if wire is not None:
                    await wire.close()
            if not self._closed:
                await asyncio.sleep(jittered(failures, PAUSE_MIN_S, PAUSE_MAX_S))
            failures += 1

    @property
    def up(self) -> bool:
        """Whether published messages are received now."""
        return self._receiving.is_set()

    async def wait_until_up(self, timeout_s: float) -> None:
        """Wait until messages are received. Raises LogUnavailable with the reason if none are."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._receiving.wait()
        except TimeoutError:
            raise LogUnavailable(message=f"the subscription is down: {self._error}") from None

    def _receive(self, message: list[bytes]) -> None:
        self._receiving.set()
        kind = message[0]
        if kind == b"message":
            self._on_message(message[1].decode(), message[2])
        elif kind == b"subscribe":
            self._on_subscribed(message[1].decode())

    async def subscribe(self, channel: str) -> None:
        """Subscribe to one more channel. Raises LogUnavailable.

        Without a connection this does nothing: the next one subscribes to all channels.
        """
        if self._wire is not None:
            await self._wire.send("SUBSCRIBE", channel)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribe from these channels. Raises LogUnavailable."""
        if self._wire is not None:
            await self._wire.send("UNSUBSCRIBE", *channels)

    async def probe(self) -> None:
        """Send PING every PROBE_S, so that a live connection is never silent, until cancelled."""
        while True:
            await asyncio.sleep(PROBE_S)
            if self._wire is not None:
                try:
                    await self._wire.send("PING")
                except LogUnavailable as error:
                    log.debug("the subscription could not be probed: %s", error)

    def close(self) -> None:
        """Stop reconnecting; the owner of the task cancels `run`."""
        self._closed = True
