"""ZoneWatch: tells of zones that post no more, or whose posts are refused, and counts all zones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import NamedTuple

from server.clock import Clock
from server.control.batch_parts import each
from server.control.silence import SILENT_MIN_MS, Listening, silent_after_ms
from server.control.trust import STATES, silenced
from server.control.trust_log import TrustLog
from server.control.views import zone_event
from server.control.zone_cache import ZoneBusy, ZoneCache
from server.metrics import Metrics
from server.services.firestore.base import StoreUnavailable, VersionConflict
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# Of the time, at most this part is spent on looking.
SHARE = 1 / 20
# How far looks overlap: another process's steady time may be behind this one's. Beyond that, all
# zones that were not heard lately are read again once in a while.
OVERLAP_MS, ALL_AGAIN_S = 5_000, 300.0
COUNT_EVERY_S = 30.0
TOLD_AT_ONCE = 16
REFUSED_MAX = 5_000

Key = tuple[str, str]
"""A tenant and a device."""


class _Refusal(NamedTuple):
    code: str
    at_ms: int


class ZoneWatch:
    """Every process asks the store which zones were not heard lately; the store lets one of them
    write that a zone is silent, and that one tells."""

    def __init__(
        self,
        stores: Stores,
        cache: ZoneCache,
        sse: SSEService,
        clock: Clock,
        metrics: Metrics,
        listening: Listening,
        trust_log: TrustLog,
    ) -> None:
        self._client = stores.client
        self._zones = stores.zones
        self._watch = stores.watch
        self._cache = cache
        self._sse = sse
        self._clock = clock
        self._metrics = metrics
        self._listening = listening
        self._log = trust_log
        # Zones that were not heard for a while, of which there may be something to tell.
        self._quiet: dict[Key, ZoneRecord] = {}
        # By tenant, up to which time its zones were looked at; when all are looked at again.
        self._looked_ms: dict[str, int] = {}
        self._all_again_s = self._count_again_s = 0.0
        self._oldest_ms: int | None = None
        self._refused: dict[Key, _Refusal] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look every second from now on."""
        self._task = asyncio.create_task(self._look_for_ever(), name="zone watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._log.flush(everything=True)

    def refused(self, tenant_id: str, device_id: str, code: str) -> None:
        """A post that named this device was refused; it may be a stranger's."""
        self._refused.pop((tenant_id, device_id), None)
        if len(self._refused) >= REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[tenant_id, device_id] = _Refusal(code, self._clock.steady_ms())

    async def look(self) -> None:
        """Announce each zone that became silent or whose posts are refused; update the metrics."""
        try:
            if not self._watch.away:
                await self._find_quiet()
                due = [key for key, zone in self._quiet.items() if self._is_news(key, zone)]
                await each(due, TOLD_AT_ONCE, self._tell)
                if due or self._clock.monotonic() >= self._count_again_s:
                    self._count_again_s = self._clock.monotonic() + COUNT_EVERY_S
                    await self._count()
        except StoreUnavailable as error:
            # A failed read here does not mean that readings cannot be stored.
            log.info("silent zones could not be read, the next look tries again: %s", error)
        self._log.flush()

    async def _look_for_ever(self) -> None:
        pause_s = LOOK_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            began = self._clock.monotonic()
            try:
                await self.look()
            except Exception:
                log.exception("the look for silent zones failed, the next one tries again")
            pause_s = max(LOOK_EVERY_S, (self._clock.monotonic() - began) / SHARE)

    async def _find_quiet(self) -> None:
        """Find the zones that were last heard between the look before and 10 s ago."""
        steady_ms = self._clock.steady_ms()
        until_ms = steady_ms - SILENT_MIN_MS + 1
        if not self._all_again_s:
            tenants = {zone.tenant_id async for zone in self._zones.of_all_tenants()}
            self._looked_ms = dict.fromkeys(tenants, 0)
        if self._clock.monotonic() >= self._all_again_s:
            self._looked_ms = dict.fromkeys(self._looked_ms, 0)
            self._quiet.clear()
            self._oldest_ms = None
            self._all_again_s = self._clock.monotonic() + ALL_AGAIN_S
        for tenant_id in self._cache.tenants():
            self._looked_ms.setdefault(tenant_id, 0)
        for tenant_id, looked_ms in list(self._looked_ms.items()):
            since_ms = max(0, looked_ms - OVERLAP_MS)
            async for zone in self._zones.last_heard(tenant_id, since_ms, until_ms):
                if zone.last_seen_ms:
                    self._quiet[tenant_id, zone.device_id] = zone
                    self._oldest_ms = min(self._oldest_ms or steady_ms, zone.last_seen_ms)
            self._looked_ms[tenant_id] = max(looked_ms, until_ms)

    def _is_news(self, key: Key, zone: ZoneRecord) -> bool:
        return self._silenced(key, zone) is not zone

    def _silenced(self, key: Key, zone: ZoneRecord) -> ZoneRecord:
        steady_ms = self._clock.steady_ms()
        refusal = self._refused.get(key)
        code = ""
        if refusal is not None and refusal.at_ms > zone.last_seen_ms:
            code = refusal.code if steady_ms - refusal.at_ms < silent_after_ms(zone) else ""
        return silenced(zone, steady_ms, self._clock.now_ms(), self._listening, code)

    async def _tell(self, key: Key) -> None:
        """Write that a zone is silent, over what was read, and tell of it: it may have been heard
        since, or another process may have told of it already."""
        try:
            async with self._cache.locked(*key) as slot:
                record = await self._zones.get(*key)
                zone = self._silenced(key, record.zone)
                if record.version is not None and zone is not record.zone and not slot.unstored:
                    write = self._zones.zone_write(zone, record.version, typed=True)
                    record = Versioned(zone, (await self._client.write([write]))[0])
                    self._log.changed(zone)
                    event = zone_event(zone, self._clock.now_ms())
                    await self._sse.publish(zone.tenant_id, "zone", event, zone.device_id)
                if slot.told is not None and not slot.apart:
                    slot.keep(record)
                if record.zone.last_seen_ms > self._quiet[key].last_seen_ms:
                    del self._quiet[key]
                else:
                    self._quiet[key] = record.zone
        except StoreUnavailable as error:
            log.info(
                "zone %r could not be marked silent, the next look tries again: %s", key[1], error
            )
        except (VersionConflict, ZoneBusy):
            slot_now = self._cache.peek(*key)
            if slot_now is not None:
                slot_now.current = None  # the next look reads it again

    async def _count(self) -> None:
        """All zones by their trust, and the one that was not heard for the longest time."""
        totals: Counter[str] = Counter()
        for tenant_id in self._looked_ms:
            totals += await self._zones.count_by_trust(tenant_id, STATES)
        for state in STATES:
            self._metrics.zones.labels(trust=state).set(totals[state])
        oldest_ms = self._clock.steady_ms() - (self._oldest_ms or self._clock.steady_ms())
        self._metrics.oldest_reading_s.set(oldest_ms / 1000)
