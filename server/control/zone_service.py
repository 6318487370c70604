"""Answers what is known of the zones: the status of one, and a snapshot of all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from typing import TypeVar

from server.common.clock import Clock
from server.common.errors import NotFound
from server.control.messages import ZoneStatus, zone_status
from server.control.rules.held import held
from server.control.rules.setpoint_rules import in_force
from server.control.rules.silence import Listening
from server.control.rules.trust_state import silenced
from server.control.rules.zone_record import moment_of
from server.control.zone_cache import ZoneCache
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.store_watch import StoreWatch
from server.services.firestore.zones_store import ZonesStore
from server.services.ports.documents import StoreUnavailable

# While the store is marked as away it is still asked, for this long: it may be readable.
AWAY_READ_S = 0.25

# Zones that are looked at in one go, about a millisecond; then other work has its turn.
AT_ONCE = 250

T = TypeVar("T")


class ZoneService:
    """The last known state of all tenants' zones.

    While the store is away, and until it has the commands of the outage, the cache is newer.
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
        """One zone's status, or with None that of the zone seen last.

        Raises NotFound for an unknown device, and StoreUnavailable if the cache does not have it
        either.
        """
        settings = await self._settings(tenant_id)
        zone = await self._seen_last(tenant_id) if device_id is None else None
        if device_id is not None:
            zone = self._cache.commanded_zone(tenant_id, device_id)
        if device_id is not None and zone is None:
            zone = await self._stored(tenant_id, device_id)
        return self._shown(zone or ZoneRecord(tenant_id=tenant_id, device_id=""), settings)

    async def status_of_last(self, tenant_id: str, among: Collection[str]) -> ZoneStatus:
        """The status of the zone seen last of these; of none, if none of them was seen.

        Raises StoreUnavailable.
        """
        settings = await self._settings(tenant_id)
        found = []
        for device_id in among:
            try:
                known = self._cache.commanded_zone(tenant_id, device_id)
                found.append(known or await self._stored(tenant_id, device_id))
            except NotFound:
                continue
        newest = max(found, key=lambda zone: zone.last_seen_ms, default=None)
        return self._shown(newest or ZoneRecord(tenant_id=tenant_id, device_id=""), settings)

    async def snapshot(self, tenant_id: str) -> list[ZoneStatus]:
        """The status of every zone of the tenant, by device id."""
        settings = await self._settings(tenant_id)
        zones = await self._of_tenant(tenant_id)
        return [self._shown(zones[name], settings) for name in sorted(zones)]

    async def last_seen(self, tenant_id: str) -> dict[str, int]:
        """When each device of the tenant posted last (Unix ms), for all that have a zone."""
        zones = await self._of_tenant(tenant_id)
        return {name: zone.last_seen_ms for name, zone in zones.items() if zone.last_seen_ms}

    async def _of_tenant(self, tenant_id: str) -> dict[str, ZoneRecord]:
        try:
            stored = await self._read(self._zones.all(tenant_id))
            zones = {zone.device_id: zone for zone in stored}
        except StoreUnavailable:
            if not self._watch.away:
                raise
            zones = self._cache.commanded(tenant_id, all_of_them=True)
        return zones | self._cache.commanded(tenant_id)

    async def of_all_tenants(self) -> dict[str, list[ZoneStatus]]:
        """The status of every zone by tenant and device id; other work runs in between."""
        zones: dict[str, dict[str, ZoneRecord]] = {}
        try:
            for zone in await self._read(self._stored_everywhere()):
                zones.setdefault(zone.tenant_id, {})[zone.device_id] = zone
        except StoreUnavailable:
            if not self._watch.away:
                raise
            for tenant_id in self._cache.tenants():
                zones[tenant_id] = self._cache.commanded(tenant_id, all_of_them=True)
        shown: dict[str, list[ZoneStatus]] = {}
        for tenant_id in sorted(zones):
            settings = await self._settings(tenant_id)
            found = zones[tenant_id] | self._cache.commanded(tenant_id)
            of_tenant = shown[tenant_id] = []
            for number, name in enumerate(sorted(found), 1):
                of_tenant.append(self._shown(found[name], settings))
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
        return shown

    async def _stored_everywhere(self) -> list[ZoneRecord]:
        return [zone async for zone in self._zones.of_all_tenants()]

    def _shown(self, zone: ZoneRecord, settings: TenantSettings) -> ZoneStatus:
        """A zone's status now: it may be silent before the zone watch has noticed."""
        moment, values = moment_of(self._clock), in_force(zone, settings)
        zone = silenced(zone, moment.steady_ms, moment.now_ms, self._listening)
        why = held(zone, values, moment, store_away=self._watch.away)
        return zone_status(zone, values, moment.now_ms, why)

    async def _read(self, read: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(AWAY_READ_S if self._watch.away else None):
                return await read
        except TimeoutError:
            raise StoreUnavailable(message="no answer in time") from None

    async def _settings(self, tenant_id: str) -> TenantSettings:
        try:
            return await self._read(self._cache.fresh_settings(tenant_id))
        except StoreUnavailable:
            if not self._watch.away:
                raise
            return self._cache.known_settings(tenant_id)

    async def _stored(self, tenant_id: str, device_id: str) -> ZoneRecord:
        try:
            return (await self._read(self._cache.known_zone(tenant_id, device_id))).zone
        except StoreUnavailable:
            zone = self._cache.commanded(tenant_id, all_of_them=True).get(device_id)
            if zone is None or not self._watch.away:
                raise
            return zone

    async def _seen_last(self, tenant_id: str) -> ZoneRecord | None:
        commanded = self._cache.commanded(tenant_id)
        try:
            stored = await self._read(self._zones.last_seen(tenant_id))
        except StoreUnavailable:
            stored, commanded = None, self._cache.commanded(tenant_id, all_of_them=True)
            if not (commanded and self._watch.away):
                raise
        newest = max(commanded.values(), key=lambda zone: zone.last_seen_ms, default=None)
        if newest is None or (stored is not None and stored.last_seen_ms > newest.last_seen_ms):
            return commanded.get(stored.device_id, stored) if stored else None
        return newest
