"""SetpointService: an operator sets a zone, or every zone of the tenant."""

from __future__ import annotations

import asyncio

from server.clock import Clock
from server.control.settings import (
    SetpointChange,
    Setpoints,
    changed_tenant,
    changed_zone,
    in_force,
)
from server.control.views import SetpointEvent
from server.control.zone_cache import ZoneBusy, ZoneCache
from server.control.zones import ATTEMPTS, ZoneService
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import (
    AlreadyExists,
    DocumentClient,
    StoreUnavailable,
    VersionConflict,
    Write,
)
from server.services.firestore.zones_store import Versioned, VersionedSettings, ZonesStore
from server.services.sse_service.service import SSEService
from server.work import Work


class SetpointService:
    """Changes of setpoint and deadband: stored with their audit entry, then announced."""

    def __init__(
        self,
        *,
        client: DocumentClient,
        zones: ZonesStore,
        audit: AuditStore,
        cache: ZoneCache,
        zone_service: ZoneService,
        work: Work,
        sse: SSEService,
        clock: Clock,
    ) -> None:
        self._client = client
        self._zones = zones
        self._audit = audit
        self._cache = cache
        self._zone_service = zone_service
        self._work = work
        self._sse = sse
        self._clock = clock
        # One change at a time: what is announced last is what is in force.
        self._lock = asyncio.Lock()

    async def set(
        self, tenant_id: str, device_id: str | None, change: SetpointChange, by: str, address: str
    ) -> Setpoints:
        """Set one zone, or with None every zone of the tenant and the default for new ones.

        The values in force afterwards: of that zone, or of the zone heard last. Raises
        InvalidField, NotFound for an unknown device, ZoneBusy: nothing is changed then.
        """
        change.check()
        if change:
            work = (
                self._set_tenant(tenant_id, change, by, address)
                if device_id is None
                else self._set_zone(tenant_id, device_id, change, by, address)
            )
            await self._work.finish(work)
        status = await self._zone_service.status(tenant_id, device_id)
        return Setpoints(status.setpoint_tenths, status.deadband_tenths)

    async def _set_zone(
        self, tenant_id: str, device_id: str, change: SetpointChange, by: str, address: str
    ) -> None:
        async with self._lock, self._cache.locked(tenant_id, device_id) as slot:
            for _ in range(ATTEMPTS):
                slot.current = None
                before = await self._cache.known_zone(tenant_id, device_id)
                settings = await self._cache.settings(tenant_id)
                zone = changed_zone(before.zone, settings, change)
                entry = self._audit_entry(tenant_id, device_id, change, by, address)
                write = self._zones.zone_write(zone, before.version)
                try:
                    versions = await self._client.write([write, entry])
                except (VersionConflict, AlreadyExists):
                    continue
                slot.current = Versioned(zone, versions[0])
                await self._announce(tenant_id, device_id, in_force(zone, settings), by)
                return
        raise ZoneBusy(message=f"device {device_id} is written by too many at once")

    async def _set_tenant(
        self, tenant_id: str, change: SetpointChange, by: str, address: str
    ) -> None:
        async with self._lock:
            # Read before the write: between the commit and its announcement nothing may fail.
            zones = await self._zones.all(tenant_id)
            for _ in range(ATTEMPTS):
                self._cache.keep_settings(tenant_id, None)
                before = await self._zones.settings(tenant_id)
                settings = changed_tenant(before.settings, change)
                entry = self._audit_entry(tenant_id, None, change, by, address)
                write = self._zones.settings_write(settings, before.version)
                try:
                    versions = await self._client.write([write, entry])
                except (VersionConflict, AlreadyExists):
                    continue
                except StoreUnavailable:
                    self._cache.keep_settings(tenant_id, None)  # it may have been written
                    raise
                self._cache.keep_settings(tenant_id, VersionedSettings(settings, versions[0]))
                break
            else:
                raise ZoneBusy(message="the settings are written by too many at once")
            for zone in zones:
                await self._announce(tenant_id, zone.device_id, in_force(zone, settings), by)

    async def _announce(self, tenant_id: str, device_id: str, values: Setpoints, by: str) -> None:
        event = SetpointEvent(
            device_id=device_id,
            setpoint_tenths=values.setpoint_tenths,
            deadband_tenths=values.deadband_tenths,
            updated_by=by,
            timestamp=self._clock.now_ms(),
        )
        await self._sse.publish(tenant_id, "setpoint", event, device_id)

    def _audit_entry(
        self, tenant_id: str, device_id: str | None, change: SetpointChange, by: str, address: str
    ) -> Write:
        return self._audit.entry(
            "SETPOINT_CHANGE",
            tenant_id=tenant_id,
            username=by,
            address=address,
            details={
                "device_id": device_id,
                "setpoint_tenths": change.setpoint_tenths,
                "deadband_tenths": change.deadband_tenths,
            },
        )
