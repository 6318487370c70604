"""Writes zones and readings: load the zones, decide, store both in one write, announce them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from server.common.clock import Clock
from server.common.errors import BasError, Forbidden
from server.common.loop_turns import LoopTurns
from server.common.metrics import Metrics
from server.control.batch import Batch
from server.control.messages import (
    StoredObserver,
    Trust,
    ZoneObserver,
    telemetry_row,
    trust_of,
    unmirrored,
    zone_event,
)
from server.control.outage.relay_notices import RelayNotices
from server.control.rules.decision import Plan, Rules, Share, plan
from server.control.rules.reading import announcement_key
from server.control.rules.setpoint_rules import in_force
from server.control.rules.zone_record import (
    Moment,
    command_of,
    merge_commanded,
    moment_of,
    new_zone,
    switched_last,
)
from server.control.trust_log import TrustLog
from server.control.zone_cache import Slot, ZoneCache
from server.services.firestore.models import TenantSettings, ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.ports.documents import EmptyFields, StoreUnavailable, VersionConflict, Write
from server.services.ports.event_log import KEY_S
from server.services.ports.readings import NewRow, Reading
from server.services.sse_service.service import SSEService

# Documents planned before other tasks get a turn: about 1.5 ms of work.
PLANNED_AT_ONCE = 150

Planned: TypeAlias = tuple[Share, Slot, Plan]


class ZoneWriter:
    """Decides on stored state and writes only over it; callers hold the zones' locks."""

    def __init__(
        self,
        stores: Stores,
        cache: ZoneCache,
        relays: RelayNotices,
        sse: SSEService,
        clock: Clock,
        metrics: Metrics,
        rules: Rules,
        trust_log: TrustLog,
        observe: ZoneObserver,
    ) -> None:
        self._client = stores.client
        self._zones = stores.zones
        self._telemetry = stores.telemetry
        self._devices = stores.devices
        self._watch = stores.watch
        self._cache = cache
        self._relays = relays
        self._sse = sse
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._log = trust_log
        self._observe = observe
        self.on_stored: StoredObserver = unmirrored
        self._planning, self._announcing = LoopTurns(), LoopTurns()

    async def store(
        self,
        tenant_id: str,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        batch: Batch,
        look_up_duplicates: bool,
    ) -> None:
        """Decide on the shares and store the result, on the basis of the zones in the slots.

        With `look_up_duplicates`, it first looks up whether the readings' keys are stored already.
        Raises VersionConflict or AlreadyExists if another process wrote first, StoreUnavailable.
        """
        if batch.failed:
            shares = [share for share in shares if share.device_id not in batch.failed]
        with self._watch.waiting(batch.wait_s):
            if not all(slots[share.device_id].is_current for share in shares):
                shares = await self._load(tenant_id, shares, slots, batch)
            settings = await self._cache.settings(tenant_id)
            moment = moment_of(self._clock)
            earlier = await self._earlier(tenant_id, shares, moment.now_ms, look_up_duplicates)
            planned = self._planned(shares, slots, settings, earlier, moment)
            plans = [next(planned)] if len(shares) == 1 else await self._in_turns(planned)
            await self._write(plans, batch.demand)
        if len(shares) > 1:
            await self._announcing.turn()
        stored = repeated = 0
        readings: list[Reading] = []
        changed_zones: list[ZoneRecord] = []
        doubted: dict[str, Trust] = {}
        for _, _, one in plans:
            batch.take(one)
            stored += len(one.rows)
            repeated += one.repeated
            readings += one.announced
            self.on_stored(row.reading for row in one.rows)
            zone = one.zone
            if zone is not None and zone.trust_state != "ok":
                doubted[zone.device_id] = trust_of(zone)
            if zone is not None and one.zone_changed:
                changed_zones.append(zone)
                self._log.changed(zone)
        self._metrics.readings_stored.inc(stored)
        # Started under the locks, so that each zone's readings are announced in their order.
        announcing = self._announce(tenant_id, readings, doubted, changed_zones, moment.now_ms)
        batch.announcements.append(asyncio.create_task(announcing))
        if repeated:
            self._metrics.readings_repeated.inc(repeated)
            await self._answer_repeats(tenant_id, plans, batch)

    @property
    def can_demand(self) -> bool:
        """Whether a batch may have a demand."""
        return self._telemetry.can_demand

    def without_key(self, tenant_id: str, device_id: str) -> EmptyFields:
        """The demand that the device has no key."""
        return self._devices.without_key(tenant_id, device_id)

    async def answer_lost(self, slot: Slot) -> None:
        """Store that the relays are unknown, if the lost last answer switched the cooler.

        Raises VersionConflict and StoreUnavailable.
        """
        if slot.current is None or slot.divergences:
            return
        zone, moment = slot.current.zone, moment_of(self._clock)
        if not zone.relays_known or not switched_last(zone, moment):
            return
        zone = msgspec.structs.replace(zone, relays_known=False)
        write = self._zones.zone_write(zone, slot.current.version, typed=True)
        try:
            versions = await self._client.write([write])
        except (StoreUnavailable, VersionConflict):
            slot.current = None
            raise
        slot.keep(Versioned(zone, versions[0]))
        self._log.changed(zone)
        event = zone_event(zone, moment.now_ms)
        await self._sse.publish(zone.tenant_id, "zone", event, zone.device_id)

    async def turn(self) -> None:
        """Return when no stored batch is still being announced."""
        await self._announcing.turn()

    def _planned(
        self,
        shares: Iterable[Share],
        slots: Mapping[str, Slot],
        settings: TenantSettings,
        earlier: Mapping[str, Reading],
        moment: Moment,
    ) -> Iterator[Planned]:
        """Yield the plan of each share."""
        for share in shares:
            slot = slots[share.device_id]
            assert slot.current is not None
            before = slot.current.zone
            values = in_force(before, settings)
            yield share, slot, plan(share, before, values, earlier, moment, self._rules)

    async def _in_turns(self, planned: Iterator[Planned]) -> list[Planned]:
        """Make all plans; after every PLANNED_AT_ONCE documents other tasks run first."""
        plans: list[Planned] = []
        size = 0
        async with self._planning.turns():
            for one in planned:
                plans.append(one)
                size += len(one[0].rows) + 1
                if size >= PLANNED_AT_ONCE:
                    await asyncio.sleep(0)
                    size = 0
            await asyncio.sleep(0)
        return plans

    async def _write(self, plans: Sequence[Planned], demand: EmptyFields | None) -> None:
        """Write all readings and zones in one write, each zone over the version in its slot."""
        writes: list[Write] = []
        changed: list[tuple[Slot, Plan]] = []
        rows: list[NewRow] = []
        for _, slot, planned in plans:
            if planned.zone is not None and slot.current is not None:
                changed.append((slot, planned))
                version = slot.current.version
                writes.append(self._zones.zone_write(planned.zone, version, typed=True))
                rows += planned.rows
        if not writes:
            return
        try:
            versions = await self._telemetry.write(writes, rows, demand)
        except (StoreUnavailable, asyncio.CancelledError):
            for slot, _ in changed:
                slot.divergences += 1  # whether it was written is unknown
            raise
        for (slot, planned), version in zip(changed, versions, strict=True):
            before, zone, command = slot.commanded, planned.zone, planned.command
            assert zone is not None
            assert command is not None
            slot.keep(Versioned(zone, version))
            if before is None or not _same_relays(zone, before):
                self._relays.switched(zone)
            self._observe(before, zone, command.setpoint_tenths)

    async def _answer_repeats(self, tenant_id: str, plans: Sequence[Planned], batch: Batch) -> None:
        """Answer shares that hold only repeats with the command that the store has now."""
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
            zone = self._merge(slot, found[share.device_id]).zone
            batch.commands[share.device_id] = command_of(zone, in_force(zone, settings))

    def _merge(self, slot: Slot, record: Versioned) -> Versioned:
        """Put a zone that was just read into the slot, merged with the commands sent since."""
        if self._cache.may_be_off(record.zone, slot.commanded):
            slot.commanded = None
            slot.divergences += 1
        if record.version is None and slot.commanded is not None and not slot.divergences:
            record = Versioned(new_zone(slot.commanded), None)  # it was deleted, or has expired
        if slot.divergences:
            zone = merge_commanded(record.zone, slot.commanded, moment_of(self._clock))
            record = Versioned(zone, record.version)
        else:
            slot.commanded = record.zone
        slot.current, slot.merged = record, slot.divergences
        return record

    async def _load(
        self,
        tenant_id: str,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        batch: Batch,
    ) -> list[Share]:
        """Fill the slots from the store; return the shares of zones that may exist.

        Shares of new zones beyond the limit of the tenant or of the batch's sender are refused,
        unless the device is registered: a client that invents device ids must not fill the store.
        """
        unknown = [
            one.device_id
            for one in shares
            if slots[one.device_id].current is None or slots[one.device_id].divergences
        ]
        loaded = await self._zones.get_many(tenant_id, unknown) if unknown else {}
        over_limit: dict[str, BasError] = {}
        for device_id, zone in loaded.items():
            self._merge(slots[device_id], zone)
            if zone.version is not None:
                continue
            if not await self._cache.has_room(tenant_id):
                message = "register this device first"
                over_limit[device_id] = Forbidden("Too many devices", "DEVICE_LIMIT", message)
            elif refusal := batch.newcomers(tenant_id, device_id):
                over_limit[device_id] = refusal
        if not over_limit:
            return list(shares)
        registered = await self._devices.get_devices(tenant_id, list(over_limit))
        refused = over_limit.keys() - registered.keys()
        for share in shares:
            if share.device_id in refused:
                slots[share.device_id].current = slots[share.device_id].commanded = None
                batch.refuse(share, over_limit[share.device_id])
        return [share for share in shares if share.device_id not in refused]

    async def _earlier(
        self, tenant_id: str, shares: Sequence[Share], now_ms: int, look_up_duplicates: bool
    ) -> dict[str, Reading]:
        """Read the stored readings that have the ids of these rows.

        Without `look_up_duplicates` keys are not looked up: the write of a stored one conflicts.
        """
        doc_ids = [
            doc_id
            for share in shares
            for row in share.rows
            if row.new.may_repeat and (look_up_duplicates or row.new.key is None)
            for doc_id in row.new.source_ids(tenant_id, share.device_id, now_ms)
        ]
        return await self._telemetry.known(tenant_id, doc_ids) if doc_ids else {}

    async def _announce(
        self,
        tenant_id: str,
        readings: Iterable[Reading],
        doubted: Mapping[str, Trust],
        changed_zones: Iterable[ZoneRecord],
        now_ms: int,
    ) -> None:
        """Publish the readings, then the changed zones.

        Readings of zones that are not trusted carry their trust. Repeated readings are published
        too: the process that stored them may have died before it published them.
        """
        await self._sse.publish_many(
            tenant_id,
            "telemetry",
            [
                (
                    telemetry_row(one, doubted.get(one.device_id)),
                    one.device_id,
                    announcement_key(one),
                )
                for one in readings
                if now_ms - one.received_ms < KEY_S * 1000
            ],
        )
        for zone in changed_zones:
            await self._sse.publish(tenant_id, "zone", zone_event(zone, now_ms), zone.device_id)


def _same_relays(one: ZoneRecord, other: ZoneRecord) -> bool:
    return one.cool == other.cool and one.heat == other.heat and one.fault == other.fault
