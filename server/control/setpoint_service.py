"""Lets an operator set the setpoint and deadband of one zone or of all the tenant's zones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from server.common.clock import Clock
from server.common.keyed_locks import KeyedLocks
from server.common.retries import tries
from server.common.shielded_tasks import ShieldedTasks
from server.control.messages import SetpointEvent
from server.control.rules.setpoint_rules import (
    SetpointChange,
    Setpoints,
    changed_tenant,
    changed_zone,
    in_force,
    set_by,
)
from server.control.zone_cache import ZoneCache, given_up
from server.control.zone_service import ZoneService
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.zones_store import Versioned, ZonesStore
from server.services.ports.documents import (
    AlreadyExists,
    DocumentClient,
    StoreUnavailable,
    VersionConflict,
    Write,
)
from server.services.site.ports import Notices
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

T = TypeVar("T")

ANNOUNCEMENTS_MAX = 5
PUBLISHED_AT_ONCE = 500
# Topic of the notices that a tenant's settings changed; their name is the tenant.
SETTINGS_CHANGED = "settings"
# Zones whose old values an audit entry lists: about 10 KB.
OLD_VALUES_MAX = 100


class _InForce(NamedTuple):
    """The values in force in a zone, and who set them."""

    values: Setpoints
    by: str


class SetpointService:
    """Changes setpoints and deadbands: stores them with an audit entry, then announces them."""

    def __init__(
        self,
        *,
        client: DocumentClient,
        zones: ZonesStore,
        audit: AuditStore,
        cache: ZoneCache,
        zone_service: ZoneService,
        work: ShieldedTasks,
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
        # One change per tenant at a time: the last announced value is the one in force.
        self._locks = KeyedLocks()

    async def set(
        self, tenant_id: str, device_id: str | None, change: SetpointChange, by: str, address: str
    ) -> Setpoints:
        """Set one zone, or with None every zone of the tenant and the default for new ones.

        Returns the values in force afterwards: of that zone, or of the zone seen last. Raises
        InvalidField, NotFound for an unknown device, and ZoneBusy; nothing is changed then.
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
        async with self._locks.hold(tenant_id), self._cache.locked(tenant_id, device_id) as slot:
            began_s, attempts = self._clock.monotonic(), 0
            for pause_s in tries(self._clock):
                attempts += 1
                slot.current = None
                settings = await self._cache.fresh_settings(tenant_id)
                before = await self._cache.known_zone(tenant_id, device_id)
                zone = changed_zone(before.zone, settings, change, by)
                old = in_force(before.zone, settings)
                entry = self._audit_entry(tenant_id, device_id, change, by, address, old)
                write = self._zones.zone_write(zone, before.version)
                try:
                    versions = await self._client.write([write, entry])
                except (VersionConflict, AlreadyExists):
                    await asyncio.sleep(pause_s)
                    continue
                slot.current = Versioned(zone, versions[0])
                _log_change(tenant_id, device_id, change, old, by, address)
                await self._announce(tenant_id, device_id, [zone], settings)
                return
        took_s = self._clock.monotonic() - began_s
        raise given_up(f"device {device_id} was", attempts, took_s)

    async def _set_tenant(
        self, tenant_id: str, change: SetpointChange, by: str, address: str
    ) -> None:
        async with self._locks.hold(tenant_id):
            # The zones are read before the write: after the commit, nothing may fail before the
            # announcement.
            zones = await self._zones_now(tenant_id, None)
            began_s, attempts = self._clock.monotonic(), 0
            for pause_s in tries(self._clock):
                attempts += 1
                self._cache.forget_settings(tenant_id)
                before = await self._zones.settings(tenant_id)
                settings = changed_tenant(before.settings, change, by)
                old = in_force(ZoneRecord(tenant_id=tenant_id, device_id="-"), before.settings)
                others = _others(zones, before.settings, old)
                entry = self._audit_entry(tenant_id, None, change, by, address, old, others)
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
                _log_change(tenant_id, None, change, old, by, address)
                self._notices.publish(SETTINGS_CHANGED, tenant_id)
                await self._announce(tenant_id, None, zones, settings)
                return
            took_s = self._clock.monotonic() - began_s
            raise given_up("the settings were", attempts, took_s)

    async def _announce(
        self,
        tenant_id: str,
        device_id: str | None,
        zones: list[ZoneRecord],
        settings: TenantSettings,
    ) -> None:
        """Publish the values in force in this zone, or with None in all, until they stay the same.

        Another process may set a zone after this one and publish it earlier. Each process therefore
        reads the values again after it publishes, so that the last event is true.
        """
        announced: dict[str, _InForce] = {}
        for _ in range(ANNOUNCEMENTS_MAX):
            current = {
                zone.device_id: _InForce(in_force(zone, settings), set_by(zone, settings))
                for zone in zones
            }
            changes = {name: now for name, now in current.items() if announced.get(name) != now}
            for some in batched(changes.items(), PUBLISHED_AT_ONCE):
                # Tasks start in this order, and so they publish in it.
                await asyncio.gather(*(self._publish(tenant_id, name, now) for name, now in some))
            if not changes:
                return
            announced |= changes
            try:
                settings = await self._cache.fresh_settings(tenant_id)
                zones = await self._zones_now(tenant_id, device_id)
            except StoreUnavailable as error:
                log.warning(
                    "tenant %s: setpoints could not be read back after a change, so open "
                    "dashboards may show an older value until they reload: %s",
                    tenant_id,
                    error,
                )
                return
        log.warning(
            "tenant %s: setpoints change faster than they can be announced, so open "
            "dashboards may show an older value until they reload",
            tenant_id,
        )

    async def _zones_now(self, tenant_id: str, device_id: str | None) -> list[ZoneRecord]:
        if device_id is None:
            return await self._zones.all(tenant_id)
        return [(await self._zones.get(tenant_id, device_id)).zone]

    async def _publish(self, tenant_id: str, device_id: str, now: _InForce) -> None:
        event = SetpointEvent(
            device_id=device_id,
            setpoint_tenths=now.values.setpoint_tenths,
            deadband_tenths=now.values.deadband_tenths,
            updated_by=now.by,
            timestamp=self._clock.now_ms(),
        )
        await self._sse.publish(tenant_id, "setpoint", event, device_id)

    def _audit_entry(
        self,
        tenant_id: str,
        device_id: str | None,
        change: SetpointChange,
        by: str,
        address: str,
        old: Setpoints,
        others: list[dict[str, Any]] | None = None,
    ) -> Write:
        """The entry of a change; `others` are the zones that had other values than `old`."""
        details: dict[str, Any] = {
            "device_id": device_id,
            "setpoint_tenths": change.setpoint_tenths,
            "deadband_tenths": change.deadband_tenths,
            "old_setpoint_tenths": old.setpoint_tenths,
            "old_deadband_tenths": old.deadband_tenths,
        }
        if others:
            details["old_of_zones"] = others[:OLD_VALUES_MAX]
        if others and len(others) > OLD_VALUES_MAX:
            details["more_zones"] = len(others) - OLD_VALUES_MAX
        return self._audit.entry(
            "SETPOINT_CHANGE", tenant_id=tenant_id, username=by, address=address, details=details
        )


def _log_change(
    tenant_id: str,
    device_id: str | None,
    change: SetpointChange,
    old: Setpoints,
    by: str,
    address: str,
) -> None:
    whose = f"zone {device_id!r}" if device_id is not None else "all zones"
    log.info(
        "%s of tenant %r: setpoint %s (before: %s), deadband %s (before: %s), set by %r from %s",
        whose,
        tenant_id,
        _shown(change.setpoint_tenths),
        _shown(old.setpoint_tenths),
        _shown(change.deadband_tenths),
        _shown(old.deadband_tenths),
        by,
        address,
    )


def _shown(tenths: int | None) -> str:
    return "unchanged" if tenths is None else f"{tenths / 10:.1f} °C"


def _others(
    zones: Iterable[ZoneRecord], settings: TenantSettings, old: Setpoints
) -> list[dict[str, Any]]:
    """The zones whose values were not those of the tenant, with the values that they had."""
    values = ((zone.device_id, in_force(zone, settings)) for zone in zones)
    return [
        {
            "device_id": device_id,
            "setpoint_tenths": own.setpoint_tenths,
            "deadband_tenths": own.deadband_tenths,
        }
        for device_id, own in values
        if own != old
    ]


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split the items into lists of at most `size`."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
