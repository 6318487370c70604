"""SetpointService: an operator sets a zone, or every zone of the tenant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from server.clock import Clock
from server.control.settings import (
    SetpointChange,
    Setpoints,
    changed_tenant,
    changed_zone,
    in_force,
    set_by,
)
from server.control.tries import tries
from server.control.views import SetpointEvent
from server.control.zone_cache import ZoneBusy, ZoneCache
from server.control.zone_service import ZoneService
from server.notices import Notices
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import (
    AlreadyExists,
    DocumentClient,
    StoreUnavailable,
    VersionConflict,
    Write,
)
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.zones_store import Versioned, ZonesStore
from server.services.sse_service.service import SSEService
from server.work import Work

log = logging.getLogger(__name__)

T = TypeVar("T")

TELLINGS_MAX = 5
TOLD_AT_ONCE = 500
# The notice whose name is the tenant's.
SETTINGS_CHANGED = "settings"


class _InForce(NamedTuple):
    """What holds in a zone, and who set it."""

    values: Setpoints
    by: str


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
        notices: Notices,
        clock: Clock,
    ) -> None:
        self._client = client
        self._zones = zones
        self._audit = audit
        self._cache = cache
        self._zone_service = zone_service
        self._work = work
        self._sse = sse
        self._notices = notices
        self._clock = clock
        # One change of a tenant at a time: what is announced last is what is in force.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

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

    def _turn(self, tenant_id: str) -> asyncio.Lock:
        return self._locks.setdefault(tenant_id, asyncio.Lock())

    async def _set_zone(
        self, tenant_id: str, device_id: str, change: SetpointChange, by: str, address: str
    ) -> None:
        async with self._turn(tenant_id), self._cache.locked(tenant_id, device_id) as slot:
            for pause_s in tries(self._clock):
                slot.current = None
                settings = await self._cache.fresh_settings(tenant_id)
                before = await self._cache.known_zone(tenant_id, device_id)
                zone = changed_zone(before.zone, settings, change, by)
                entry = self._audit_entry(tenant_id, device_id, change, by, address)
                write = self._zones.zone_write(zone, before.version)
                try:
                    versions = await self._client.write([write, entry])
                except (VersionConflict, AlreadyExists):
                    await asyncio.sleep(pause_s)
                    continue
                slot.current = Versioned(zone, versions[0])
                await self._announce(tenant_id, device_id, [zone], settings)
                return
        raise ZoneBusy(message=f"device {device_id} is written by too many at once")

    async def _set_tenant(
        self, tenant_id: str, change: SetpointChange, by: str, address: str
    ) -> None:
        async with self._turn(tenant_id):
            # Read before the write: between the commit and its announcement nothing may fail.
            zones = await self._zones_now(tenant_id, None)
            for pause_s in tries(self._clock):
                self._cache.forget_settings(tenant_id)
                before = await self._zones.settings(tenant_id)
                settings = changed_tenant(before.settings, change, by)
                entry = self._audit_entry(tenant_id, None, change, by, address)
                write = self._zones.settings_write(settings, before.version)
                try:
                    await self._client.write([write, entry])
                except (VersionConflict, AlreadyExists):
                    await asyncio.sleep(pause_s)
                    continue
                except StoreUnavailable:
                    self._cache.forget_settings(tenant_id)  # it may have been written
                    raise
                self._cache.keep_settings(tenant_id, settings)
                self._notices.tell(SETTINGS_CHANGED, tenant_id)
                await self._announce(tenant_id, None, zones, settings)
                return
        raise ZoneBusy(message="the settings are written by too many at once")

    async def _announce(
        self,
        tenant_id: str,
        device_id: str | None,
        zones: list[ZoneRecord],
        settings: TenantSettings,
    ) -> None:
        """Tell what is in force in this zone, or with None in all, until that was told last.

        Another process may set a zone after this one did and yet tell it before: whoever tells
        something looks afterwards whether it still holds, so what is told last is true.
        """
        told: dict[str, _InForce] = {}
        for _ in range(TELLINGS_MAX):
            holds = {
                zone.device_id: _InForce(in_force(zone, settings), set_by(zone, settings))
                for zone in zones
            }
            news = {name: now for name, now in holds.items() if told.get(name) != now}
            for some in batched(news.items(), TOLD_AT_ONCE):
                # Begun in this order, and so published in it.
                await asyncio.gather(*(self._tell(tenant_id, name, now) for name, now in some))
            if not news:
                return
            told |= news
            try:
                settings = await self._cache.fresh_settings(tenant_id)
                zones = await self._zones_now(tenant_id, device_id)
            except StoreUnavailable as error:
                log.warning("whether setpoints of %s still hold is not known: %s", tenant_id, error)
                return
        log.warning("setpoints of %s are changed faster than they are told", tenant_id)

    async def _zones_now(self, tenant_id: str, device_id: str | None) -> list[ZoneRecord]:
        if device_id is None:
            return await self._zones.all(tenant_id)
        return [(await self._zones.get(tenant_id, device_id)).zone]

    async def _tell(self, tenant_id: str, device_id: str, now: _InForce) -> None:
        event = SetpointEvent(
            device_id=device_id,
            setpoint_tenths=now.values.setpoint_tenths,
            deadband_tenths=now.values.deadband_tenths,
            updated_by=now.by,
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


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
