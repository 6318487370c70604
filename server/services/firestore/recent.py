"""RecentReadings: pages of the newest readings, kept until a reading is added."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from server.clock import Clock
from server.errors import Unavailable
from server.metrics import Metrics
from server.neighbours import Neighbours
from server.services.firestore.copies import decoded
from server.services.firestore.models import Reading

# A page that a reading was added to ends at once; should its announcement be lost, after this.
LIFE_S = 2.0
JITTER = 0.25
# Larger pages, and more of them, are read anew.
LIMIT_MAX, PAGES_MAX = 100, 64
# What this process stored has been announced to all after this.
ANNOUNCED_S = 1.0

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Reading])

Load = Callable[[], Awaitable[list[Reading]]]


class Stamp(NamedTuple):
    """What a page was read after: announced by anyone, and stored by this process."""

    place: str
    stored: int


class Page(NamedTuple):
    """Readings, what they were read after, and until when (monotonic) they count."""

    stamp: Stamp
    until: float
    readings: list[Reading]


class RecentReadings:
    """Pages by tenant, device and limit; many who ask for the same one at once read it once."""

    def __init__(self, neighbours: Neighbours, clock: Clock, metrics: Metrics) -> None:
        self._place = neighbours.place
        self._shared = neighbours.cache
        self._clock = clock
        self._metrics = metrics
        self._pages: dict[str, Page] = {}
        self._reading: dict[tuple[str, Stamp], asyncio.Task[list[Reading]]] = {}
        # By tenant, how many writes of this process there were, and when the last one was.
        self._stored: dict[str, tuple[int, float]] = {}

    def stored(self, tenant_id: str) -> None:
        """This process stored a reading of the tenant."""
        count, _ = self._stored.get(tenant_id, (0, 0.0))
        self._stored[tenant_id] = (count + 1, self._clock.monotonic())

    async def page(
        self, tenant_id: str, device_id: str | None, limit: int, load: Load
    ) -> list[Reading]:
        """The page that `load` would read now."""
        if limit > LIMIT_MAX:
            return await load()
        try:
            place = await self._place(tenant_id)
        except Unavailable:
            return await load()  # what the others store is not heard of
        stored, stored_at = self._stored.get(tenant_id, (0, float("-inf")))
        stamp = Stamp(place, stored)
        key = msgspec.json.encode([tenant_id, device_id, limit]).decode()
        page = self._pages.get(key)
        if page is not None and page.stamp == stamp and self._clock.monotonic() < page.until:
            self._count("process")
            return page.readings
        task = self._reading.get((key, stamp))
        if task is None:
            shareable = self._clock.monotonic() - stored_at > ANNOUNCED_S
            task = asyncio.create_task(self._read(key, stamp, load, shareable))
            self._reading[key, stamp] = task
            task.add_done_callback(lambda done: self._read_ended(key, stamp, done))
        return await asyncio.shield(task)

    async def _read(self, key: str, stamp: Stamp, load: Load, shareable: bool) -> list[Reading]:
        life_s = LIFE_S * random.uniform(1 - JITTER, 1)  # noqa: S311 - no secret
        shared = self._shared if shareable else None
        shared_key = f"recent/{stamp.place}/{key}"
        if shared is not None:
            ((value, milliseconds),) = await shared.read([shared_key])
            if value and milliseconds <= LIFE_S * 1000:
                readings = decoded(_decoder, value)
                if readings is not None:
                    self._count("shared")
                    until = self._clock.monotonic() + milliseconds / 1000
                    self._keep(key, Page(stamp, until, readings))
                    return readings
        readings = await load()
        self._count("store")
        self._keep(key, Page(stamp, self._clock.monotonic() + life_s, readings))
        if shared is not None:
            shared.keep(shared_key, _encoder.encode(readings), int(life_s * 1000))
        return readings

    def _keep(self, key: str, page: Page) -> None:
        self._pages.pop(key, None)
        if len(self._pages) >= PAGES_MAX:
            del self._pages[next(iter(self._pages))]
        self._pages[key] = page

    def _read_ended(self, key: str, stamp: Stamp, task: asyncio.Task[list[Reading]]) -> None:
        del self._reading[key, stamp]
        if not task.cancelled():
            task.exception()  # whoever asked has it, or has gone

    def _count(self, source: str) -> None:
        self._metrics.cache_reads.labels(collection="telemetry", source=source).inc()
