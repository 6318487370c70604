"""BatchService: what happens to readings: load their zones, decide, store both, announce.

A post of one reading is a batch of one. Each zone is decided on once, many share a write.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from server.clock import Clock
from server.control.batch_parts import Batch, bundles, each, rounds
from server.control.decision import (
    Moment,
    Plan,
    Row,
    Rules,
    Share,
    command_of,
    moment_of,
    plan,
    rejoined,
)
from server.control.present import oldest_first
from server.control.reading import NewReading, announcement_key
from server.control.settings import in_force
from server.control.tries import tries
from server.control.turns import Turns
from server.control.views import Command, telemetry_row, zone_event
from server.control.without_store import WithoutStore
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.errors import BasError, Forbidden, Unavailable
from server.metrics import Metrics
from server.services.firestore.base import (
    AlreadyExists,
    StoreBusy,
    StoreUnavailable,
    VersionConflict,
    Write,
)
from server.services.firestore.models import Reading, TenantSettings, ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.store_watch import WAIT_S, Waiting
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.backend import KEY_S
from server.services.sse_service.service import SSEService
from server.work import Work

WRITES_AT_ONCE = 4
# Zones that somebody else holds, or writes, are waited for one by one, so many at a time.
ALONE_AT_ONCE = 16
# Documents: about a millisecond and a half, after which all else that is ready comes first.
PLANNED_AT_ONCE = 150
# Nothing of a batch is begun later: what is left is for the caller to send again.
BEGIN_S = 3.0
# Longer than this nobody waits for a zone that others hold: the firmware gives up after 5 s.
LOCK_WAIT_S = 2.0


Planned: TypeAlias = tuple[Share, Slot, Plan]


class Answer(NamedTuple):
    """The command of each device after its last reading, and which rows were refused why."""

    commands: dict[str, Command]
    errors: dict[int, BasError]


class BatchService:
    """Readings of all tenants. Decisions are made on stored state, written only over what was
    read."""

    def __init__(
        self,
        stores: Stores,
        cache: ZoneCache,
        work: Work,
        sse: SSEService,
        clock: Clock,
        metrics: Metrics,
        rules: Rules,
        without_store: WithoutStore,
    ) -> None:
        self._client = stores.client
        self._zones = stores.zones
        self._telemetry = stores.telemetry
        self._devices = stores.devices
        self._cache = cache
        self._work = work
        self._sse = sse
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._watch = stores.watch
        self._without_store = without_store
        self._planning, self._telling = Turns(), Turns()

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

    async def turn(self) -> None:
        """Return when no other batch is at work, which comes before a batch is read."""
        await self._telling.turn()

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
        """Whoever holds a zone may wait for a store that hangs."""
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
            await self._decide_and_store(tenant_id, shares, slots, batch, surely)
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

    async def _decide_and_store(
        self,
        tenant_id: str,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        batch: Batch,
        surely: bool,
    ) -> None:
        shares = [share for share in shares if share.device_id not in batch.failed]
        with self._watch.waiting(batch.wait_s):
            shares = await self._load(tenant_id, shares, slots, batch)
            settings = await self._cache.settings(tenant_id)
            moment = moment_of(self._clock)
            earlier = await self._earlier(tenant_id, shares, moment.now_ms, surely)
            if len(shares) == 1:
                plans = [self._plan(shares[0], slots, settings, earlier, moment)]
            else:
                plans = await self._planned_in_turns(shares, slots, settings, earlier, moment)
            await self._write(plans)
        if len(shares) > 1:
            await self._telling.turn()
        batch.take(planned for _, _, planned in plans)
        self._metrics.readings_stored.inc(sum(len(one.creations) for _, _, one in plans))
        self._metrics.readings_repeated.inc(sum(one.repeated for _, _, one in plans))
        readings = [reading for _, _, one in plans for reading in one.announced]
        silent = [one.zone for _, _, one in plans if one.silent and one.zone is not None]
        # Still under the locks, so that each zone's readings are announced in their order.
        batch.announcements.append(
            asyncio.create_task(self._announce(tenant_id, readings, silent, moment.now_ms))
        )
        await self._answer_repeats(tenant_id, plans, batch)

    def _plan(
        self,
        share: Share,
        slots: Mapping[str, Slot],
        settings: TenantSettings,
        earlier: Mapping[str, Reading],
        moment: Moment,
    ) -> Planned:
        slot = slots[share.device_id]
        assert slot.current is not None
        before = slot.current.zone
        values = in_force(before, settings)
        return share, slot, plan(share, before, values, earlier, moment, self._rules)

    async def _planned_in_turns(
        self,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        settings: TenantSettings,
        earlier: Mapping[str, Reading],
        moment: Moment,
    ) -> list[Planned]:
        """The plan of each share; all else that is ready goes first now and then."""
        plans: list[Planned] = []
        size = 0
        async with self._planning.turns():
            for share in shares:
                plans.append(self._plan(share, slots, settings, earlier, moment))
                size += len(share.rows) + 1
                if size >= PLANNED_AT_ONCE:
                    await asyncio.sleep(0)
                    size = 0
            await asyncio.sleep(0)
        return plans

    async def _write(self, plans: Sequence[Planned]) -> None:
        """Write all readings and zones at once, each zone over what its slot holds."""
        writes: list[Write] = []
        changed: list[tuple[Slot, ZoneRecord]] = []
        creations: list[Write] = []
        for _, slot, planned in plans:
            if planned.zone is not None and slot.current is not None:
                changed.append((slot, planned.zone))
                writes.append(self._zones.zone_write(planned.zone, slot.current.version))
                creations += planned.creations
        if not writes:
            return
        try:
            versions = await self._client.write(writes + creations)
        except (StoreUnavailable, asyncio.CancelledError):
            for slot, _ in changed:
                slot.apart += 1  # whether it was written is unknown
            raise
        for (slot, zone), version in zip(changed, versions, strict=False):
            slot.keep(Versioned(zone, version))

    async def _answer_repeats(self, tenant_id: str, plans: Sequence[Planned], batch: Batch) -> None:
        """Where all came before: the command as the store has it, whoever has switched since."""
        repeated = [(share, slot) for share, slot, one in plans if not one.zone and one.repeated]
        if not repeated:
            return
        try:
            with self._watch.waiting(batch.wait_s):
                settings = await self._cache.settings(tenant_id)
                ids = [one.device_id for one, _ in repeated]
                found = await self._zones.get_many(tenant_id, ids)
        except StoreUnavailable as error:
            for share, _ in repeated:
                batch.refuse(share, error)
            return
        for share, slot in repeated:
            zone = self._join(slot, found[share.device_id]).zone
            batch.commands[share.device_id] = command_of(zone, in_force(zone, settings))

    def _join(self, slot: Slot, record: Versioned) -> Versioned:
        """Let the slot have a zone as it was read, with what its device was told since."""
        if slot.told is None and record.zone.last_seen_ms < self._cache.doubted_ms:
            slot.apart += 1
        if slot.apart:
            zone = rejoined(record.zone, slot.told, moment_of(self._clock))
            record = Versioned(zone, record.version)
        else:
            slot.told = record.zone
        slot.current, slot.joined = record, slot.apart
        return record

    async def _load(
        self,
        tenant_id: str,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        batch: Batch,
    ) -> list[Share]:
        """Fill the slots from the store; the shares of zones that may exist, the rest is refused.

        A stranger who makes up device ids must not fill the store.
        """
        unknown = [
            one.device_id
            for one in shares
            if slots[one.device_id].current is None or slots[one.device_id].apart
        ]
        loaded = await self._zones.get_many(tenant_id, unknown) if unknown else {}
        homeless: list[str] = []
        for device_id, zone in loaded.items():
            self._join(slots[device_id], zone)
            if zone.version is None and not await self._cache.has_room(tenant_id):
                homeless.append(device_id)
        if not homeless:
            return list(shares)
        registered = await self._devices.get_devices(tenant_id, homeless)
        refused = set(homeless) - registered.keys()
        for share in shares:
            if share.device_id in refused:
                slots[share.device_id].current = slots[share.device_id].told = None
                message = "register this device first"
                batch.refuse(share, Forbidden("Too many devices", "DEVICE_LIMIT", message))
        return [share for share in shares if share.device_id not in refused]

    async def _earlier(
        self, tenant_id: str, shares: Sequence[Share], now_ms: int, surely: bool
    ) -> dict[str, Reading]:
        """What is stored already under the ids of these rows. Unless `surely`, keys are not looked
        up: a stored one is a conflict."""
        doc_ids = [
            doc_id
            for share in shares
            for row in share.rows
            if row.new.may_repeat and (surely or row.new.key is None)
            for doc_id in row.new.source_ids(tenant_id, share.device_id, now_ms)
        ]
        return await self._telemetry.by_id(tenant_id, doc_ids) if doc_ids else {}

    async def _announce(
        self,
        tenant_id: str,
        readings: Iterable[Reading],
        silent: Iterable[ZoneRecord],
        now_ms: int,
    ) -> None:
        """Repeated readings too, since who stored them may have died before they were told; then
        the `silent` zones, whose relays no reading tells."""
        await self._sse.publish_many(
            tenant_id,
            "telemetry",
            [
                (telemetry_row(one), one.device_id, announcement_key(one))
                for one in readings
                if now_ms - one.received_ms < KEY_S * 1000
            ],
        )
        for zone in silent:
            await self._sse.publish(tenant_id, "zone", zone_event(zone, now_ms), zone.device_id)


def _forget(shares: Iterable[Share], slots: Mapping[str, Slot]) -> None:
    for share in shares:
        slots[share.device_id].current = None
