"""Finds zones that no longer post or whose posts are refused, publishes that, and counts zones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import NamedTuple

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.control.batch import each
from server.control.messages import ZoneObserver, zone_event
from server.control.rules.silence import SILENT_MIN_MS, Listening, silent_after_ms
from server.control.rules.trust_state import STATES, silenced
from server.control.trust_log import TrustLog
from server.control.zone_cache import ZoneBusy, ZoneCache
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.ports.documents import StoreUnavailable, VersionConflict
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0
# At most this share of the time is spent on looking.
TIME_SHARE = 1 / 20
# Looks overlap by OVERLAP_MS: another process's steady time may be behind this one's. In case it is
# further behind, all zones that were not seen lately are read again every RESCAN_S.
OVERLAP_MS, RESCAN_S = 5_000, 300.0
COUNT_INTERVAL_S = 30.0
MARKED_AT_ONCE = 16
# Zones that are looked at in one go, about a millisecond; then other work has its turn.
LOOKED_AT_ONCE = 200
REFUSED_MAX = 5_000

ZoneKey = tuple[str, str]
"""A tenant and a device."""


class _Refusal(NamedTuple):
    code: str
    at_ms: int


class ZoneWatch:
    """Every process looks in the store for zones that were not seen lately.

    The store lets one process write that a zone is silent, and that process publishes it.
    """

    def __init__(
        self,
        stores: Stores,
        cache: ZoneCache,
        sse: SSEService,
        clock: Clock,
        metrics: Metrics,
        listening: Listening,
        trust_log: TrustLog,
        observe: ZoneObserver,
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
        self._observe = observe
        # Zones that were not seen for a while, and so may have become silent.
        self._quiet: dict[ZoneKey, ZoneRecord] = {}
        # By tenant, the time up to which its zones were looked at.
        self._checked_ms: dict[str, int] = {}
        self._rescan_at_s = self._count_at_s = 0.0
        self._oldest_ms: int | None = None
        self._refused: dict[ZoneKey, _Refusal] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to look every second."""
        self._task = asyncio.create_task(self._check_for_ever(), name="zone watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._log.flush(everything=True)

    def refused(self, tenant_id: str, device_id: str, code: str) -> None:
        """Note that a post naming this device was refused; its sender may be a stranger."""
        self._refused.pop((tenant_id, device_id), None)
        if len(self._refused) >= REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[tenant_id, device_id] = _Refusal(code, self._clock.steady_ms())

    async def check(self) -> None:
        """Publish each zone that became silent or whose posts are refused; update the metrics."""
        try:
            if not self._watch.away:
                await self._find_quiet()
                due = await self._changed()
                await each(due, MARKED_AT_ONCE, self._mark_silent)
                if due or self._clock.monotonic() >= self._count_at_s:
                    self._count_at_s = self._clock.monotonic() + COUNT_INTERVAL_S
                    await self._count()
        except StoreUnavailable as error:
            # A failed read here does not mean that readings cannot be stored.
            log.info("silent zones could not be read, the next check retries: %s", error)
        self._log.flush()

    async def _check_for_ever(self) -> None:
        pause_s = CHECK_INTERVAL_S
        while True:
            await asyncio.sleep(pause_s)
            began = self._clock.monotonic()
            try:
                await self.check()
            except Exception:
                log.exception("the check for silent zones failed, the next one retries")
            pause_s = max(CHECK_INTERVAL_S, (self._clock.monotonic() - began) / TIME_SHARE)

    async def _find_quiet(self) -> None:
        """Find the zones that were last seen between the look before and 10 s ago."""
        steady_ms = self._clock.steady_ms()
        until_ms = steady_ms - SILENT_MIN_MS + 1
        if not self._rescan_at_s:
            tenants = {zone.tenant_id async for zone in self._zones.of_all_tenants()}
            self._checked_ms = dict.fromkeys(tenants, 0)
        if self._clock.monotonic() >= self._rescan_at_s:
            self._checked_ms = dict.fromkeys(self._checked_ms, 0)
            self._quiet.clear()
            self._oldest_ms = None
            self._rescan_at_s = self._clock.monotonic() + RESCAN_S
        for tenant_id in self._cache.tenants():
            self._checked_ms.setdefault(tenant_id, 0)
        for tenant_id, checked_ms in list(self._checked_ms.items()):
            since_ms = max(0, checked_ms - OVERLAP_MS)
            async for zone in self._zones.seen_between(tenant_id, since_ms, until_ms):
                if zone.last_seen_ms:
                    self._quiet[tenant_id, zone.device_id] = zone
                    self._oldest_ms = min(self._oldest_ms or steady_ms, zone.last_seen_ms)
            self._checked_ms[tenant_id] = max(checked_ms, until_ms)

    async def _changed(self) -> list[ZoneKey]:
        """The quiet zones that became silent or are refused."""
        changed: list[ZoneKey] = []
        for number, (key, zone) in enumerate(list(self._quiet.items()), 1):
            after = self._silenced(key, zone)
            if after is not zone:
                changed.append(key)
                # Before it is written: of ten thousand zones the last one is written much later.
                self._observe(zone, after, None)
            if number % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return changed

    def _silenced(self, key: ZoneKey, zone: ZoneRecord) -> ZoneRecord:
        steady_ms = self._clock.steady_ms()
        refusal = self._refused.get(key)
        code = ""
        if refusal is not None and refusal.at_ms > zone.last_seen_ms:
            code = refusal.code if steady_ms - refusal.at_ms < silent_after_ms(zone) else ""
        return silenced(zone, steady_ms, self._clock.now_ms(), self._listening, code)

    async def _mark_silent(self, key: ZoneKey) -> None:
        """Write that a zone is silent, over the version just read, and publish it.

        It is read again first: it may have posted since, or another process may have written it.
        """
        try:
            async with self._cache.locked(*key) as slot:
                record = await self._zones.get(*key)
                zone = self._silenced(key, record.zone)
                if record.version is not None and zone is not record.zone and not slot.unstored:
                    write = self._zones.zone_write(zone, record.version, typed=True)
                    record = Versioned(zone, (await self._client.write([write]))[0])
                    self._log.changed(zone)
                    self._observe(None, zone, None)
                    event = zone_event(zone, self._clock.now_ms())
                    await self._sse.publish(zone.tenant_id, "zone", event, zone.device_id)
                if slot.commanded is not None and record.version and not slot.divergences:
                    slot.keep(record)
                if record.version is None or _later(record.zone, self._quiet[key]):
                    del self._quiet[key]
                else:
                    self._quiet[key] = record.zone
        except StoreUnavailable as error:
            log.info(
                "zone %r could not be marked silent, the next check retries: %s", key[1], error
            )
        except (VersionConflict, ZoneBusy):
            cached = self._cache.peek(*key)
            if cached is not None:
                cached.current = None  # the next look reads it again

    async def _count(self) -> None:
        """Update the metrics: the zones by their trust, and the longest silence of any zone."""
        totals: Counter[str] = Counter()
        for tenant_id in self._checked_ms:
            totals += await self._zones.count_by_trust(tenant_id, STATES)
        for state in STATES:
            self._metrics.zones.labels(trust=state).set(totals[state])
        oldest_ms = self._clock.steady_ms() - (self._oldest_ms or self._clock.steady_ms())
        self._metrics.oldest_reading_s.set(oldest_ms / 1000)


def _later(zone: ZoneRecord, other: ZoneRecord) -> bool:
    return zone.last_seen_ms > other.last_seen_ms
