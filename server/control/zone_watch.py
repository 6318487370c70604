"""ZoneWatch: tells of zones that post no more, or whose posts are refused, and counts all zones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from server.clock import Clock
from server.control.silence import Listening, silent_after_ms, silent_ms
from server.control.trust import STATES, silenced
from server.control.trust_log import TrustLog
from server.control.views import zone_event
from server.control.zone_cache import ZoneBusy, ZoneCache
from server.metrics import Metrics
from server.services.firestore.base import (
    AlreadyExists,
    StoreUnavailable,
    VersionConflict,
    in_parts,
)
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# Zones that post through other processes: those watch them, and are gone themselves hardly ever.
OTHERS_EVERY_MS = 300_000
# Zones that are looked at before all else that is ready comes first.
AT_ONCE = 500
REFUSED_MAX = 5_000

Key = tuple[str, str]
"""A tenant and a device."""


class _Refusal(NamedTuple):
    code: str
    at_ms: int


class _Other(NamedTuple):
    """A zone that does not post here, as it was read last, and when it is read again (steady)."""

    zone: ZoneRecord
    next_ms: int


class ZoneWatch:
    """Every process looks at the zones it knows; the store lets one of them write, which tells."""

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
        self._others: dict[Key, _Other] | None = None
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
        """Tell of each zone that became silent, and count all."""
        if not self._watch.away:
            try:
                if self._others is None:
                    self._others = await self._read_all()
                await self._read_others()
            except StoreUnavailable as error:
                self._watch.lose(error)
        seen, due = await self._look_at_all()
        for key in due:
            if self._watch.away:
                break
            await self._tell(key)
        self._count(seen)
        self._log.flush()

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:
                log.exception("the look at silent zones failed; the next one is in %g s", 1.0)

    async def _read_all(self) -> dict[Key, _Other]:
        """The zones of all tenants."""
        next_ms = self._clock.steady_ms() + OTHERS_EVERY_MS
        return {
            (zone.tenant_id, zone.device_id): _Other(zone, next_ms)
            async for zone in self._zones.of_all_tenants()
        }

    async def _read_others(self) -> None:
        """Read those zones again that are silent as far as is known here."""
        assert self._others is not None
        now_ms = self._clock.steady_ms()
        tenants: dict[str, list[str]] = {}
        for (tenant_id, device_id), other in list(self._others.items()):
            if self._cache.peek(tenant_id, device_id) is not None:
                del self._others[tenant_id, device_id]
            elif now_ms >= other.next_ms and self._is_due((tenant_id, device_id), other.zone):
                tenants.setdefault(tenant_id, []).append(device_id)
        for tenant_id, device_ids in tenants.items():
            for some in in_parts(device_ids):
                for device_id, record in (await self._zones.get_many(tenant_id, some)).items():
                    other = _Other(record.zone, now_ms + OTHERS_EVERY_MS)
                    if record.version is None:
                        del self._others[tenant_id, device_id]
                    else:
                        self._others[tenant_id, device_id] = other

    async def _look_at_all(self) -> tuple[list[ZoneRecord], list[Key]]:
        """All zones that are known here, as they are now; those of which that is to be told."""
        zones = [
            (key, slot.told) for key, slot in self._cache.items() if slot.told and not slot.unstored
        ]
        zones += [(key, other.zone) for key, other in (self._others or {}).items()]
        seen: list[ZoneRecord] = []
        due: list[Key] = []
        for number, (key, zone) in enumerate(zones):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            seen.append(self._silenced(key, zone))
            if seen[-1] is not zone:
                due.append(key)
        return seen, due

    def _is_due(self, key: Key, zone: ZoneRecord) -> bool:
        return self._silenced(key, zone) is not zone

    def _silenced(self, key: Key, zone: ZoneRecord) -> ZoneRecord:
        steady_ms = self._clock.steady_ms()
        refusal = self._refused.get(key)
        code = ""
        if refusal is not None and refusal.at_ms > zone.last_seen_ms:
            code = refusal.code if steady_ms - refusal.at_ms < silent_after_ms(zone) else ""
        return silenced(zone, steady_ms, self._clock.now_ms(), self._listening, code)

    async def _tell(self, key: Key) -> None:
        """Write that a zone is silent, over what was read, and tell of it: another process may have
        heard it since, or have told of it already."""
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
                elif self._others is not None and key in self._others:
                    next_ms = self._clock.steady_ms() + OTHERS_EVERY_MS
                    self._others[key] = _Other(record.zone, next_ms)
        except (VersionConflict, AlreadyExists, ZoneBusy):
            slot_now = self._cache.peek(*key)
            if slot_now is not None:
                slot_now.current = None  # the next look reads it again
        except StoreUnavailable as error:
            self._watch.lose(error)

    def _count(self, zones: Iterable[ZoneRecord]) -> None:
        counts: Counter[str] = Counter()
        oldest_ms = 0
        now_ms = self._clock.steady_ms()
        for zone in zones:
            counts[zone.trust_state] += 1
            oldest_ms = max(oldest_ms, silent_ms(zone, now_ms, Listening(0, 0)))
        for state in STATES:
            self._metrics.zones.labels(trust=state).set(counts[state])
        self._metrics.oldest_reading_s.set(oldest_ms / 1000)
