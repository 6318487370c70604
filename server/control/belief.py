"""Whether a zone's reading is believed. Pure; temperatures in tenths of °C, times in steady ms.

A sensor that is about to fail, a bad contact or a second device sends single values that are far
off. One of them must start no compressor. What is known stands in the zone's record, so that every
process and a restarted one go on where another left off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.control.present import Placed
from server.control.reading import EARLIEST_DATE_MS, NewReading
from server.control.silence import silent_after_ms
from server.services.firestore.measured import TEMP_MAX, TEMP_MIN
from server.services.firestore.models import ZoneRecord

# More than this from the last trusted reading, within this time, is a jump.
JUMP, JUMP_MS = 100, 30_000
# A jump is believed when the next two readings each lie this near to the one before.
NEAR = 20
# What a DS18B20 sends before its first conversion: 85.0 °C.
# https://www.analog.com/media/en/technical-documentation/data-sheets/DS18B20.pdf, "Memory".
POWER_ON = 850
# After one of these the first reading may be a sensor's that was just switched on.
_ANEW = ("never", "silent", "refused", "fault")


class Trusting(NamedTuple):
    """What may be believed: values in this range; and after how long without one the zone is in
    fault."""

    lowest: int = TEMP_MIN
    highest: int = TEMP_MAX
    safe_after_ms: int = 60_000


class Trusted(NamedTuple):
    """The last trusted reading: its temperature, None if there was none, and when it came; without
    one, when the first came that was not believed (0: none did)."""

    tenths: int | None = None
    at_ms: int = 0


class Belief(msgspec.Struct, frozen=True, gc=False):
    """Whether a reading is believed, and what is known after it; `reason` is why not, or why the
    zone is doubted all the same. See `ZoneRecord` for the last four."""

    believed: bool = True
    reason: str = ""
    doubted: list[int] = []
    jumped_from: str = ""
    jumped_ms: int = 0
    back_from: str = ""


BELIEVED = Belief()


def last_trusted(zone: ZoneRecord) -> Trusted:
    """What the record has; a zone that is trusted has it in its last reading."""
    if zone.trusted_ms:
        return Trusted(zone.trusted_tenths, zone.trusted_ms)
    if zone.trust_state == "ok":
        return Trusted(zone.temp_tenths, zone.last_seen_ms)
    return Trusted()


def believe(zone: ZoneRecord, rows: Sequence[Placed], steady_ms: int, trusting: Trusting) -> Belief:
    """Whether the newest of these readings, oldest first, of one post is believed."""
    if zone.trust_state == "ok" and not zone.jumped_ms:
        # As nearly all are: each near to the one before.
        before, (low, high, _) = zone.temp_tenths, trusting
        for row in rows:
            tenths = row.new.temp_tenths
            if before is None or tenths is None or not low <= tenths <= high:
                break
            if not -JUMP <= tenths - before <= JUMP or not row.new.sensor_ok:
                break
            before = tenths
        else:
            return BELIEVED
    return _Doubt(zone, steady_ms, trusting).belief([row.new for row in rows])


class _Doubt:
    """What is known while the readings of one post are looked at, one by one."""

    def __init__(self, zone: ZoneRecord, steady_ms: int, trusting: Trusting) -> None:
        self._zone = zone
        self._now_ms = steady_ms
        self._trusting = trusting
        self._trusted = last_trusted(zone)
        self._doubted = zone.doubted
        # A wrong time must not make a jump of a reading that is old.
        since_ms = steady_ms - self._trusted.at_ms
        self._is_fresh = self._trusted.tenths is not None and 0 <= since_ms <= JUMP_MS
        if zone.doubted:
            self._is_fresh = steady_ms - zone.last_seen_ms <= JUMP_MS
        silent_ms = steady_ms - zone.last_seen_ms
        self._anew = zone.trust_state in _ANEW or silent_ms >= silent_after_ms(zone)

    def belief(self, readings: Sequence[NewReading]) -> Belief:
        """After all of them, the newest last."""
        reason = ""
        anew = self._anew or _was_restarted(self._zone, readings[0])
        for one in readings:
            if one.temp_tenths is None or not one.sensor_ok:
                continue
            reason = self._why_not(one.temp_tenths, anew)
            anew = anew and reason == "power_on"
            if reason:
                self._doubted = [*self._doubted[-1:], one.temp_tenths]
            else:
                self._doubted = []
                self._trusted = Trusted(one.temp_tenths, self._now_ms)
                self._is_fresh = True
        return self._with_source(reason, readings[-1].source)

    def _why_not(self, tenths: int, anew: bool) -> str:
        """Why a reading is not believed; empty if it is."""
        if not self._trusting.lowest <= tenths <= self._trusting.highest:
            return "implausible"
        if tenths == POWER_ON and (anew or self._zone.trust_reason == "power_on"):
            return "power_on"
        if not self._is_fresh:
            return ""
        if self._trusted.tenths is None or abs(tenths - self._trusted.tenths) <= JUMP:
            return ""
        return "" if self._is_confirmed(tenths) else "jump"

    def _is_confirmed(self, tenths: int) -> bool:
        """Whether the readings before say the same: near to each other, or all on one way."""
        if len(self._doubted) < 2:
            return False
        first, second = self._doubted
        steps = ((first, second), (second, tenths))
        if all(abs(b - a) <= NEAR and not a == b == POWER_ON for a, b in steps):
            return True
        trusted = self._trusted.tenths
        if trusted is None:
            return False
        path = (trusted, first, second, tenths)
        return sorted(set(path)) == list(path) or sorted(set(path)) == list(path[::-1])

    def _with_source(self, reason: str, source: str) -> Belief:
        """Where two devices speak for one zone, its readings jump to and fro between two addresses:
        the zone is doubted then as long as they do."""
        zone = self._zone
        lately = 0 <= self._now_ms - zone.jumped_ms <= JUMP_MS
        if reason == "jump":
            other = (zone.back_from if zone.jumped_from == source else zone.jumped_from) * lately
            if other and source:
                reason = "two_sources"
            return Belief(False, reason, self._doubted, source, self._now_ms, other)
        if not lately:
            return Belief(not reason, reason, self._doubted)
        back = source if not reason and source != zone.jumped_from else zone.back_from
        shown = reason or ("two_sources" if zone.trust_reason == "two_sources" else "")
        return Belief(not reason, shown, self._doubted, zone.jumped_from, zone.jumped_ms, back)


def _was_restarted(zone: ZoneRecord, first: NewReading) -> bool:
    """Whether the device counts anew since its last post. Its ticks also begin again after 12 days:
    then it is taken for restarted once."""
    count = counted(first)
    return count is not None and zone.counter is not None and count < zone.counter


def counted(reading: NewReading) -> int | None:
    """What the device counts from its start: `seq`, or its ticks; None if it does not."""
    ticks = reading.timestamp
    if reading.seq is not None or (ticks is not None and ticks < EARLIEST_DATE_MS):
        return ticks if reading.seq is None else reading.seq
    return None
