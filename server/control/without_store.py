"""WithoutStore: zones steered from memory, while their readings cannot be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from server.clock import Clock
from server.control.batch_parts import each
from server.control.decision import UNSTORED, Limits, Row, Rules, Share, plan
from server.control.relay_notices import RelayNotices
from server.control.settings import in_force
from server.control.tries import tries
from server.control.trust import is_news
from server.control.trust_log import TrustLog
from server.control.views import OFF, Command, relays_on, zone_event
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.control.zone_record import Moment, command_of, moment_of, rejoined
from server.metrics import Metrics
from server.services.firestore.base import (
    AlreadyExists,
    StoreUnavailable,
    VersionConflict,
    in_parts,
)
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.service import SSEService

CLOSE_S = 0.5
SETTLED_AT_ONCE = 16


class WithoutStore:
    """Nothing is switched on; what is on goes off when the rule says so, a fault cuts at once, and
    after `grace_s` without the store everything is off, or at once where `relays` says so.
    """

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
        self._watch = stores.watch
        self._cache = cache
        self._relays = relays
        self._sse = sse
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._log = trust_log
        self._publishing: set[asyncio.Task[int]] = set()
        # Zones that another process cut, which has no store.
        self._cut_elsewhere: list[tuple[str, str]] = []
        self._settling: asyncio.Task[None] | None = None
        relays.on_cut(self._settle_soon)
        self._watch.on_back(self._settle)

    def answer(self, tenant_id: str, device_id: str, rows: Sequence[Row]) -> Command:
        """The command after readings, oldest first, that are not stored."""
        self._metrics.readings_unstored.inc(len(rows))
        slot = self._cache.slot_if_room(tenant_id, device_id)
        if slot is None:
            self._cache.told_off = True
            return OFF
        zone = slot.told or ZoneRecord(tenant_id=tenant_id, device_id=device_id)
        values = in_force(zone, self._cache.known_settings(tenant_id))
        share = Share(device_id, rows, rows[-1].new, last=True)
        limits = Limits(may_start=False, all_off=True) if self._is_over() else UNSTORED
        planned = plan(share, zone, values, {}, moment_of(self._clock), self._rules, limits)
        after = planned.zone or zone
        self._tell(slot, zone, after)
        return msgspec.structs.replace(command_of(after, values), stored=False)

    async def close(self) -> None:
        """Tell what is being told, then end."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait({self._settling})
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=CLOSE_S)

    def _is_over(self) -> bool:
        """Whether nothing may stay on."""
        if not self._watch.away:
            return False
        return self._relays.all_off or self._watch.away_s() >= self._rules.grace_s

    def _tell(self, slot: Slot, before: ZoneRecord, after: ZoneRecord) -> None:
        """Remember what the device is told, and tell streams and other processes of a change."""
        # Of a zone that is not in memory another process may know more.
        switched = slot.told is None or (after.cool, after.heat) != (before.cool, before.heat)
        slot.told = after
        # A zone that was merely busy is as the store has it.
        slot.unstored = slot.unstored or switched or self._watch.away
        if switched:
            slot.apart += 1
            self._relays.cut(after)
        if is_news(before, after):
            self._log.changed(after)
        if switched or after.fault != before.fault or is_news(before, after):
            self._publish(after)

    def _publish(self, zone: ZoneRecord) -> None:
        event = zone_event(zone, self._clock.now_ms())
        task = asyncio.create_task(
            self._sse.publish(zone.tenant_id, "zone", event, zone.device_id), name="zone event"
        )
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _settle(self) -> None:
        """The store is back: write what devices were told meanwhile, and look at all other zones
        too, since it may be an older copy."""
        self._relays.back()
        self._cache.doubt_all()
        await each(self._cache.unstored(), SETTLED_AT_ONCE, self._settle_zone)
        for tenant_id, device_ids in self._cache.doubted():
            for some in in_parts(device_ids):
                await each(await self._wrong(tenant_id, some), SETTLED_AT_ONCE, self._settle_zone)

    def _settle_soon(self, key: tuple[str, str]) -> None:
        self._cut_elsewhere.append(key)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_cut_elsewhere(), name="settling")

    async def _settle_cut_elsewhere(self) -> None:
        while self._cut_elsewhere:
            keys, self._cut_elsewhere = self._cut_elsewhere, []
            await each(keys, SETTLED_AT_ONCE, self._settle_zone)

    async def _wrong(self, tenant_id: str, device_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Those zones that the store has otherwise than their devices were told."""
        wrong: list[tuple[str, str]] = []
        try:
            found = {} if self._watch.away else await self._zones.get_many(tenant_id, device_ids)
        except StoreUnavailable as error:
            self._watch.lose(error)
            return wrong
        moment = moment_of(self._clock)
        for device_id, record in found.items():
            slot = self._cache.peek(tenant_id, device_id)
            if slot is None or slot.told is None or slot.current is not None:
                continue
            if record.version is not None and not _agrees(record.zone, slot.told, moment):
                slot.unstored = True
                wrong.append((tenant_id, device_id))
        return wrong

    async def _settle_zone(self, key: tuple[str, str]) -> None:
        if self._watch.away:
            return  # it will be back once more
        try:
            async with self._cache.locked(*key) as slot:
                for pause_s in tries(self._clock):
                    if not slot.unstored or await self._written(slot, await self._zones.get(*key)):
                        return
                    await asyncio.sleep(pause_s)
        except ZoneBusy:
            return  # the posts that wait for it do this
        except StoreUnavailable as error:
            self._watch.lose(error)

    async def _written(self, slot: Slot, record: Versioned) -> bool:
        """Whether the record is right now; else somebody else wrote before."""
        slot.joined = slot.apart
        if record.version is None:
            # The store does not have it any more: the next reading decides, over what was told.
            slot.unstored = False
            return True
        moment = moment_of(self._clock)
        if _agrees(record.zone, slot.told, moment):
            slot.keep(record)
            return True
        zone = rejoined(record.zone, slot.told, moment)
        try:
            versions = await self._client.write([self._zones.zone_write(zone, record.version)])
        except (VersionConflict, AlreadyExists):
            return False
        slot.keep(Versioned(zone, versions[0]))
        self._relays.switched(zone)
        self._publish(zone)
        return True


def _agrees(record: ZoneRecord, told: ZoneRecord | None, moment: Moment) -> bool:
    """Whether the record says of the relays what the device was told, and since when."""
    was = relays_on(record, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    now = rejoined(record, told, moment)
    return was == relays_on(now, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
