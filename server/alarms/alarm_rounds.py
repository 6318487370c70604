"""AlarmRounds: begins and ends alarms as the watch has found, on the basis of the stored zones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from server.alarms import steps
from server.alarms.alarm import MANY, AlarmChange, AlarmStep
from server.alarms.alarm_watch import COMPARED_AT_ONCE, AlarmWatch, ZoneId
from server.alarms.alarm_writer import AlarmWriter, Beginning
from server.alarms.alarms_store import AlarmsStore, StoredAlarm
from server.alarms.board import AlarmBoard, AlarmKey, HeldCondition, KnownAlarm
from server.alarms.rules import (
    HOLD_MS,
    MANY_LEAST,
    MANY_WITHIN_MS,
    SILENT_MIN_MS,
    SOUGHT_MS,
    STORM,
    AlarmMoment,
    Sign,
    family_of,
    judge_many,
    many_is_over,
    overdue_ms,
    rest_ms,
    shelf_is_over,
)
from server.alarms.steps import slot_id
from server.alarms.zone_limits import ZoneLimits
from server.common.errors import Conflict
from server.services.firestore.base import in_parts
from server.services.firestore.zones_store import Versioned, ZonesStore

log = logging.getLogger(__name__)

ZONES_COUNT_S = 60.0
BEGUN_IN_A_ROUND = 500


class AlarmRounds:
    """The steps of one round, for the task of `AlarmService`. They raise StoreUnavailable."""

    def __init__(
        self,
        zones: ZonesStore,
        alarms: AlarmsStore,
        limits: ZoneLimits,
        board: AlarmBoard,
        watch: AlarmWatch,
        writer: AlarmWriter,
        keep_ms: int,
    ) -> None:
        self._zones = zones
        self._alarms = alarms
        self._limits = limits
        self._board = board
        self._watch = watch
        self._writer = writer
        self._keep_ms = keep_ms
        # By tenant, the number of its zones, and until when (uptime ms) it may be used.
        self._counts: dict[str, tuple[int, float]] = {}

    async def end_alarms(self) -> None:
        """End alarms whose conditions have ended, also those that another process has begun."""
        lost, self._watch.lost = list(self._watch.lost), {}
        for some in in_parts([slot_id(*key) for key in lost]):
            for slot in (await self._alarms.slots(some)).values():
                if slot.last is not None and slot.last.alarm.is_open:
                    await self.end(slot.last)
        ending, self._watch.ending = list(self._watch.ending), {}
        for key in ending:
            entry = self._board.get(key)
            if isinstance(entry, KnownAlarm):
                await self.end(entry.stored)
                # Another process was first: it may have begun a later one.
                after = self._board.get(key)
                if isinstance(after, KnownAlarm) and not await self._is_on(key):
                    await self.end(after.stored)

    async def _is_on(self, key: AlarmKey) -> bool:
        if not key[1]:
            return False
        record = await self._zones.get(*key[:2])
        sign = self._watch.sign_of(record.zone, key[2], self._writer.moment())
        return sign is not None and bool(sign.on)

    async def know_again(self) -> None:
        """Read alarms that others may have ended, and hold the conditions that are there again."""
        again, self._watch.again = self._watch.again, {}
        keys = {slot_id(*key): key for key in again}
        for some in in_parts(list(keys)):
            for name, slot in (await self._alarms.slots(some)).items():
                key = keys[name]
                if slot.last is not None and slot.last.alarm.is_open:
                    self._board.know(slot.last, again[key].uptime_ms)
                    continue
                self._board.forget(key)
                if not self._board.is_absorbed(key[0], key[2]):
                    self._board.hold(key, again[key])

    async def end(self, stored: StoredAlarm) -> None:
        """End an open alarm."""
        step: AlarmStep = "dropped" if stored.alarm.state == "pending" else "cleared"
        alarm = stored.alarm
        if alarm.device_id:
            record = await self._zones.get(alarm.tenant_id, alarm.device_id)
            if record.version is not None:
                alarm = steps.of_zone(alarm, record.zone)
        alarm = steps.cleared(alarm, self._writer.moment(), self._keep_ms)
        await self._change(stored, AlarmChange(step, alarm))

    async def delay_again(self) -> None:
        """Begin the delay of pending alarms again whose setpoint was changed."""
        delayed, self._watch.delayed = self._watch.delayed, {}
        for key, delay_ms in delayed.items():
            entry = self._board.get(key)
            if isinstance(entry, KnownAlarm) and entry.alarm.state == "pending":
                alarm = steps.delayed(entry.alarm, self._writer.moment(), delay_ms)
                await self._change(entry.stored, AlarmChange("pending", alarm))

    async def begin_alarms(self) -> None:
        """Begin the alarms of conditions that were held for long enough."""
        moment = self._writer.moment()
        groups: dict[tuple[str, str], list[AlarmKey]] = {}
        for key in self._board.held:
            groups.setdefault((key[0], family_of(key[2])), []).append(key)
        for (tenant_id, family), keys in groups.items():
            if not family or await self._wants_each(tenant_id, family, keys, moment):
                await self._begin(keys[:BEGUN_IN_A_ROUND], moment)

    async def go_on(self) -> None:
        """Let delays and shelves end whose time has come."""
        moment = self._writer.moment()
        due: list[AlarmKey] = []
        for key, entry in self._board.known():
            alarm = entry.alarm
            if alarm.state == "pending":
                if not rest_ms(alarm, moment, entry.uptime_ms):
                    due.append(key)
            elif shelf_is_over(alarm, moment):
                change = AlarmChange("unshelved", steps.shelved(alarm, "", 0, moment))
                await self._change(entry.stored, change)
        for key in due:
            await self._activate(key, moment)

    async def end_many(self) -> None:
        """End the site's alarms whose conditions are left in few zones.

        Not in their first minute: the zone watch may need it to store that so many are silent.
        """
        uptime_ms = self._writer.moment().uptime_ms
        for key, entry in self._board.known():
            tenant_id, device_id, kind = key
            if device_id or not kind.startswith(MANY):
                continue
            if uptime_ms - entry.uptime_ms < MANY_WITHIN_MS:
                continue
            family = kind.removeprefix(MANY)
            counts = await self._zones.count_by_trust(tenant_id, ("", family))
            if many_is_over(counts[family], counts.total()):
                await self.end(entry.stored)
                await self._compare_family(tenant_id, family)

    async def know_all(self) -> None:
        """Read all open alarms, and new thresholds: other processes change them too."""
        await self._limits.read()
        uptime_ms = self._writer.moment().uptime_ms
        found = [one async for some in self._alarms.all_open() for one in some]
        self._board.replace(found, uptime_ms)

    async def compare_all(self, families: Iterable[str]) -> None:
        """Compare all open alarms with their zones, and all zones that are not trusted."""
        self._watch.is_full = False
        moment = self._writer.moment()
        of_tenants: dict[str, set[str]] = {}
        for (tenant_id, device_id, _), _entry in self._board.known():
            if device_id:
                of_tenants.setdefault(tenant_id, set()).add(device_id)
        for tenant_id, devices in of_tenants.items():
            for some in in_parts(sorted(devices)):
                for device_id, record in (await self._zones.get_many(tenant_id, some)).items():
                    if record.version is None:
                        self._watch.is_gone((tenant_id, device_id))
                    else:
                        self._watch.compare((tenant_id, device_id), record.zone, moment)
        for family in families:
            async for zone in self._zones.in_state(family):
                self._watch.compare((zone.tenant_id, zone.device_id), zone, moment)

    async def _compare_family(self, tenant_id: str, family: str) -> None:
        moment = self._writer.moment()
        async for zone in self._zones.in_state(family):
            if zone.tenant_id == tenant_id:
                self._watch.compare((tenant_id, zone.device_id), zone, moment)

    async def _wants_each(
        self, tenant_id: str, family: str, keys: list[AlarmKey], moment: AlarmMoment
    ) -> bool:
        """Whether each zone gets an alarm now; it begins that of the site if this gets one."""
        board, now_ms = self._board, moment.uptime_ms
        waited = [now_ms - board.held[key].uptime_ms for key in keys]
        zones = await self._count(tenant_id, moment)
        if zones >= MANY_LEAST and max(waited) < HOLD_MS:
            return False
        recent = board.recent(tenant_id, family, now_ms)
        verdict = judge_many(recent, zones, max(waited), min(waited), is_counted=recent < STORM)
        if verdict == "ask":
            recent = max(recent, await self._count_recent(tenant_id, family, moment))
            verdict = judge_many(recent, zones, max(waited), min(waited), is_counted=True)
        if verdict == "many":
            key = tenant_id, "", f"{MANY}{family}"
            sign = Sign(on=True, off=False, since_ms=board.held[keys[0]].sign.since_ms)
            await self._writer.begin([Beginning(key, sign, zones=recent)])
            if board.is_absorbed(tenant_id, family):
                for number, one in enumerate(keys, 1):
                    board.forget(one)
                    if number % COMPARED_AT_ONCE == 0:
                        await asyncio.sleep(0)
        return verdict == "each"

    async def _begin(self, keys: list[AlarmKey], moment: AlarmMoment) -> None:
        """Begin these alarms, if the stored zones still have the conditions."""
        wanted: list[Beginning] = []
        records: dict[ZoneId, Versioned] = {}
        for tenant_id in {key[0] for key in keys}:
            devices = sorted({key[1] for key in keys if key[0] == tenant_id and key[1]})
            for some in in_parts(devices):
                found = await self._zones.get_many(tenant_id, some)
                records |= {(tenant_id, name): one for name, one in found.items()}
                await self._limits.read_again(tenant_id, some)
        for key in keys:
            held, record = self._board.get(key), records.get(key[:2])
            if not isinstance(held, HeldCondition):
                continue
            if record is None:  # a condition of the site
                wanted.append(Beginning(key, held.sign))
                continue
            sign = self._watch.sign_of(record.zone, key[2], moment)
            if record.version is None or sign is None or not sign.on:
                self._board.forget(key)
                continue
            delay_ms = self._watch.delay_ms(key, moment)
            wanted.append(Beginning(key, sign, record.zone, held.setpoint_tenths, delay_ms))
        await self._writer.begin(wanted)
        for one in wanted:
            if isinstance(self._board.get(one.key), HeldCondition):
                self._board.forget(one.key)  # the next comparison of the zone finds it again

    async def _activate(self, key: AlarmKey, moment: AlarmMoment) -> None:
        entry = self._board.get(key)
        if not isinstance(entry, KnownAlarm):
            return
        record = await self._zones.get(*key[:2])
        await self._limits.read_again(key[0], [key[1]])
        sign = self._watch.sign_of(record.zone, key[2], moment)
        if record.version is None or sign is None or sign.on is False:
            await self.end(entry.stored)
            return
        if sign.on:
            alarm = steps.of_zone(steps.activated(entry.alarm, moment), record.zone)
            await self._change(entry.stored, AlarmChange("raised", alarm))

    async def _change(self, stored: StoredAlarm, change: AlarmChange) -> None:
        """Store a step; if another process was first, know what it wrote instead."""
        try:
            await self._writer.change(stored, change)
        except Conflict:
            alarm = stored.alarm
            newer = (await self._alarms.slots([alarm.slot]))[alarm.slot].last
            if newer is None:
                self._board.forget((alarm.tenant_id, alarm.device_id, alarm.kind))
            else:
                self._board.know(newer, self._writer.moment().uptime_ms)

    async def _count(self, tenant_id: str, moment: AlarmMoment) -> int:
        """The number of the tenant's zones, at most a minute old."""
        count, until_ms = self._counts.get(tenant_id, (0, 0.0))
        if moment.uptime_ms >= until_ms:
            count = await self._zones.count(tenant_id)
            self._counts[tenant_id] = count, moment.uptime_ms + ZONES_COUNT_S * 1000
        return count

    async def _count_recent(self, tenant_id: str, family: str, moment: AlarmMoment) -> int:
        """How many of the tenant's zones have come into this state lately, by the store.

        The zone watch writes one silent zone after another, so those are counted by their posts.
        """
        count, steady_ms = 0, moment.steady_ms
        if family == "silent":
            span = steady_ms - SOUGHT_MS, steady_ms - SILENT_MIN_MS + 1
            async for zone in self._zones.seen_between(tenant_id, *span):
                count += 0 <= overdue_ms(zone, steady_ms) < MANY_WITHIN_MS
            return count
        async for zone in self._zones.in_state(family):
            since_ms = moment.now_ms - zone.trust_since_ms
            count += zone.tenant_id == tenant_id and since_ms < MANY_WITHIN_MS
        return count
