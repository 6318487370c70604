"""AlarmBoard: the open alarms that this process knows, and conditions that have just begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from server.alarms.alarm import Alarm
from server.alarms.alarms_store import StoredAlarm
from server.alarms.rules import MANY_WITHIN_MS, Sign, family_of, many_of

AlarmKey = tuple[str, str, str]
"""A tenant, a device ("" for the site) and a kind."""

# Conditions that have begun and are not stored yet, of all tenants together.
HELD_MAX = 100_000


class HeldCondition(NamedTuple):
    """A condition that has begun; `uptime_ms` is when this process saw it."""

    uptime_ms: int
    sign: Sign
    setpoint_tenths: int | None = None


class KnownAlarm(NamedTuple):
    """An open alarm; `uptime_ms` is when this process saw it first.

    `is_new`: it began while this process ran, so it may be one of many.
    """

    alarm: Alarm
    version: str
    uptime_ms: int
    is_new: bool = False

    @property
    def stored(self) -> StoredAlarm:
        """The alarm as it was stored when it was seen."""
        return StoredAlarm(self.alarm, self.version)


BoardEntry: TypeAlias = HeldCondition | KnownAlarm


class AlarmBoard:
    """At most one entry for each tenant, zone and kind."""

    def __init__(self) -> None:
        self.zones: dict[tuple[str, str], dict[str, BoardEntry]] = {}
        """The entries by tenant and device, then by kind."""
        self.held: dict[AlarmKey, HeldCondition] = {}
        self.counts: Counter[str] = Counter()
        """The open alarms of each tenant."""

    def get(self, key: AlarmKey) -> BoardEntry | None:
        """The entry of this key."""
        return self.zones.get(key[:2], {}).get(key[2])

    def known(self) -> Iterator[tuple[AlarmKey, KnownAlarm]]:
        """Every open alarm."""
        for zone, entries in list(self.zones.items()):
            for kind, entry in list(entries.items()):
                if isinstance(entry, KnownAlarm):
                    yield (*zone, kind), entry

    def hold(self, key: AlarmKey, held: HeldCondition) -> None:
        """Note that a condition has begun that has no entry; beyond HELD_MAX it is forgotten."""
        if len(self.held) < HELD_MAX and self.get(key) is None:
            self.held[key] = held
            self.zones.setdefault(key[:2], {})[key[2]] = held

    def know(self, stored: StoredAlarm, uptime_ms: int, *, is_new: bool = False) -> None:
        """Note an alarm as it is stored; one that is over is forgotten."""
        alarm = stored.alarm
        key = alarm.tenant_id, alarm.device_id, alarm.kind
        if not alarm.is_open:
            self.forget(key)
            return
        before = self.get(key)
        self.held.pop(key, None)
        if isinstance(before, KnownAlarm) and before.alarm.id == alarm.id:
            uptime_ms, is_new = before.uptime_ms, before.is_new
        if not isinstance(before, KnownAlarm):
            self.counts[alarm.tenant_id] += 1
        entry = KnownAlarm(alarm, stored.version, uptime_ms, is_new)
        self.zones.setdefault(key[:2], {})[key[2]] = entry

    def forget(self, key: AlarmKey) -> None:
        """Remove the entry of this key."""
        entries = self.zones.get(key[:2], {})
        if isinstance(entries.pop(key[2], None), KnownAlarm):
            self.counts[key[0]] -= 1
        self.held.pop(key, None)
        if not entries:
            self.zones.pop(key[:2], None)

    def replace(self, stored: Iterable[StoredAlarm], uptime_ms: int) -> None:
        """Know exactly these open alarms."""
        ids = set()
        for one in stored:
            self.know(one, uptime_ms)
            ids.add(one.alarm.id)
        for key, entry in self.known():
            if entry.alarm.id not in ids:
                self.forget(key)

    def is_absorbed(self, tenant_id: str, kind: str) -> bool:
        """Whether an alarm of the site stands for the zones' alarms of this kind."""
        many = many_of(kind)
        return bool(many) and isinstance(self.get((tenant_id, "", many)), KnownAlarm)

    def recent(self, tenant_id: str, family: str, uptime_ms: int) -> int:
        """How many of the tenant's zones have had a condition of this family for a short time."""
        count = sum(key[0] == tenant_id and family_of(key[2]) == family for key in self.held)
        for key, entry in self.known():
            if key[0] == tenant_id and family_of(key[2]) == family and entry.is_new:
                count += uptime_ms - entry.uptime_ms < MANY_WITHIN_MS
        return count
