"""RecentReadings: caches pages of the newest readings until a reading is added."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from server.common.clock import Clock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.services.firestore.cache.documents import decoded
from server.services.ports.readings import Reading
from server.services.site.ports import SharedSite

# A page expires when a reading is added to it; if that announcement is lost, after LIFE_S.
LIFE_S = 2.0
JITTER = 0.25
# Larger pages are not cached; above PAGES_MAX pages, the oldest one is dropped.
LIMIT_MAX, PAGES_MAX = 100, 64
# A reading that this process stored has been announced to all processes after these seconds.
ANNOUNCED_S = 1.0

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Reading])

Load = Callable[[], Awaitable[list[Reading]]]


class Stamp(NamedTuple):
    """The state before a page was read: the history's tip, and this process's count of writes."""

    tip: str
    stored: int


class RecentPage(NamedTuple):
    """A page of readings, the state before it was read, and its time of expiry (monotonic)."""

    stamp: Stamp
    until: float
    readings: list[Reading]


class RecentReadings:
    """Pages by tenant, device and limit; concurrent requests for the same page share one read."""

    def __init__(self, site: SharedSite, clock: Clock, metrics: Metrics) -> None:
        self._history_tip = site.history_tip
        self._shared = site.cache
        self._clock = clock
        self._metrics = metrics
        self._pages: dict[str, RecentPage] = {}
        self._reading: dict[tuple[str, Stamp], asyncio.Task[list[Reading]]] = {}
        # For each tenant, the number of this process's writes and the time of the last one.
        self._stored: dict[str, tuple[int, float]] = {}

    def stored(self, tenant_id: str) -> None:
        """Note that this process stored a reading of the tenant."""
        count, _ = self._stored.get(tenant_id, (0, 0.0))
        self._stored[tenant_id] = (count + 1, self._clock.monotonic())

    async def page(
        self, tenant_id: str, device_id: str | None, limit: int, load: Load
    ) -> list[Reading]:
        """The page that `load` would read now, from the cache if it is current."""
        if limit > LIMIT_MAX:
            return await load()
        try:
            tip = await self._history_tip(tenant_id)
        except Unavailable:
            return await load()  # changes by other processes are not known now
        stored, stored_at = self._stored.get(tenant_id, (0, float("-inf")))
        stamp = Stamp(tip, stored)
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
        shared_key = f"recent/{stamp.tip}/{key}"
        if shared is not None:
            ((value, milliseconds),) = await shared.read([shared_key])
            if value and milliseconds <= LIFE_S * 1000:
                readings = decoded(_decoder, value)
                if readings is not None:
                    self._count("shared")
                    until = self._clock.monotonic() + milliseconds / 1000
                    self._keep(key, RecentPage(stamp, until, readings))
                    return readings
        readings = await load()
        self._count("store")
        self._keep(key, RecentPage(stamp, self._clock.monotonic() + life_s, readings))
        if shared is not None:
            shared.keep(shared_key, _encoder.encode(readings), int(life_s * 1000))
        return readings

    def _keep(self, key: str, page: RecentPage) -> None:
        self._pages.pop(key, None)
        if len(self._pages) >= PAGES_MAX:
            del self._pages[next(iter(self._pages))]
        self._pages[key] = page

    def _read_ended(self, key: str, stamp: Stamp, task: asyncio.Task[list[Reading]]) -> None:
        del self._reading[key, stamp]
        if not task.cancelled():
            task.exception()  # perhaps no caller waits: asyncio must not complain

    def _count(self, source: str) -> None:
        self._metrics.cache_reads.labels(collection="telemetry", source=source).inc()
