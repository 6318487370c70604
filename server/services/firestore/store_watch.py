"""StoreWatch: whether readings can be stored; while they cannot, one task tries once a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.clock import Clock
from server.metrics import Metrics
from server.services.firestore.base import StoreUnavailable

log = logging.getLogger(__name__)

TRY_S = 1.0
# What the log says at once when the store is lost, it says again so long after.
SAY_AGAIN_S = 60.0


class StoreWatch:
    """What this process knows of its store. Calls belong to one event loop.

    `write` stores something and returns once that is safe; it raises StoreUnavailable.
    """

    def __init__(
        self, write: Callable[[], Awaitable[None]], clock: Clock, metrics: Metrics
    ) -> None:
        self._write = write
        self._clock = clock
        self._metrics = metrics
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._trying: asyncio.Task[None] | None = None
        self._lost_at = 0.0
        self.error: StoreUnavailable | None = None
        """Why the store is away; None while it is not."""

    @property
    def away(self) -> bool:
        """Whether no reading can be stored."""
        return self.error is not None

    def away_s(self) -> float:
        """For how long it has been away, in seconds."""
        return self._clock.monotonic() - self._lost_at if self.away else 0.0

    def on_back(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Await `listener` each time the store is back, once readings are stored again."""
        self._listeners.append(listener)

    def lose(self, error: StoreUnavailable) -> None:
        """A write failed or was not confirmed: nothing is stored until one is."""
        if self.error is not None:
            return
        self.error, self._lost_at = error, self._clock.monotonic()
        self._metrics.store_away.set(1)
        log.error(
            "readings are not stored: %s. Zones are steered from memory, nothing is switched on;"
            " a write is tried every second",
            _why(error),
        )
        self._trying = asyncio.create_task(self._try_until_back(), name="store-watch")

    async def check(self) -> None:
        """Find out whether the store takes a write, and lose it if not."""
        try:
            await self._write()
        except StoreUnavailable as error:
            self.lose(error)

    async def stop(self) -> None:
        """Try no more."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait({self._trying})

    async def _try_until_back(self) -> None:
        said = self._clock.monotonic()
        while True:
            await asyncio.sleep(TRY_S)
            try:
                await self._write()
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, it must be tried again
                if self._clock.monotonic() - said >= SAY_AGAIN_S:
                    said = self._clock.monotonic()
                    log.error("readings are still not stored: %s", _why(error))
        log.warning("readings are stored again, after %.0f s", self.away_s())
        self.error = None
        self._metrics.store_away.set(0)
        for listener in self._listeners:
            try:
                await listener()
            except Exception:
                log.exception("the store is back, but what follows from it failed")


def _why(error: Exception) -> str:
    if isinstance(error, StoreUnavailable):
        return error.message or error.error
    return repr(error)
