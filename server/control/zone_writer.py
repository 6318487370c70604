"""ZoneWriter: loads zones, decides on their readings, stores both in one write, announces them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from server.clock import Clock
from server.control.batch_parts import Batch
from server.control.decision import Plan, Rules, Share, plan
from server.control.reading import announcement_key
from server.control.relay_notices import RelayNotices
from server.control.settings import in_force
from server.control.trust_log import TrustLog
from server.control.turns import Turns
from server.control.views import Trust, telemetry_row, trust_of, zone_event
from server.control.zone_cache import Slot, ZoneCache
from server.control.zone_record import (
    Moment,
    command_of,
    moment_of,
    rejoined,
    switched_last,
)
from server.errors import Forbidden
from server.metrics import Metrics
from server.services.firestore.base import StoreUnavailable, VersionConflict, Write
from server.services.firestore.models import Reading, TenantSettings, ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.backend import KEY_S
from server.services.sse_service.service import SSEService

# Documents: about a millisecond and a half, after which all else that is ready comes first.
PLANNED_AT_ONCE = 150

Planned: TypeAlias = tuple[Share, Slot, Plan]


class ZoneWriter:
    """Decisions are made on stored state, and written only over what was read. Its callers hold the
    locks of the zones."""

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
        self._planning, self._telling = Turns(), Turns()

    async def store(
        self,
        tenant_id: str,
        shares: Sequence[Share],
        slots: Mapping[str, Slot],
        batch: Batch,
        surely: bool,
    ) -> None:
        """Decide on the shares and store them, over what the slots hold; `surely` looks up whether
        their keys came before. Raises VersionConflict or AlreadyExists if another process wrote
        first, StoreUnavailable."""
        if batch.failed:
            shares = [share for share in shares if share.device_id not in batch.failed]
        with self._watch.waiting(batch.wait_s):
            if not all(slots[share.device_id].is_current for share in shares):
                shares = await self._load(tenant_id, shares, slots, batch)
            settings = await self._cache.settings(tenant_id)
            moment = moment_of(self._clock)
            earlier = await self._earlier(tenant_id, shares, moment.now_ms, surely)
            planned = self._planned(shares, slots, settings, earlier, moment)
            plans = [next(planned)] if len(shares) == 1 else await self._in_turns(planned)
            await self._write(plans)
        if len(shares) > 1:
            await self._telling.turn()
        stored = repeated = 0
        readings: list[Reading] = []
        news: list[ZoneRecord] = []
        doubted: dict[str, Trust] = {}
        for _, _, one in plans:
            batch.take(one)
            stored += len(one.creations)
            repeated += one.repeated
            readings += one.announced
            zone = one.zone
            if zone is not None and zone.trust_state != "ok":
                doubted[zone.device_id] = trust_of(zone)
            if zone is not None and one.news:
                news.append(zone)
                self._log.changed(zone)
        self._metrics.readings_stored.inc(stored)
        # Still under the locks, so that each zone's readings are announced in their order.
        batch.announcements.append(
            asyncio.create_task(self._announce(tenant_id, readings, doubted, news, moment.now_ms))
        )
        if repeated:
            self._metrics.readings_repeated.inc(repeated)
            await self._answer_repeats(tenant_id, plans, batch)

    async def not_heard(self, slot: Slot) -> None:
        """Write that nobody can know what the relays are, if the last answer switched the cooler.
        Raises VersionConflict, StoreUnavailable."""
        if slot.current is None or slot.apart:
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
        """Return when nothing that was stored is being told."""
        await self._telling.turn()

    def _planned(
        self,
        shares: Iterable[Share],
        slots: Mapping[str, Slot],
        settings: TenantSettings,
        earlier: Mapping[str, Reading],
        moment: Moment,
    ) -> Iterator[Planned]:
        """The plan of each share."""
        for share in shares:
            slot = slots[share.device_id]
            assert slot.current is not None
            before = slot.current.zone
            values = in_force(before, settings)
            yield share, slot, plan(share, before, values, earlier, moment, self._rules)

    async def _in_turns(self, planned: Iterator[Planned]) -> list[Planned]:
        """All of them; all else that is ready goes first now and then."""
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

    async def _write(self, plans: Sequence[Planned]) -> None:
        """Write all readings and zones at once, each zone over what its slot holds."""
        writes: list[Write] = []
        changed: list[tuple[Slot, ZoneRecord]] = []
        creations: list[Write] = []
        for _, slot, planned in plans:
            if planned.zone is not None and slot.current is not None:
                changed.append((slot, planned.zone))
                version = slot.current.version
                writes.append(self._zones.zone_write(planned.zone, version, typed=True))
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
            before = slot.told
            slot.keep(Versioned(zone, version))
            if before is None or not _same_relays(zone, before):
                self._relays.switched(zone)

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
        doubted: Mapping[str, Trust],
        news: Iterable[ZoneRecord],
        now_ms: int,
    ) -> None:
        """Repeated readings too, since who stored them may have died before they were told; with
        the trust of those devices that are not trusted. Then the zones of which there is news."""
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
        for zone in news:
            await self._sse.publish(tenant_id, "zone", zone_event(zone, now_ms), zone.device_id)


def _same_relays(one: ZoneRecord, other: ZoneRecord) -> bool:
    return one.cool == other.cool and one.heat == other.heat and one.fault == other.fault
