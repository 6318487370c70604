"""ZoneService: what is known of the zones: the status of one, and of all."""

from __future__ import annotations

from server.control.settings import in_force
from server.control.views import ZoneStatus, zone_status
from server.control.zone_cache import ZoneCache
from server.services.firestore.models import ZoneRecord
from server.services.firestore.zones_store import ZonesStore


class ZoneService:
    """The zones of all tenants, as they were heard last."""

    def __init__(self, zones: ZonesStore, cache: ZoneCache) -> None:
        self._zones = zones
        self._cache = cache

    async def status(self, tenant_id: str, device_id: str | None) -> ZoneStatus:
        """A zone, or with None the zone heard last. Raises NotFound for an unknown device."""
        settings = await self._cache.fresh_settings(tenant_id)
        if device_id is not None:
            zone = (await self._cache.known_zone(tenant_id, device_id)).zone
        else:
            heard = await self._zones.heard_last(tenant_id)
            zone = heard or ZoneRecord(tenant_id=tenant_id, device_id="")
        return zone_status(zone, in_force(zone, settings))

    async def snapshot(self, tenant_id: str) -> list[ZoneStatus]:
        """Every zone of the tenant, by device id."""
        settings = await self._cache.fresh_settings(tenant_id)
        zones = await self._zones.all(tenant_id)
        return [zone_status(zone, in_force(zone, settings)) for zone in zones]
