"""ZoneService: what is known of the zones: the status of one, and of all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from server.clock import Clock
from server.control.settings import in_force
from server.control.silence import Listening
from server.control.trust import silenced
from server.control.views import ZoneStatus, zone_status
from server.control.zone_cache import ZoneCache
from server.services.firestore.base import StoreUnavailable
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.store_watch import StoreWatch
from server.services.firestore.zones_store import ZonesStore

# While the store is away it is asked all the same, since it may well be read; but not for long.
ASKED_S = 0.25

T = TypeVar("T")


class ZoneService:
    """The zones of all tenants, as they were heard last.

    While the store is away, and until it has what devices were told meanwhile, memory knows better.
    """

    def __init__(
        self,
        zones: ZonesStore,
        cache: ZoneCache,
        watch: StoreWatch,
        clock: Clock,
        listening: Listening,
    ) -> None:
        self._zones = zones
        self._cache = cache
        self._watch = watch
        self._clock = clock
        self._listening = listening

    async def status(self, tenant_id: str, device_id: str | None) -> ZoneStatus:
        """A zone, or with None the zone heard last. Raises NotFound for an unknown device,
        StoreUnavailable where memory does not know either."""
        settings = await self._settings(tenant_id)
        zone = await self._heard_last(tenant_id) if device_id is None else None
        if device_id is not None:
            zone = self._cache.told_of(tenant_id, device_id)
        if device_id is not None and zone is None:
            zone = await self._stored(tenant_id, device_id)
        return self._shown(zone or ZoneRecord(tenant_id=tenant_id, device_id=""), settings)

    async def snapshot(self, tenant_id: str) -> list[ZoneStatus]:
        """Every zone of the tenant, by device id."""
        settings = await self._settings(tenant_id)
        try:
            stored = await self._asked(self._zones.all(tenant_id))
            zones = {zone.device_id: zone for zone in stored}
        except StoreUnavailable:
            if not self._watch.away:
                raise
            zones = self._cache.told(tenant_id, all_of_them=True)
        zones |= self._cache.told(tenant_id)
        return [self._shown(zones[name], settings) for name in sorted(zones)]

    def _shown(self, zone: ZoneRecord, settings: TenantSettings) -> ZoneStatus:
        """A zone as it is now: it may be silent, and nobody has noticed yet."""
        now_ms, steady_ms = self._clock.now_ms(), self._clock.steady_ms()
        zone = silenced(zone, steady_ms, now_ms, self._listening)
        return zone_status(zone, in_force(zone, settings), now_ms)

    async def _asked(self, read: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(ASKED_S if self._watch.away else None):
                return await read
        except TimeoutError:
            raise StoreUnavailable(message="no answer in time") from None

    async def _settings(self, tenant_id: str) -> TenantSettings:
        try:
            return await self._asked(self._cache.fresh_settings(tenant_id))
        except StoreUnavailable:
            if not self._watch.away:
                raise
            return self._cache.known_settings(tenant_id)

    async def _stored(self, tenant_id: str, device_id: str) -> ZoneRecord:
        try:
            return (await self._asked(self._cache.known_zone(tenant_id, device_id))).zone
        except StoreUnavailable:
            zone = self._cache.told(tenant_id, all_of_them=True).get(device_id)
            if zone is None or not self._watch.away:
                raise
            return zone

    async def _heard_last(self, tenant_id: str) -> ZoneRecord | None:
        told = self._cache.told(tenant_id)
        try:
            stored = await self._asked(self._zones.heard_last(tenant_id))
        except StoreUnavailable:
            stored, told = None, self._cache.told(tenant_id, all_of_them=True)
            if not (told and self._watch.away):
                raise
        newest = max(told.values(), key=lambda zone: zone.last_seen_ms, default=None)
        if newest is None or (stored is not None and stored.last_seen_ms > newest.last_seen_ms):
            return told.get(stored.device_id, stored) if stored else None
        return newest
