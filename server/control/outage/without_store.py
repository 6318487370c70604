"""Commands devices from the cache while their readings cannot be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.retries import tries
from server.control.batch import each
from server.control.messages import OFF, Command, relays_on, zone_event
from server.control.outage.relay_notices import RelayNotices
from server.control.rules.decision import UNSTORED, Limits, PostedRow, Rules, Share, plan
from server.control.rules.setpoint_rules import in_force
from server.control.rules.trust_state import must_publish
from server.control.rules.zone_record import Moment, command_of, merge_commanded, moment_of
from server.control.trust_log import TrustLog
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.services.firestore.base import in_parts
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.ports.documents import AlreadyExists, StoreUnavailable, VersionConflict
from server.services.sse_service.service import SSEService

CLOSE_S = 0.5
SETTLED_AT_ONCE = 16


class WithoutStore:
    """Decides without the store: it starts nothing and only switches off.

    A relay that is on goes off when the rule says so; a fault switches off at once. After `grace_s`
    without the store everything goes off; at once if `relays.all_off` is true.
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
        # Zones that another process, which cannot reach the store, has switched off.
        self._cut_elsewhere: list[tuple[str, str]] = []
        self._settling: asyncio.Task[None] | None = None
        relays.on_cut(self._settle_soon)
        self._watch.on_back(self._settle)

    def answer(self, tenant_id: str, device_id: str, rows: Sequence[PostedRow]) -> Command:
        """The command for these readings, oldest first, which are not stored."""
        self._metrics.readings_unstored.inc(len(rows))
        slot = self._cache.slot_if_room(tenant_id, device_id)
        if slot is None:
            self._cache.commanded_off(device_id)
            return OFF
        zone = slot.commanded or ZoneRecord(tenant_id=tenant_id, device_id=device_id)
        values = in_force(zone, self._cache.known_settings(tenant_id))
        share = Share(device_id, rows, rows[-1].new, last=True)
        limits = Limits(may_start=False, all_off=True) if self._is_over() else UNSTORED
        planned = plan(share, zone, values, {}, moment_of(self._clock), self._rules, limits)
        after = planned.zone or zone
        self._keep_command(slot, zone, after)
        return msgspec.structs.replace(command_of(after, values), stored=False)

    async def close(self) -> None:
        """Stop the settling; wait at most CLOSE_S for the events that are being published."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait({self._settling})
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=CLOSE_S)

    def _is_over(self) -> bool:
        """Whether everything must be off now."""
        if not self._watch.away:
            return False
        return self._relays.all_off or self._watch.away_s() >= self._rules.grace_s

    def _keep_command(self, slot: Slot, before: ZoneRecord, after: ZoneRecord) -> None:
        """Keep the command in the cache, and publish a change to streams and other processes."""
        # If the zone was not cached, another process may have sent another command.
        switched = slot.commanded is None or (after.cool, after.heat) != (before.cool, before.heat)
        slot.commanded = after
        # While the store is reachable, the zone was only busy: the store has it right.
        slot.unstored = slot.unstored or switched or self._watch.away
        if switched:
            slot.divergences += 1
            self._relays.cut(after)
        if must_publish(before, after):
            self._log.changed(after)
        if switched or after.fault != before.fault or must_publish(before, after):
            self._publish(after)

    def _publish(self, zone: ZoneRecord) -> None:
        event = zone_event(zone, self._clock.now_ms())
        task = asyncio.create_task(
            self._sse.publish(zone.tenant_id, "zone", event, zone.device_id), name="zone event"
        )
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _settle(self) -> None:
        """Write the commands of the outage now that the store is back.

        All other cached zones are compared too, since the store may be an older copy.
        """
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
        """The zones whose stored relays differ from the last command to their devices."""
        wrong: list[tuple[str, str]] = []
        try:
            found = {} if self._watch.away else await self._zones.get_many(tenant_id, device_ids)
        except StoreUnavailable as error:
            self._watch.lose(error)
            return wrong
        moment = moment_of(self._clock)
        for device_id, record in found.items():
            slot = self._cache.peek(tenant_id, device_id)
            if slot is None or slot.commanded is None or slot.current is not None:
                continue
            if record.version is not None and not _agrees(record.zone, slot.commanded, moment):
                slot.unstored = True
                wrong.append((tenant_id, device_id))
        return wrong

    async def _settle_zone(self, key: tuple[str, str]) -> None:
        if self._watch.away:
            return  # it runs again when the store is back
        try:
            async with self._cache.locked(*key) as slot:
                for pause_s in tries(self._clock):
                    if not slot.unstored or await self._written(slot, await self._zones.get(*key)):
                        return
                    await asyncio.sleep(pause_s)
        except ZoneBusy:
            return  # the posts that wait for the zone settle it
        except StoreUnavailable as error:
            self._watch.lose(error)

    async def _written(self, slot: Slot, record: Versioned) -> bool:
        """Whether the stored zone is right now; False if another writer was first."""
        slot.merged = slot.divergences
        if record.version is None:
            # The store no longer has the zone: the next reading decides on the basis of the last
            # command.
            slot.unstored = False
            return True
        moment = moment_of(self._clock)
        if _agrees(record.zone, slot.commanded, moment):
            slot.keep(record)
            return True
        zone = merge_commanded(record.zone, slot.commanded, moment)
        try:
            versions = await self._client.write([self._zones.zone_write(zone, record.version)])
        except (VersionConflict, AlreadyExists):
            return False
        slot.keep(Versioned(zone, versions[0]))
        self._relays.switched(zone)
        self._publish(zone)
        return True


def _agrees(record: ZoneRecord, commanded: ZoneRecord | None, moment: Moment) -> bool:
    """Whether the record and the last command have the same relays since the same time."""
    was = relays_on(record, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    now = merge_commanded(record, commanded, moment)
    return was == relays_on(now, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
