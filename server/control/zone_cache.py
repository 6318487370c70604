"""Cache of zones and tenant settings in this process's memory, with one lock per zone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple

from server.common.clock import Clock
from server.common.errors import NotFound, Unavailable
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.zones_store import Versioned, ZonesStore
from server.services.ports.documents import StoreBusy

ZONES_MAX = 20_000
WAITING_FOR_ONE_ZONE_MAX = 200
SETTINGS_S = 2.0
ROOM_S = 5.0
# A store refuses figures beyond a few that wait: the first posts of many new tenants take turns.
COUNTS_AT_ONCE = 4


class ZoneBusy(Unavailable):
    """Too many requests wait for the lock of one zone."""

    error = "Zone busy"
    code = "ZONE_BUSY"


def given_up(what: str, attempts: int, took_s: float) -> Unavailable:
    """The error of a write that was attempted for too long.

    It is ZoneBusy if rivals were first several times. One attempt that took all the time shows a
    slow store: its conflict may come from an earlier write that timed out and took effect.
    """
    if attempts > 1:
        return ZoneBusy(message=f"{what} written by too many at once")
    return StoreBusy(
        message=f"{what} not written within {took_s:.1f} s, because the store answers slowly"
    )


class Slot:
    """One cached zone with the lock under which it is decided on.

    The lock admits one decision at a time in this process; the zone's version guards the write
    against other processes.

    `current` is the zone as the store has it, or None if that is not known. `commanded` is the zone
    as its device was last commanded, or None if it was not; it is kept while the store is
    unreachable. `divergences` counts the reasons why the two may differ: each write without an
    answer adds one, and each switch without the store. `merged` is how many of these reasons
    `current` already accounts for. `unstored` is true while `commanded` holds a command that the
    store does not have.
    """

    __slots__ = ("commanded", "current", "divergences", "lock", "merged", "unstored", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.current: Versioned | None = None
        self.commanded: ZoneRecord | None = None
        self.divergences = self.merged = 0
        self.unstored = False

    @property
    def is_current(self) -> bool:
        """Whether a decision may be based on `current` as it is."""
        return self.current is not None and not self.divergences

    def keep(self, current: Versioned) -> None:
        """Note that the store has this zone, which was decided on the basis of `current`."""
        if self.divergences == self.merged:
            self.current, self.commanded = current, current.zone
            self.divergences = self.merged = 0
            self.unstored = False
        else:
            self.current = None  # another command went out during the write


class _Known(NamedTuple):
    """Settings as last read, and until when (monotonic) they may be used."""

    read: TenantSettings | None
    until: float


class ZoneCache:
    """The zones that this process knows; if two processes disagree, the store decides."""

    def __init__(self, zones: ZonesStore, devices: DevicesStore, clock: Clock) -> None:
        self._zones = zones
        self._clock = clock
        self._devices = devices
        self._slots: dict[tuple[str, str], Slot] = {}
        # When (steady time) devices whose zones are not cached were commanded off last: by the name
        # in their posts, and those whose name is not known or no longer kept.
        self._commanded_off_ms: dict[str, int] = {}
        self._all_commanded_off_ms = 0
        self._settings: dict[str, _Known] = {}
        self._counts: dict[str, tuple[int, float]] = {}
        self._counting: dict[str, asyncio.Task[None]] = {}
        self._counts_at_once = asyncio.Semaphore(COUNTS_AT_ONCE)

    @asynccontextmanager
    async def locked(
        self,
        tenant_id: str,
        device_id: str,
        wait: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> AsyncIterator[Slot]:
        """Lend the zone's slot to one caller at a time; the other callers wait inside `wait()`.

        Raises ZoneBusy when too many callers wait, and any error that `wait` raises.
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
        """Lend the slots of those zones that no other caller holds or waits for.

        It never waits, so two callers that each lock many zones cannot deadlock.
        """
        slots: dict[str, Slot] = {}
        try:
            for device_id in device_ids:
                slot = self._slot(tenant_id, device_id)
                if not slot.waiting:
                    slot.waiting += 1
                    await slot.lock.acquire()  # the lock is free, so this does not wait
                    slots[device_id] = slot
            yield slots
        finally:
            for device_id, slot in slots.items():
                slot.waiting -= 1
                slot.lock.release()
                self._let_go(tenant_id, device_id, slot)

    def peek(self, tenant_id: str, device_id: str) -> Slot | None:
        """The zone's slot, or None if the zone is not cached."""
        return self._slots.get((tenant_id, device_id))

    def slot_if_room(self, tenant_id: str, device_id: str) -> Slot | None:
        """The zone's slot, made if the cache has room for it; None if it has not."""
        slot = self.peek(tenant_id, device_id)
        if slot is None and len(self._slots) < ZONES_MAX:
            slot = self._slots[(tenant_id, device_id)] = Slot()
        return slot

    def commanded_zone(self, tenant_id: str, device_id: str) -> ZoneRecord | None:
        """The zone as its device was last commanded, if the store does not have that command."""
        slot = self.peek(tenant_id, device_id)
        return slot.commanded if slot is not None and slot.unstored else None

    def tenants(self) -> set[str]:
        """The tenants of the cached zones."""
        return {tenant_id for tenant_id, _ in self._slots}

    def items(self) -> list[tuple[tuple[str, str], Slot]]:
        """Each cached zone as ((tenant, device), slot)."""
        return list(self._slots.items())

    def doubted(self) -> list[tuple[str, list[str]]]:
        """By tenant, the commanded zones that were not read again since the store was away."""
        devices: dict[str, list[str]] = {}
        for (tenant_id, device_id), slot in self._slots.items():
            if slot.commanded is not None and slot.current is None:
                devices.setdefault(tenant_id, []).append(device_id)
        return list(devices.items())

    def unstored(self) -> list[tuple[str, str]]:
        """(Tenant, device) of each zone with a command that the store does not have."""
        return [key for key, slot in self._slots.items() if slot.unstored]

    def commanded(self, tenant_id: str, *, all_of_them: bool = False) -> dict[str, ZoneRecord]:
        """A tenant's zones as their devices were last commanded, by device.

        Only zones with a command that the store does not have, or all cached zones with
        `all_of_them`.
        """
        return {
            device_id: slot.commanded
            for (owner, device_id), slot in self._slots.items()
            if owner == tenant_id and slot.commanded and (all_of_them or slot.unstored)
        }

    def commanded_off(self, device_id: str | None) -> None:
        """Note that a device was commanded off whose zone is not cached; None: any device."""
        now_ms = self._clock.steady_ms()
        if device_id is None or len(self._commanded_off_ms) >= ZONES_MAX:
            self._all_commanded_off_ms = now_ms
            self._commanded_off_ms.clear()
        else:
            self._commanded_off_ms[device_id] = now_ms

    def may_be_off(self, read: ZoneRecord, commanded: ZoneRecord | None) -> bool:
        """Whether a device was commanded off since the zone that was read, and the last command.

        Without a command in memory it may also be one of those whose name is not known.
        """
        off_ms = self._commanded_off_ms.get(read.device_id, 0)
        if commanded is None:
            off_ms = max(off_ms, self._all_commanded_off_ms)
        elif commanded.last_seen_ms > off_ms:
            return False
        return bool(off_ms) and read.last_seen_ms <= off_ms

    def doubt_all(self) -> None:
        """Mark every cached zone as possibly older or newer than in the store, which was away."""
        for slot in self._slots.values():
            slot.current = None
            slot.divergences += 1

    def _slot(self, tenant_id: str, device_id: str) -> Slot:
        key = (tenant_id, device_id)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        return slot

    def _let_go(self, tenant_id: str, device_id: str, slot: Slot) -> None:
        """Drop the slot of a device without a zone; drop one idle zone if the cache is too large.

        Zones are dropped only here, when it is known whether the device has a zone: otherwise
        requests with invented device ids would push out real zones.
        """
        if slot.commanded is None and not slot.waiting:
            self._slots.pop((tenant_id, device_id), None)
        elif len(self._slots) > ZONES_MAX:
            idle = next((key for key, slot in self._slots.items() if _is_idle(slot)), None)
            if idle is not None:
                del self._slots[idle]

    def known_settings(self, tenant_id: str) -> TenantSettings:
        """The tenant's settings as last read, however old; the defaults if they were never read."""
        known = self._settings.get(tenant_id)
        if known is not None and known.read is not None:
            return known.read
        return TenantSettings(tenant_id=tenant_id)

    async def settings(self, tenant_id: str) -> TenantSettings:
        """The tenant's settings, at most SETTINGS_S old.

        They expire because another process may change them, and a write that timed out may still
        succeed.
        """
        known = self._settings.get(tenant_id)
        if known is not None and known.read and self._clock.monotonic() < known.until:
            return known.read
        return await self.fresh_settings(tenant_id)

    async def fresh_settings(self, tenant_id: str) -> TenantSettings:
        """Read the tenant's settings from the store."""
        known = self._settings.get(tenant_id)
        read = (await self._zones.settings(tenant_id)).settings
        if self._settings.get(tenant_id) is known:  # unchanged during the read
            self.keep_settings(tenant_id, read)
        return read

    def keep_settings(self, tenant_id: str, settings: TenantSettings) -> None:
        """Cache settings that were just read or written."""
        self._settings[tenant_id] = _Known(settings, self._clock.monotonic() + SETTINGS_S)

    def forget_settings(self, tenant_id: str) -> None:
        """Expire the tenant's settings because they are being changed.

        The next reading reads them from the store; a read that is already running is not cached.
        """
        known = self._settings.get(tenant_id)
        self._settings[tenant_id] = _Known(known.read if known else None, 0.0)

    async def has_room(self, tenant_id: str) -> bool:
        """Whether the tenant may have one more unregistered zone. Raises StoreUnavailable.

        The zones are counted once every ROOM_S, and callers that ask during a count share it: a
        full tenant does not cost one count for each refused post.
        """
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
        async with self._counts_at_once:
            count = await self._zones.count(tenant_id)
        self._counts[tenant_id] = (count, self._clock.monotonic() + ROOM_S)

    async def known_zone(self, tenant_id: str, device_id: str) -> Versioned:
        """Read a zone that has posted, was set or is registered. Raises NotFound."""
        zone = await self._zones.get(tenant_id, device_id)
        if zone.version is None and await self._devices.get_device(tenant_id, device_id) is None:
            raise NotFound("Unknown device", "DEVICE_NOT_FOUND", f"no device {device_id!r} here")
        return zone


def _is_idle(slot: Slot) -> bool:
    return not slot.waiting and not slot.unstored
