"""Takes readings in: loads their zones, decides, stores both and announces them.

A post of one reading is a batch of one. A zone is decided on once per write, and zones share a
write.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from server.common.clock import Clock
from server.common.errors import BasError, Unavailable
from server.common.retries import tries
from server.common.shielded_tasks import ShieldedTasks
from server.control.batch import Batch, Newcomers, all_may, bundles, each, rounds
from server.control.messages import Command
from server.control.outage.without_store import WithoutStore
from server.control.rules.decision import PostedRow, Share
from server.control.rules.present import oldest_first
from server.control.rules.reading import NewReading
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache, given_up
from server.control.zone_writer import ZoneWriter
from server.services.firestore.store_watch import WAIT_S, StoreWatch, Waiting
from server.services.ports.documents import (
    AlreadyExists,
    StoreBusy,
    StoreUnavailable,
    VersionConflict,
)

WRITES_AT_ONCE = 4
# Zones that another caller holds or writes are stored one by one, this many at a time.
ALONE_AT_ONCE = 16
# After this time no further write of a batch starts: the caller sends the remaining rows again.
BEGIN_S = 3.0
# The longest wait for a zone that another caller holds: the firmware gives up after 5 s.
LOCK_WAIT_S = 2.0


class BatchResult(NamedTuple):
    """The command for each device after its last reading, and the error of each refused row."""

    commands: dict[str, Command]
    errors: dict[int, BasError]


class BatchService:
    """Accepts readings of all tenants.

    Decisions are made on stored state, and written only if that state is unchanged.
    """

    def __init__(
        self,
        writer: ZoneWriter,
        cache: ZoneCache,
        work: ShieldedTasks,
        watch: StoreWatch,
        without_store: WithoutStore,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._cache = cache
        self._work = work
        self._watch = watch
        self._without_store = without_store
        self._clock = clock

    async def accept_one(
        self,
        tenant_id: str,
        device_id: str,
        new: NewReading,
        wait_s: float = WAIT_S,
        newcomers: Newcomers = all_may,
    ) -> Command:
        """Decide on one reading, store it and announce it; return the command once it is stored.

        If the reading is not stored, or the store takes longer than `wait_s`, the command has
        `stored` false and comes from the cache.

        Raises Unavailable, with the command, if a reading with a key is not stored; Forbidden (too
        many zones), or what `newcomers` says, for a new zone; Unprocessable (the key was used for
        another reading).
        """
        accepted = self._accept_one(tenant_id, device_id, new, wait_s, newcomers)
        return await self._work.finish(accepted)

    @property
    def checks_keys(self) -> bool:
        """Whether `accept_keyless` may be called."""
        return self._writer.can_demand

    async def accept_keyless(
        self,
        tenant_id: str,
        device_id: str,
        new: NewReading,
        wait_s: float = WAIT_S,
        newcomers: Newcomers = all_may,
    ) -> Command:
        """As `accept_one`, if the device has no key: the store checks that in the same write.

        The reading must be one that cannot be a repeat: a repeat would not be written. Raises
        DemandUnmet if the device has a key, Unavailable if the reading is not known to be stored,
        and Forbidden (too many zones), or what `newcomers` says, for a new zone.
        """
        demand = self._writer.without_key(tenant_id, device_id)
        batch = Batch(math.inf, wait_s, newcomers, demand)
        await self._work.finish(self._store_one(tenant_id, device_id, new, batch))
        if batch.errors:
            raise copy(batch.errors[0])  # each raising makes the traceback of an error longer
        return batch.commands[device_id]

    def unstored(self, tenant_id: str, device_id: str, new: NewReading) -> Command:
        """The command, from the cache, for a reading without a key that cannot be stored."""
        return self._without_store.answer(tenant_id, device_id, (PostedRow(0, new),))

    async def accept(
        self,
        tenant_id: str,
        devices: Mapping[str, Sequence[PostedRow]],
        newcomers: Newcomers = all_may,
    ) -> BatchResult:
        """Decide on each device's readings, store and announce them, oldest first.

        A row without an error is stored. If one row of a device cannot be stored, its later rows
        are not stored either, so that the order is kept.
        """
        return await self._work.finish(self._accept(tenant_id, devices, newcomers))

    async def _accept_one(
        self,
        tenant_id: str,
        device_id: str,
        new: NewReading,
        wait_s: float,
        newcomers: Newcomers,
    ) -> Command:
        batch = Batch(math.inf, wait_s, newcomers)
        await self._store_one(tenant_id, device_id, new, batch)
        if not batch.errors:
            return batch.commands[device_id]
        error = batch.errors[0]
        if not isinstance(error, Unavailable):
            raise error
        command = self.unstored(tenant_id, device_id, new)
        if new.key is not None:
            raise error.with_more(command)
        return command

    async def _store_one(
        self, tenant_id: str, device_id: str, new: NewReading, batch: Batch
    ) -> None:
        """Store one reading and announce it; `batch` gets the command or the error."""
        row = PostedRow(0, new)
        await self._store_alone(tenant_id, Share(device_id, (row,), new, last=True), batch)
        # Outside the zone's lock: a slow event log must not delay the zone's next reading.
        for announcement in batch.announcements:
            await announcement

    async def answer_lost(self, tenant_id: str, device_id: str) -> None:
        """Note that the device did not receive the answer to its last post.

        If that answer switched the cooler, the relays are unknown, and the cooler's minimum time
        starts at the next answer.
        """
        await self._work.finish(self._answer_lost(tenant_id, device_id))

    async def _answer_lost(self, tenant_id: str, device_id: str) -> None:
        try:
            async with self._cache.locked(tenant_id, device_id, self._lock_wait) as slot:
                await self._writer.answer_lost(slot)
        except (VersionConflict, ZoneBusy):
            return  # the device has posted again
        except StoreUnavailable as error:
            if not isinstance(error, StoreBusy):
                self._watch.lose(error)

    async def turn(self) -> None:
        """Wait until the batches before this one are done; callers do so before they read one."""
        await self._writer.turn()

    async def _accept(
        self,
        tenant_id: str,
        devices: Mapping[str, Sequence[PostedRow]],
        newcomers: Newcomers,
    ) -> BatchResult:
        batch = Batch(self._clock.monotonic() + BEGIN_S, newcomers=newcomers)
        now_ms = self._clock.now_ms()
        ordered = {name: oldest_first(rows, now_ms) for name, rows in devices.items()}
        for shares in rounds(ordered, now_ms):
            going = [share for share in shares if share.device_id not in batch.failed]
            for share in shares:
                if share.device_id in batch.failed:
                    batch.refuse(share, batch.failed[share.device_id])
            await each(
                bundles(going),
                WRITES_AT_ONCE,
                lambda bundle: self._store_together(tenant_id, bundle, batch),
            )
        for announcement in batch.announcements:
            await announcement
        for device_id, error in batch.failed.items():
            if isinstance(error, Unavailable):
                rows = [row for row in ordered[device_id] if row.index in batch.errors]
                command = self._without_store.answer(tenant_id, device_id, rows)
                batch.commands[device_id] = command
        return BatchResult(batch.commands, batch.errors)

    async def _store_together(self, tenant_id: str, shares: Sequence[Share], batch: Batch) -> None:
        """Store the shares of all free zones in one write, and the others one by one."""
        if self._refused_while_away(shares, batch):
            return
        async with self._cache.locked_if_free(
            tenant_id, [one.device_id for one in shares]
        ) as slots:
            held = [share for share in shares if share.device_id in slots]
            alone = [share for share in shares if share.device_id not in slots]
            # The first attempt skips the look-up of keys; the store refuses it if a key is stored
            # already.
            for look_up_duplicates in (False, True):
                if not held or await self._tried(tenant_id, held, slots, batch, look_up_duplicates):
                    break
            else:
                alone = list(shares)
        await each(alone, ALONE_AT_ONCE, lambda one: self._store_alone(tenant_id, one, batch))

    async def _store_alone(self, tenant_id: str, share: Share, batch: Batch) -> None:
        if self._refused_while_away([share], batch):
            return
        try:
            async with self._cache.locked(tenant_id, share.device_id, self._lock_wait) as slot:
                began_s, attempts = self._clock.monotonic(), 0
                for pause_s in tries(self._clock):
                    attempts += 1
                    slots = {share.device_id: slot}
                    if await self._tried(tenant_id, [share], slots, batch, look_up_duplicates=True):
                        return
                    await asyncio.sleep(pause_s)
                took_s = self._clock.monotonic() - began_s
            raise given_up(f"device {share.device_id} was", attempts, took_s)
        except (ZoneBusy, StoreUnavailable) as busy:
            batch.refuse(share, busy)

    def _lock_wait(self) -> Waiting:
        """Limit the wait for a zone: its holder may wait for a store that does not answer."""
        return self._watch.waiting(LOCK_WAIT_S, loses=False)

    def _refused_while_away(self, shares: Iterable[Share], batch: Batch) -> bool:
        if self._watch.error is None:
            return False
        for share in shares:
            batch.refuse(share, self._watch.error)
        return True

    async def _tried(
        self,
        tenant_id: str,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        batch: Batch,
        look_up_duplicates: bool,
    ) -> bool:
        """Store or refuse the shares; return False if another writer was first."""
        if self._clock.monotonic() >= batch.deadline:
            error = StoreBusy(message="the batch took too long; send this row again")
            for share in shares:
                batch.refuse(share, error)
            return True
        try:
            await self._writer.store(tenant_id, shares, slots, batch, look_up_duplicates)
        except (VersionConflict, AlreadyExists):
            _forget(shares, slots)
            return False
        except StoreUnavailable as error:
            _forget(shares, slots)
            if not isinstance(error, StoreBusy):
                self._watch.lose(error)
            for share in shares:
                batch.refuse(share, error)
        return True


def _forget(shares: Iterable[Share], slots: Mapping[str, Slot]) -> None:
    for share in shares:
        slots[share.device_id].current = None
