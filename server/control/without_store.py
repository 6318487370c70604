"""WithoutStore: zones steered from memory, while their readings cannot be stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from server.clock import Clock
from server.control.batch_parts import each
from server.control.decision import (
    UNSTORED,
    Limits,
    Row,
    Rules,
    Share,
    command_of,
    moment_of,
    plan,
    rejoined,
    with_relays,
)
from server.control.settings import in_force
from server.control.views import OFF, Command, relays_on, zone_event
from server.control.zone import without
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.errors import BasError
from server.metrics import Metrics
from server.notices import Notices
from server.services.firestore.base import escaped
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

# The notice whose name is a zone and what its relays may still be.
CUT = "cut"
SETTLED_AT_ONCE = 16


class WithoutStore:
    """Nothing is switched on; what is on goes off when the rule says so, a fault cuts at once, and
    after `grace_s` without the store everything is off.

    Processes tell each other what they cut. `shared` says that there may be others; where they
    cannot be told, what is on goes off at once.
    """

    def __init__(
        self,
        stores: Stores,
        cache: ZoneCache,
        sse: SSEService,
        notices: Notices,
        clock: Clock,
        metrics: Metrics,
        rules: Rules,
    ) -> None:
        self._client = stores.client
        self._zones = stores.zones
        self._watch = stores.watch
        self._cache = cache
        self._sse = sse
        self._notices = notices
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._telling: set[asyncio.Task[int]] = set()
        notices.listen(CUT, self._hear_cut)
        self._watch.on_back(self._settle)

    def answer(self, tenant_id: str, device_id: str, rows: Sequence[Row]) -> Command:
        """The command after readings, oldest first, that are not stored."""
        self._metrics.readings_unstored.inc(len(rows))
        slot = self._cache.slot_if_room(tenant_id, device_id)
        if slot is None:
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
        if self._telling:
            await asyncio.wait(self._telling)

    def _is_over(self) -> bool:
        """Whether nothing may stay on."""
        if not self._watch.away:
            return False
        return self._watch.away_s() >= self._rules.grace_s or not self._notices.reach_others

    def _tell(self, slot: Slot, before: ZoneRecord, after: ZoneRecord) -> None:
        """Remember what the device is told, and tell streams and other processes of a change."""
        slot.told, slot.unstored = after, True
        switched = (after.cool, after.heat) != (before.cool, before.heat)
        if switched:
            slot.apart += 1
            name = f"{escaped(after.tenant_id)}_{escaped(after.device_id)}"
            self._notices.tell(CUT, f"{name} {after.cool:d}{after.heat:d}")
        if switched or (after.fault, after.trust_state) != (before.fault, before.trust_state):
            self._publish(after)

    def _publish(self, zone: ZoneRecord) -> None:
        event = zone_event(zone, self._clock.now_ms())
        task = asyncio.create_task(
            self._sse.publish(zone.tenant_id, "zone", event, zone.device_id), name="zone event"
        )
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _hear_cut(self, name: str) -> None:
        """Another process cut a zone that this one may think is on."""
        ids, _, relays = name.partition(" ")
        tenant_id, _, device_id = ids.partition("_")
        slot = self._cache.peek(unquote(tenant_id), unquote(device_id))
        if slot is None or slot.told is None or len(relays) != len("00"):
            return
        zone, moment = slot.told, moment_of(self._clock)
        was = relays_on(zone, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
        now = without(was, moment.uptime_ms, cool=relays[0] == "1", heat=relays[1] == "1")
        if now != was:
            slot.told = with_relays(zone, now, moment)
            slot.unstored = True
            slot.apart += 1

    async def _settle(self) -> None:
        """The store is back: write what devices were told meanwhile."""
        self._cache.doubt_all()
        await each(self._cache.unstored(), SETTLED_AT_ONCE, self._settle_zone)

    async def _settle_zone(self, key: tuple[str, str]) -> None:
        try:
            async with self._cache.locked(*key) as slot:
                if slot.unstored:
                    await self._write(slot, await self._zones.get(*key))
        except ZoneBusy:
            return  # the posts that wait for it do this
        except BasError as error:
            log.warning("what zone %s was told is not stored yet: %s", "/".join(key), error)

    async def _write(self, slot: Slot, record: Versioned) -> None:
        slot.joined = slot.apart
        zone = rejoined(record.zone, slot.told, moment_of(self._clock))
        if record.version is None or same_relays(zone, record.zone):
            slot.keep(record)
            return
        versions = await self._client.write([self._zones.zone_write(zone, record.version)])
        slot.keep(Versioned(zone, versions[0]))
        self._publish(zone)


def same_relays(one: ZoneRecord, other: ZoneRecord) -> bool:
    """Whether two records of a zone agree on its relays."""
    return (one.cool, one.heat, one.fault) == (other.cool, other.heat, other.fault)
