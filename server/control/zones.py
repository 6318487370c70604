"""ZoneService: what happens to a reading: load the zone, decide, store both, announce."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from server.control.deciding import Deciding
from server.control.readings import NewReading, announcement_key, stored_reading
from server.control.settings import Setpoints, in_force
from server.control.tries import tries
from server.control.views import (
    Command,
    ZoneStatus,
    heard,
    relays_on,
    switched,
    telemetry_row,
    zone_status,
)
from server.control.zone import Relays, decide
from server.control.zone_cache import Slot, ZoneBusy
from server.errors import Forbidden, Unprocessable
from server.services.firestore.base import (
    AlreadyExists,
    StoreUnavailable,
    VersionConflict,
    Write,
)
from server.services.firestore.models import Reading, ZoneRecord
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.backend import KEY_S

Announcement: TypeAlias = "asyncio.Task[None]"


class ZoneService(Deciding):
    """Zones of all tenants. Decisions are made on stored state, written only over what was read."""

    async def accept(self, tenant_id: str, device_id: str, new: NewReading) -> Command:
        """Decide on a reading, store it, announce it; the command, once the reading is safe.

        Raises StoreUnavailable (nothing is acknowledged), ZoneBusy, Forbidden (too many zones),
        Unprocessable (an idempotency key that came before with another reading).
        """
        return await self._work.finish(self._accept(tenant_id, device_id, new))

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

    async def _accept(self, tenant_id: str, device_id: str, new: NewReading) -> Command:
        command, announcement = await self._decide(tenant_id, device_id, new)
        # Not under the zone's lock: a slow log must not hold up the zone's next reading.
        await announcement
        return command

    async def _decide(
        self, tenant_id: str, device_id: str, new: NewReading
    ) -> tuple[Command, Announcement]:
        async with self._cache.locked(tenant_id, device_id) as slot:
            for pause_s in tries(self._clock):
                try:
                    return await self._decide_and_store(slot, tenant_id, device_id, new)
                except (VersionConflict, AlreadyExists):
                    slot.current = None
                    await asyncio.sleep(pause_s)
                except StoreUnavailable:
                    slot.current = None  # whether it was written is unknown: read it again
                    raise
        raise ZoneBusy(message=f"device {device_id} is written by too many at once")

    async def _decide_and_store(
        self, slot: Slot, tenant_id: str, device_id: str, new: NewReading
    ) -> tuple[Command, Announcement]:
        before = slot.current = slot.current or await self._load(tenant_id, device_id)
        values = in_force(before.zone, await self._cache.settings(tenant_id))
        now_ms, uptime_ms = self._clock.now_ms(), self._clock.uptime_ms()
        doc_ids = new.source_ids(tenant_id, device_id, now_ms)
        earlier = await self._earlier(tenant_id, doc_ids, new, now_ms)
        was = relays_on(before.zone, self._clock.boot, uptime_ms=uptime_ms, now_ms=now_ms)
        if earlier is not None and new.key is not None:
            # Surely this very post: nothing happens, and the answer is what is in force.
            if earlier.source_digest != new.digest():
                raise Unprocessable
            self._metrics.readings_repeated.inc()
            command = await self._in_force(slot, tenant_id, device_id)
            return command, self._announcement(earlier, now_ms=now_ms)
        relays = decide(
            was,
            temp_tenths=new.temp_tenths,
            sensor_ok=new.sensor_ok,
            setpoint_tenths=values.setpoint_tenths,
            deadband_tenths=values.deadband_tenths,
            now_ms=uptime_ms,
        )
        reading = stored_reading(
            new,
            tenant_id=tenant_id,
            device_id=device_id,
            relays=relays,
            setpoint_tenths=values.setpoint_tenths,
            deadband_tenths=values.deadband_tenths,
            now_ms=now_ms,
            keep_days=self._keep_days,
        )
        zone = switched(before.zone, relays, self._clock.boot, uptime_ms=uptime_ms, now_ms=now_ms)
        zone = heard(zone, reading, seen_ms=self._clock.steady_ms())
        if earlier is None:
            await self._store(slot, zone, self._telemetry.creation(doc_ids[0], reading))
            self._metrics.readings_stored.inc()
        else:
            # The same `seq` may also come from a device that was restarted: it is not stored
            # again, but it is obeyed, so that a fault is never taken for an old one.
            await self._store(slot, zone)
            self._metrics.readings_repeated.inc()
        announced = [] if earlier is None else [earlier]
        if earlier is None or (relays.cool, relays.heat) != (was.cool, was.heat):
            announced.append(reading)
        return _command(relays, values), self._announcement(*announced, now_ms=now_ms)

    async def _in_force(self, slot: Slot, tenant_id: str, device_id: str) -> Command:
        """The command as the store has it now: another process may have switched since."""
        slot.current = await self._load(tenant_id, device_id)
        zone = slot.current.zone
        values = in_force(zone, await self._cache.settings(tenant_id))
        return Command(zone.cool, zone.heat, values.setpoint_tenths, values.deadband_tenths)

    async def _earlier(
        self, tenant_id: str, doc_ids: list[str], new: NewReading, now_ms: int
    ) -> Reading | None:
        """The stored reading that `new` repeats, if it does."""
        if not new.may_repeat:
            return None
        found = await self._telemetry.get_many(tenant_id, doc_ids)
        return next((reading for reading in found if new.repeats(reading, now_ms)), None)

    def _announcement(self, *readings: Reading, now_ms: int) -> Announcement:
        """Begin to announce them, still under the zone's lock: a zone's readings are announced in
        their order. A repeated one too, since who stored it may have died before it was told; the
        log knows whether it was."""
        fresh = [one for one in readings if now_ms - one.received_ms < KEY_S * 1000]
        return asyncio.create_task(self._announce(fresh))

    async def _announce(self, readings: list[Reading]) -> None:
        for one in readings:
            await self._sse.publish(
                one.tenant_id,
                "telemetry",
                telemetry_row(one),
                one.device_id,
                announcement_key(one),
            )

    async def _store(self, slot: Slot, zone: ZoneRecord, *more: Write) -> None:
        """Write the zone over what the slot holds, together with `more`."""
        version = slot.current.version if slot.current else None
        versions = await self._client.write([self._zones.zone_write(zone, version), *more])
        slot.current = Versioned(zone, versions[0])

    async def _load(self, tenant_id: str, device_id: str) -> Versioned:
        """The zone from the store. A stranger who makes up device ids must not fill the store."""
        loaded = await self._zones.get(tenant_id, device_id)
        if loaded.version is None and not await self._cache.has_room(tenant_id):
            device = await self._devices.get_device(tenant_id, device_id)
            if device is None:
                raise Forbidden("Too many devices", "DEVICE_LIMIT", "register this device first")
        return loaded


def _command(relays: Relays, values: Setpoints) -> Command:
    return Command(relays.cool, relays.heat, values.setpoint_tenths, values.deadband_tenths)
