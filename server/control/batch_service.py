"""BatchService: what happens to readings: load their zones, decide, store both, announce.

A post of one reading is a batch of one. Each zone is decided on once, many share a write.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from server.clock import Clock
from server.control.batch_parts import Batch, bundles, each, rounds
from server.control.decision import Row, Share
from server.control.present import oldest_first
from server.control.reading import NewReading
from server.control.tries import tries
from server.control.views import Command
from server.control.without_store import WithoutStore
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.control.zone_writer import ZoneWriter
from server.errors import BasError, Unavailable
from server.services.firestore.base import (
    AlreadyExists,
    StoreBusy,
    StoreUnavailable,
    VersionConflict,
)
from server.services.firestore.store_watch import WAIT_S, StoreWatch, Waiting
from server.work import Work

WRITES_AT_ONCE = 4
# Zones that somebody else holds, or writes, are waited for one by one, so many at a time.
ALONE_AT_ONCE = 16
# Nothing of a batch is begun later: what is left is for the caller to send again.
BEGIN_S = 3.0
# Longer than this nobody waits for a zone that others hold: the firmware gives up after 5 s.
LOCK_WAIT_S = 2.0


class Answer(NamedTuple):
    """The command of each device after its last reading, and which rows were refused why."""

    commands: dict[str, Command]
    errors: dict[int, BasError]


class BatchService:
    """Readings of all tenants. Decisions are made on stored state, written only over what was
    read."""

    def __init__(
        self,
        writer: ZoneWriter,
        cache: ZoneCache,
        work: Work,
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
        self, tenant_id: str, device_id: str, new: NewReading, wait_s: float = WAIT_S
    ) -> Command:
        """Decide on a reading, store it, announce it; the command, once the reading is safe, or
        `stored` false with what memory says, also if the store takes longer than `wait_s`.

        Raises Unavailable, with the command, for a reading with a key that is not stored; Forbidden
        (too many zones), Unprocessable (a key that came before with another reading).
        """
        return await self._work.finish(self._accept_one(tenant_id, device_id, new, wait_s))

    async def accept(self, tenant_id: str, devices: Mapping[str, Sequence[Row]]) -> Answer:
        """Decide on each device's readings, store and announce them, oldest first.

        A row without an error is stored. Those of one device are stored in their order: once one
        could not be, none after it is.
        """
        return await self._work.finish(self._accept(tenant_id, devices))

    async def _accept_one(
        self, tenant_id: str, device_id: str, new: NewReading, wait_s: float
    ) -> Command:
        row = Row(0, new)
        batch = Batch(math.inf, wait_s)
        await self._store_alone(tenant_id, Share(device_id, (row,), new, last=True), batch)
        # Not under the zone's lock: a slow log must not hold up the zone's next reading.
        for announcement in batch.announcements:
            await announcement
        if not batch.errors:
            return batch.commands[device_id]
        error = batch.errors[0]
        if not isinstance(error, Unavailable):
            raise error
        command = self._without_store.answer(tenant_id, device_id, (row,))
        if new.key is not None:
            raise error.with_more(command)
        return command

    async def not_heard(self, tenant_id: str, device_id: str) -> None:
        """The device did not take the answer to its last post: what that switched is not known to
        have been, and its minimum time begins with the next answer."""
        await self._work.finish(self._not_heard(tenant_id, device_id))

    async def _not_heard(self, tenant_id: str, device_id: str) -> None:
        try:
            async with self._cache.locked(tenant_id, device_id, self._lock_wait) as slot:
                await self._writer.not_heard(slot)
        except (VersionConflict, ZoneBusy):
            return  # it has posted again
        except StoreUnavailable as error:
            if not isinstance(error, StoreBusy):
                self._watch.lose(error)

    async def turn(self) -> None:
        """Return when no other batch is at work, which comes before a batch is read."""
        await self._writer.turn()

    async def _accept(self, tenant_id: str, devices: Mapping[str, Sequence[Row]]) -> Answer:
        batch = Batch(self._clock.monotonic() + BEGIN_S)
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
                rows = [row for row in ordered[device_id] if row.place in batch.errors]
                command = self._without_store.answer(tenant_id, device_id, rows)
                batch.commands[device_id] = command
        return Answer(batch.commands, batch.errors)

    async def _store_together(self, tenant_id: str, shares: Sequence[Share], batch: Batch) -> None:
        """Store the shares of all zones that are free in one write, the others by themselves."""
        if self._refused_while_away(shares, batch):
            return
        async with self._cache.locked_if_free(
            tenant_id, [one.device_id for one in shares]
        ) as slots:
            held = [share for share in shares if share.device_id in slots]
            alone = [share for share in shares if share.device_id not in slots]
            # First as if no key had come before, which the store refuses if one did.
            for surely in (False, True):
                if not held or await self._tried(tenant_id, held, slots, batch, surely):
                    break
            else:
                alone = list(shares)
        await each(alone, ALONE_AT_ONCE, lambda one: self._store_alone(tenant_id, one, batch))

    async def _store_alone(self, tenant_id: str, share: Share, batch: Batch) -> None:
        if self._refused_while_away([share], batch):
            return
        try:
            async with self._cache.locked(tenant_id, share.device_id, self._lock_wait) as slot:
                for pause_s in tries(self._clock):
                    slots = {share.device_id: slot}
                    if await self._tried(tenant_id, [share], slots, batch, surely=True):
                        return
                    await asyncio.sleep(pause_s)
            raise ZoneBusy(message=f"device {share.device_id} is written by too many at once")
        except (ZoneBusy, StoreUnavailable) as busy:
            batch.refuse(share, busy)

    def _lock_wait(self) -> Waiting:
        """A bound on the wait for a zone: its holder may wait for a store that hangs."""
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
        surely: bool,
    ) -> bool:
        """Whether the shares are stored or refused; else somebody else wrote before."""
        if self._clock.monotonic() >= batch.deadline:
            error = ZoneBusy(message="the batch took too long; send this row again")
            for share in shares:
                batch.refuse(share, error)
            return True
        try:
            await self._writer.store(tenant_id, shares, slots, batch, surely)
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
