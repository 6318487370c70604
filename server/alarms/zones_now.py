"""ZonesNow: the names of zones and what their relays do, for a notice that is sent now."""

from __future__ import annotations

from collections.abc import Iterable

from server.alarms.targets.message import ZoneNow
from server.services.firestore.base import document_id, in_parts
from server.services.firestore.zones_store import ZonesStore
from server.services.ports.documents import DocumentClient, StoreUnavailable

NAMES = "zone_settings"
# A message shows fewer notices than this; the rest are only counted.
SHOWN_MAX = 500


class ZonesNow:
    """Reads them from the stores; what cannot be read is left out, as a notice must not wait."""

    def __init__(self, client: DocumentClient, zones: ZonesStore) -> None:
        self._client = client
        self._zones = zones

    async def read(self, tenant_id: str, device_ids: Iterable[str]) -> dict[str, ZoneNow]:
        """At most SHOWN_MAX of these zones, by device id."""
        wanted = sorted(set(device_ids) - {""})[:SHOWN_MAX]
        found: dict[str, ZoneNow] = {}
        try:
            for some in in_parts(wanted):
                found |= await self._read(tenant_id, list(some))
        except StoreUnavailable:
            pass
        return found

    async def _read(self, tenant_id: str, device_ids: list[str]) -> dict[str, ZoneNow]:
        ids = {device_id: document_id(tenant_id, device_id) for device_id in device_ids}
        named = await self._client.get_many(NAMES, list(ids.values()))
        zones = await self._zones.get_many(tenant_id, device_ids)
        found = {}
        for device_id, versioned in zones.items():
            settings = named.get(ids[device_id])
            fields = settings.fields if settings else {}
            zone = versioned.zone
            found[device_id] = ZoneNow(
                name=str(fields.get("name") or ""),
                location=str(fields.get("location") or ""),
                cool=zone.cool,
                heat=zone.heat,
                relays_known=zone.relays_known and versioned.version is not None,
            )
        return found
