"""AlarmWatch: notes what happens to zones, within microseconds, and later compares it with alarms.

`observe` is part of the answer to a device: it makes a few comparisons and puts a zone that may
begin or end an alarm into a queue. Everything else is done by the task of `AlarmService`.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from server.alarms.board import AlarmBoard, AlarmKey, HeldCondition, KnownAlarm
from server.alarms.rules import LONG_MS, AlarmMoment, Sign, kind_of, quiet_ms, signs
from server.alarms.zone_limits import ZoneLimits
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.models import STARTS_KEPT, ZoneRecord

ZoneId = tuple[str, str]
"""A tenant and a device."""

# Zones that wait to be compared; each waits once, with its newest record.
NOTED_MAX = 20_000
COMPARED_AT_ONCE = 200
# The setpoints that are known, to see a change.
SETPOINTS_MAX = 20_000


class _Noted(NamedTuple):
    """A zone's newest record, and the kind that its trust had before, if it had another one."""

    zone: ZoneRecord
    setpoint_tenths: int | None
    was: str = ""


class AlarmWatch:
    """What has happened to zones and is not compared with the alarms yet."""

    def __init__(
        self, board: AlarmBoard, limits: ZoneLimits, clock: Clock, metrics: Metrics
    ) -> None:
        self._board = board
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._noted: dict[ZoneId, _Noted] = {}
        self._setpoints: dict[ZoneId, int] = {}
        # Until when `high` and `low` of a zone are quiet, by uptime.
        self._quiet: dict[ZoneId, int] = {}
        self._cools = bool(limits.site.kinds & {"long_running", "short_cycling"})
        self.wake = asyncio.Event()
        """Set when there is something to compare."""
        self.is_full = False
        """Zones were not noted, since too many waited: compare all with the store."""
        self.ending: dict[AlarmKey, None] = {}
        """Open alarms whose conditions have ended."""
        self.lost: dict[AlarmKey, None] = {}
        """Conditions that have ended, whose alarms another process may have begun."""
        self.again: dict[AlarmKey, HeldCondition] = {}
        """Conditions that began although an alarm is known: another process may have ended it."""
        self.delayed: dict[AlarmKey, int] = {}
        """Pending alarms whose delay begins again, with its length in ms."""

    def observe(self, before: ZoneRecord | None, after: ZoneRecord, setpoint: int | None) -> None:
        """Note a zone's record after a post or a silence, and its setpoint in force if known.

        `before` is None if it is not known; never blocks or raises.
        """
        key = after.tenant_id, after.device_id
        same = before is not None and before.trust_state == after.trust_state
        has_limits = self._limits.has_any
        if has_limits and setpoint is not None and self._setpoints.get(key) != setpoint:
            self._set(key, setpoint, after)
        elif same and key not in self._board.zones and not self._is_notable(after):
            return
        noted = self._noted.get(key)
        if noted is None and len(self._noted) >= NOTED_MAX:
            self._metrics.alarms_dropped.inc()
            self.is_full = True
            return
        was = noted.was if noted is not None else ""
        if before is not None and not same:
            was = kind_of(before)
        self._noted[key] = _Noted(after, setpoint, was)
        self.wake.set()

    async def compare_noted(self, moment: AlarmMoment) -> None:
        """Compare the noted zones with the alarms; other work runs in between."""
        noted, self._noted = self._noted, {}
        self.wake.clear()
        for number, (key, one) in enumerate(noted.items(), 1):
            self.compare(key, one.zone, moment, one.setpoint_tenths, one.was)
            if number % COMPARED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def compare(
        self,
        zone_id: ZoneId,
        zone: ZoneRecord,
        moment: AlarmMoment,
        setpoint_tenths: int | None = None,
        was: str = "",
    ) -> None:
        """Compare a zone's record with its alarms, and note what must change."""
        entries = self._board.zones.get(zone_id, {})
        found = signs(zone, self._limits.of(zone_id), moment)
        for kind in entries.keys() - found.keys():
            self.ending[(*zone_id, kind)] = None  # the settings do not have this kind any more
        for kind, sign in found.items():
            key = (*zone_id, kind)
            entry = entries.get(kind)
            if entry is None:
                if sign.on and not self._board.is_absorbed(zone_id[0], kind):
                    self._board.hold(key, HeldCondition(moment.uptime_ms, sign, setpoint_tenths))
                elif sign.on is False and was == kind:
                    self.lost[key] = None
            elif isinstance(entry, HeldCondition):
                if sign.on is False:
                    self._board.forget(key)
            elif sign.off or (sign.on is False and entry.alarm.state == "pending"):
                self.ending[key] = None
            else:
                self._delay_again(key, entry, moment)
                if sign.on and was not in ("", kind) and entry.alarm.state != "pending":
                    self.again[key] = HeldCondition(moment.uptime_ms, sign, setpoint_tenths)

    def is_gone(self, zone_id: ZoneId) -> None:
        """End all alarms of a zone that was deleted or has expired: it has no readings left."""
        for kind in self._board.zones.get(zone_id, {}):
            self.ending[(*zone_id, kind)] = None

    def sign_of(self, zone: ZoneRecord, kind: str, moment: AlarmMoment) -> Sign | None:
        """What the zone's record says about a kind; None for a kind that the rules lack."""
        rules = self._limits.of((zone.tenant_id, zone.device_id))
        return signs(zone, rules, moment).get(kind)

    def delay_ms(self, key: AlarmKey, moment: AlarmMoment) -> int:
        """For how long a new alarm of this zone and kind is pending."""
        if key[2] not in ("high", "low"):
            return 0
        return self._limits.site.delay_ms + self._quiet_rest(key[:2], moment)

    def forget_past(self, moment: AlarmMoment) -> None:
        """Drop quiet times that are over."""
        self._quiet = {
            key: until_ms for key, until_ms in self._quiet.items() if until_ms > moment.uptime_ms
        }

    def _is_notable(self, zone: ZoneRecord) -> bool:
        """Whether this reading alone may begin an alarm."""
        temp = zone.temp_tenths
        if temp is not None:
            rules = self._limits.of((zone.tenant_id, zone.device_id))
            if rules.high_tenths is not None and temp > rules.high_tenths:
                return True
            if rules.low_tenths is not None and temp < rules.low_tenths:
                return True
        if not self._cools or not zone.cool:
            return False
        ran = zone.cool_changed_ms
        if ran is not None and self._clock.uptime_ms() - ran >= LONG_MS:
            return True
        return len(zone.cool_starts) >= STARTS_KEPT

    def _set(self, key: ZoneId, setpoint: int, zone: ZoneRecord) -> None:
        """Note a setpoint; a change of it makes `high` and `low` quiet for a while."""
        is_change = key in self._setpoints
        if not is_change and len(self._setpoints) >= SETPOINTS_MAX:
            return
        self._setpoints[key] = setpoint
        if is_change and zone.temp_tenths is not None:
            quiet = quiet_ms(setpoint, zone.temp_tenths)
            self._quiet[key] = int(self._clock.uptime_ms()) + quiet

    def _quiet_rest(self, zone_id: ZoneId, moment: AlarmMoment) -> int:
        return max(0, self._quiet.get(zone_id, 0) - moment.uptime_ms)

    def _delay_again(self, key: AlarmKey, entry: KnownAlarm, moment: AlarmMoment) -> None:
        """A setpoint that was changed while a temperature alarm is pending delays it again."""
        if entry.alarm.state != "pending":
            return
        rest = self._quiet_rest(key[:2], moment)
        began_ms = entry.alarm.pending_uptime_ms
        if rest and began_ms + entry.alarm.delay_ms < moment.uptime_ms + rest:
            self.delayed[key] = rest + self._limits.site.delay_ms
