"""Deletes zones with their settings and, if asked for, their readings; audited and announced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import NamedTuple

from server.common.clock import Clock
from server.common.errors import NotFound
from server.common.retries import tries
from server.common.shielded_tasks import ShieldedTasks
from server.control.messages import DeletedEvent
from server.control.zone_cache import ZoneCache, given_up
from server.services.firestore.base import document_id
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import ZONES, Versioned
from server.services.ports.documents import Delete, VersionConflict, Write
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

# A caller waits for the deletion of readings this long, and then asks for the rest.
HISTORY_S = 20.0


class Removed(NamedTuple):
    """What was deleted: the zone as it was commanded last (None: there was none), and readings.

    `history_left`: the time was too short for all readings, the same call deletes more.
    """

    zone: ZoneRecord | None
    readings: int = 0
    history_left: bool = False


class ZoneRemoval:
    """Deletes zones of one tenant. Each device keeps its registration and its keys.

    Nobody writes the old record back: a process that has it in memory finds its version gone, and
    begins a new zone whose relays are as it commanded them last.
    """

    def __init__(
        self, stores: Stores, cache: ZoneCache, sse: SSEService, work: ShieldedTasks, clock: Clock
    ) -> None:
        self._stores = stores
        self._cache = cache
        self._sse = sse
        self._work = work
        self._clock = clock

    async def remove(
        self, tenant_id: str, device_id: str, by: str, address: str, *, history: bool
    ) -> Removed:
        """Delete a zone and its settings, with `history` its readings too.

        Raises NotFound for an unknown device, and ZoneBusy.
        """
        work = self._remove(tenant_id, device_id, by, address, history)
        zone = await self._work.finish(work)
        if not history:
            return Removed(zone)
        deadline = self._clock.monotonic() + HISTORY_S
        steps = self._stores.telemetry.history.delete_readings_of(tenant_id, device_id)
        return await self._delete_until(deadline, steps, zone)

    async def _delete_until(
        self, deadline: float, steps: AsyncIterator[int], zone: ZoneRecord | None
    ) -> Removed:
        deleted = 0
        async for count in steps:
            deleted += count
            if self._clock.monotonic() >= deadline:
                return Removed(zone, deleted, history_left=True)
        return Removed(zone, deleted)

    async def _remove(
        self, tenant_id: str, device_id: str, by: str, address: str, history: bool
    ) -> ZoneRecord | None:
        began_s, attempts = self._clock.monotonic(), 0
        async with self._cache.locked(tenant_id, device_id) as slot:
            for pause_s in tries(self._clock):
                attempts += 1
                record = await self._stores.zones.get(tenant_id, device_id)
                await self._check_known(record, history)
                zone = None if record.version is None else record.zone
                if slot.unstored and slot.commanded is not None:
                    zone = slot.commanded
                entry = self._stores.audit.entry(
                    "ZONE_DELETED",
                    tenant_id=tenant_id,
                    username=by,
                    address=address,
                    details={"device_id": device_id, "history": history},
                )
                try:
                    await self._stores.client.write([*self._writes(record), entry])
                except VersionConflict:
                    await asyncio.sleep(pause_s)
                    continue
                slot.current, slot.unstored = None, False
                log.info(
                    "zone %r of tenant %r was deleted by %r from %s, its readings %s",
                    *(device_id, tenant_id, by, address, "too" if history else "stay"),
                )
                event = DeletedEvent(device_id=device_id, timestamp=self._clock.now_ms())
                await self._sse.publish(tenant_id, "deleted", event, device_id)
                return zone
        raise given_up(f"zone {device_id} was", attempts, self._clock.monotonic() - began_s)

    def _writes(self, record: Versioned) -> list[Write]:
        tenant_id, device_id = record.zone.tenant_id, record.zone.device_id
        writes: list[Write] = [self._stores.zone_settings.deletion(tenant_id, device_id)]
        if record.version is not None:
            doc_id = document_id(tenant_id, device_id)
            writes.append(Delete(ZONES, doc_id, if_version=record.version))
        return writes

    async def _check_known(self, record: Versioned, history: bool) -> None:
        """Raise NotFound if there is nothing of the zone that could be deleted."""
        tenant_id, device_id = record.zone.tenant_id, record.zone.device_id
        if record.version is not None:
            return
        settings = await self._stores.zone_settings.get(tenant_id, device_id)
        if settings.document is not None:
            return
        if history:
            page = await self._stores.telemetry.history.page(tenant_id, device_id, 1)
            if page.readings:
                return
        if await self._stores.devices.get_device(tenant_id, device_id) is None:
            raise NotFound("Unknown device", "DEVICE_NOT_FOUND", f"no device {device_id!r} here")
