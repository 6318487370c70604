"""WithoutStore: zones steered from memory, while their readings cannot be stored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from itertools import count
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
from server.control.tries import tries
from server.control.views import OFF, Command, relays_on, zone_event
from server.control.zone import Relays, without
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.metrics import Metrics
from server.notices import Notices
from server.services.firestore.base import (
    AlreadyExists,
    StoreUnavailable,
    VersionConflict,
    escaped,
)
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.firestore.zones_store import Versioned
from server.services.sse_service.service import SSEService

# The notice of what was cut, a line each: its number, zone, and what relays may still be on. Or of
# a process that is BLIND.
CUT = "cut"
# Of a process that never had the store: it tells every device to be off.
BLIND = "*"
# The notice that the store is back for one process.
BACK = "store-back"
# A notice may be lost while Redis dies: what was cut is told again for so long, once a second.
TELL_EVERY_S, TELL_AGAIN_S = 1.0, 10.0
LINES_MAX = 100
HEARD_MAX = 10_000
CLOSE_S = 0.5
SETTLED_AT_ONCE = 16


class WithoutStore:
    """Nothing is switched on; what is on goes off when the rule says so, a fault cuts at once, and
    after `grace_s` without the store everything is off.

    Processes tell each other what they cut. Where one could not, or knows of no zone, everything
    goes off at once, and stays off until the store is back.
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
        self._publishing: set[asyncio.Task[int]] = set()
        self._telling: asyncio.Task[None] | None = None
        # What was cut lately: the line that tells of it, and since when.
        self._cuts: dict[str, float] = {}
        self._numbers = map(f"{secrets.token_hex(4)}.{{}}".format, count())
        self._heard: dict[str, None] = {}
        # Whether all must be off until the store is back.
        self._all_off = False
        # A process whose store was away from the start knows of no zone.
        self._blind = self._watch.away
        if self._blind:
            self._keep_telling()
        notices.listen(CUT, self._hear_cuts)
        notices.listen(BACK, lambda _: self._watch.try_now())
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
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=CLOSE_S)

    def _is_over(self) -> bool:
        """Whether nothing may stay on."""
        if not self._watch.away:
            return False
        self._all_off = self._all_off or not self._notices.reach_others
        return self._all_off or self._watch.away_s() >= self._rules.grace_s

    def _tell(self, slot: Slot, before: ZoneRecord, after: ZoneRecord) -> None:
        """Remember what the device is told, and tell streams and other processes of a change."""
        switched = (after.cool, after.heat) != (before.cool, before.heat)
        slot.told = after
        # A zone that was merely busy is as the store has it.
        slot.unstored = slot.unstored or switched or self._watch.away
        if switched:
            slot.apart += 1
            name = f"{escaped(after.tenant_id)}_{escaped(after.device_id)}"
            line = f"{next(self._numbers)} {name} {after.cool:d}{after.heat:d}"
            self._notices.tell(CUT, line)
            self._cuts[line] = self._clock.monotonic()
        if self._watch.away:
            self._keep_telling()
        if switched or (after.fault, after.trust_state) != (before.fault, before.trust_state):
            self._publish(after)

    def _publish(self, zone: ZoneRecord) -> None:
        event = zone_event(zone, self._clock.now_ms())
        task = asyncio.create_task(
            self._sse.publish(zone.tenant_id, "zone", event, zone.device_id), name="zone event"
        )
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    def _keep_telling(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_again(), name="cuts")

    async def _tell_again(self) -> None:
        """Once a second until the store is back; if nothing was cut, to see that others hear."""
        while self._watch.away:
            since = self._clock.monotonic() - TELL_AGAIN_S
            self._cuts = {line: at for line, at in self._cuts.items() if at >= since}
            lines = [BLIND, *self._cuts] if self._blind else list(self._cuts)
            for start in range(0, len(lines) or 1, LINES_MAX):
                self._notices.tell(CUT, "\n".join(lines[start : start + LINES_MAX]))
            await asyncio.sleep(TELL_EVERY_S)
            self._is_over()
        self._cuts.clear()

    def _hear_cuts(self, lines: str) -> None:
        """Another process cut zones that this one may think are on."""
        for line in lines.split("\n"):
            number, _, cut = line.partition(" ")
            if number == BLIND:
                self._all_off = self._all_off or self._watch.away
            elif cut and number not in self._heard:
                if len(self._heard) >= HEARD_MAX:
                    del self._heard[next(iter(self._heard))]
                self._heard[number] = None
                self._hear_cut(cut)

    def _hear_cut(self, cut: str) -> None:
        ids, _, relays = cut.rpartition(" ")
        tenant_id, _, device_id = ids.partition("_")
        tenant_id, device_id = unquote(tenant_id), unquote(device_id)
        slot = self._cache.slot_if_room(tenant_id, device_id)
        if slot is None:
            return
        moment = moment_of(self._clock)
        if slot.told is None:
            # Whatever the store has, the device was told this.
            zone, was = ZoneRecord(tenant_id=tenant_id, device_id=device_id), Relays(True, True)
        else:
            zone = slot.told
            was = relays_on(zone, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
        now = without(was, moment.uptime_ms, cool=relays[0] == "1", heat=relays[1] == "1")
        if slot.told is None or now != was:
            slot.told = with_relays(zone, now, moment)
            slot.unstored = slot.unstored or self._watch.away
            slot.apart += 1

    async def _settle(self) -> None:
        """The store is back: write what devices were told meanwhile."""
        self._all_off = self._blind = False
        self._notices.tell(BACK, "")
        self._cache.doubt_all()
        await each(self._cache.unstored(), SETTLED_AT_ONCE, self._settle_zone)

    async def _settle_zone(self, key: tuple[str, str]) -> None:
        if self._watch.away:
            return  # again
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
        zone = rejoined(record.zone, slot.told, moment_of(self._clock))
        if record.version is None:
            # The store does not have it any more: the next reading decides, over what was told.
            slot.unstored = False
            return True
        if same_relays(zone, record.zone):
            slot.keep(record)
            return True
        try:
            versions = await self._client.write([self._zones.zone_write(zone, record.version)])
        except (VersionConflict, AlreadyExists):
            return False
        slot.keep(Versioned(zone, versions[0]))
        self._publish(zone)
        return True


def same_relays(one: ZoneRecord, other: ZoneRecord) -> bool:
    """Whether two records of a zone agree on its relays, and since when its cooler is as it is."""
    return (one.cool, one.heat, one.fault, one.cool_changed_ms) == (
        other.cool,
        other.heat,
        other.fault,
        other.cool_changed_ms,
    )
