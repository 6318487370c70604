"""ZoneCache: zones and tenant settings in memory, and one lock a zone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple

from server.clock import Clock
from server.errors import NotFound, Unavailable
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.zones_store import Versioned, ZonesStore

ZONES_MAX = 20_000
WAITING_FOR_ONE_ZONE_MAX = 200
SETTINGS_S = 2.0
ROOM_S = 5.0


class ZoneBusy(Unavailable):
    """Too many requests for one zone wait for each other."""

    error = "Zone busy"
    code = "ZONE_BUSY"


class Slot:
    """A zone in memory. Its lock makes one decision at a time; its version guards the rest.

    `current` is the zone as the store has it, if that is known. `told` is the zone whose relays its
    device was told last, if any was: it stays while the store is away. The two may differ where
    `apart` counts, by one for each reason: a write without an answer, a switch without the store.
    `joined` is how many of those `current` takes account of. `unstored` says that `told` knows
    more than the store.
    """

    __slots__ = ("apart", "current", "joined", "lock", "told", "unstored", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.current: Versioned | None = None
        self.told: ZoneRecord | None = None
        self.apart = self.joined = 0
        self.unstored = False

    @property
    def is_current(self) -> bool:
        """Whether `current` may be decided on as it is."""
        return self.current is not None and not self.apart

    def keep(self, current: Versioned) -> None:
        """The store has this zone, which was decided on `current` as it was."""
        if self.apart == self.joined:
            self.current, self.told = current, current.zone
            self.apart = self.joined = 0
            self.unstored = False
        else:
            self.current = None  # its device was told something else meanwhile


class _Known(NamedTuple):
    """Settings as they were read last, and until when (monotonic) they may be used."""

    read: TenantSettings | None
    until: float


class ZoneCache:
    """What this process knows of the zones; the store decides when two processes disagree."""

    def __init__(self, zones: ZonesStore, devices: DevicesStore, clock: Clock) -> None:
        self._zones = zones
        self._clock = clock
        self._devices = devices
        self._slots: dict[tuple[str, str], Slot] = {}
        # Whether devices of zones that are not in memory were told to be off; and until when, so
        # that a zone that was not heard since may have been one of them.
        self.told_off, self.doubted_ms = False, 0
        self._settings: dict[str, _Known] = {}
        self._counts: dict[str, tuple[int, float]] = {}
        self._counting: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def locked(
        self,
        tenant_id: str,
        device_id: str,
        wait: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> AsyncIterator[Slot]:
        """The zone's slot, for one caller at a time, which waits for the others in a `wait`.

        Raises ZoneBusy when too many wait, and what a `wait` raises.
        """
        slot = self._slot(tenant_id, device_id)
        if slot.waiting >= WAITING_FOR_ONE_ZONE_MAX:
            raise ZoneBusy(message=f"{slot.waiting} requests for device {device_id} wait already")
        slot.waiting += 1
        try:
            if slot.waiting > 1:
                with wait():
                    await slot.lock.acquire()
            else:
                await slot.lock.acquire()
            try:
                yield slot
            finally:
                slot.lock.release()
        finally:
            slot.waiting -= 1
            self._let_go(tenant_id, device_id, slot)

    @asynccontextmanager
    async def locked_if_free(
        self, tenant_id: str, device_ids: Iterable[str]
    ) -> AsyncIterator[dict[str, Slot]]:
        """The slots of those zones that nobody holds or waits for, for this caller alone.

        It waits for nobody, so that who holds many zones cannot be waited for in a circle.
        """
        slots: dict[str, Slot] = {}
        try:
            for device_id in device_ids:
                slot = self._slot(tenant_id, device_id)
                if not slot.waiting:
                    slot.waiting += 1
                    await slot.lock.acquire()  # free: at once
                    slots[device_id] = slot
            yield slots
        finally:
            for device_id, slot in slots.items():
                slot.waiting -= 1
                slot.lock.release()
                self._let_go(tenant_id, device_id, slot)

    def peek(self, tenant_id: str, device_id: str) -> Slot | None:
        """A zone's slot, if it is in memory."""
        return self._slots.get((tenant_id, device_id))

    def slot_if_room(self, tenant_id: str, device_id: str) -> Slot | None:
        """A zone's slot, made if there is room without forgetting another zone."""
        slot = self.peek(tenant_id, device_id)
        if slot is None and len(self._slots) < ZONES_MAX:
            slot = self._slots[(tenant_id, device_id)] = Slot()
        return slot

    def told_of(self, tenant_id: str, device_id: str) -> ZoneRecord | None:
        """A zone as its device was told last, if memory knows more than the store."""
        slot = self.peek(tenant_id, device_id)
        return slot.told if slot is not None and slot.unstored else None

    def tenants(self) -> set[str]:
        """The tenants of the zones in memory."""
        return {tenant_id for tenant_id, _ in self._slots}

    def items(self) -> list[tuple[tuple[str, str], Slot]]:
        """Tenant and device, and slot, of each zone in memory."""
        return list(self._slots.items())

    def doubted(self) -> list[tuple[str, list[str]]]:
        """By tenant, the zones whose devices were told something, and that were not read since the
        store was away."""
        devices: dict[str, list[str]] = {}
        for (tenant_id, device_id), slot in self._slots.items():
            if slot.told is not None and slot.current is None:
                devices.setdefault(tenant_id, []).append(device_id)
        return list(devices.items())

    def unstored(self) -> list[tuple[str, str]]:
        """Tenant and device of the zones of which memory knows more than the store."""
        return [key for key, slot in self._slots.items() if slot.unstored]

    def told(self, tenant_id: str, *, all_of_them: bool = False) -> dict[str, ZoneRecord]:
        """Zones of a tenant as their devices were told last, by device: those of which memory
        knows more than the store, or all that are in memory."""
        return {
            device_id: slot.told
            for (owner, device_id), slot in self._slots.items()
            if owner == tenant_id and slot.told and (all_of_them or slot.unstored)
        }

    def doubt_all(self) -> None:
        """The store was away: what it has may be older, or newer, than what is remembered."""
        if self.told_off:
            self.doubted_ms, self.told_off = self._clock.steady_ms(), False
        for slot in self._slots.values():
            slot.current = None
            slot.apart += 1

    def _slot(self, tenant_id: str, device_id: str) -> Slot:
        key = (tenant_id, device_id)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        return slot

    def _let_go(self, tenant_id: str, device_id: str, slot: Slot) -> None:
        """Keep no slot of a zone that is none, and make room for one that is: only now, or made-up
        names would push out those that are."""
        if slot.told is None and not slot.waiting:
            self._slots.pop((tenant_id, device_id), None)
        elif len(self._slots) > ZONES_MAX:
            idle = next((key for key, slot in self._slots.items() if _is_idle(slot)), None)
            if idle is not None:
                del self._slots[idle]

    def known_settings(self, tenant_id: str) -> TenantSettings:
        """The tenant's settings as they were read last, however old; without any, the defaults."""
        known = self._settings.get(tenant_id)
        if known is not None and known.read is not None:
            return known.read
        return TenantSettings(tenant_id=tenant_id)

    async def settings(self, tenant_id: str) -> TenantSettings:
        """The tenant's settings, at most SETTINGS_S old: another process may change them too, and
        a write that timed out may still come true."""
        known = self._settings.get(tenant_id)
        if known is not None and known.read and self._clock.monotonic() < known.until:
            return known.read
        return await self.fresh_settings(tenant_id)

    async def fresh_settings(self, tenant_id: str) -> TenantSettings:
        """The tenant's settings as the store has them now."""
        known = self._settings.get(tenant_id)
        read = (await self._zones.settings(tenant_id)).settings
        if self._settings.get(tenant_id) is known:  # else they changed while they were read
            self.keep_settings(tenant_id, read)
        return read

    def keep_settings(self, tenant_id: str, settings: TenantSettings) -> None:
        """Remember settings that were just read or written."""
        self._settings[tenant_id] = _Known(settings, self._clock.monotonic() + SETTINGS_S)

    def forget_settings(self, tenant_id: str) -> None:
        """Somebody changes them: the next reading reads them again, and what is being read now is
        not remembered."""
        known = self._settings.get(tenant_id)
        self._settings[tenant_id] = _Known(known.read if known else None, 0.0)

    async def has_room(self, tenant_id: str) -> bool:
        """Whether the tenant may have one zone more that nobody registered. Counted anew every
        ROOM_S, so that a tenant that is full costs no count for each refused post, and once for
        all who ask meanwhile. Raises StoreUnavailable."""
        if self._clock.monotonic() >= self._counts.get(tenant_id, (0, 0.0))[1]:
            counting = self._counting.get(tenant_id)
            if counting is None:
                counting = self._counting[tenant_id] = asyncio.create_task(self._count(tenant_id))
                counting.add_done_callback(lambda _: self._counting.pop(tenant_id))
            await asyncio.shield(counting)
        count, until = self._counts[tenant_id]
        self._counts[tenant_id] = (count + 1, until)
        return count < ZONES_MAX

    async def _count(self, tenant_id: str) -> None:
        count = await self._zones.count(tenant_id)
        self._counts[tenant_id] = (count, self._clock.monotonic() + ROOM_S)

    async def known_zone(self, tenant_id: str, device_id: str) -> Versioned:
        """A zone that was heard, set or registered, from the store. Raises NotFound."""
        zone = await self._zones.get(tenant_id, device_id)
        if zone.version is None and await self._devices.get_device(tenant_id, device_id) is None:
            raise NotFound("Unknown device", "DEVICE_NOT_FOUND", f"no device {device_id!r} here")
        return zone


def _is_idle(slot: Slot) -> bool:
    return not slot.waiting and not slot.unstored
