"""Whether a zone's reading is believed. Pure; temperatures in tenths of °C, times in steady ms.

A failing sensor, a bad contact or a second device sends single values that are far off. One such
value must not start a compressor. All state is in the zone's record, so that another process or a
restarted one continues with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.control.rules.present import Row
from server.control.rules.reading import EARLIEST_DATE_MS, NewReading
from server.control.rules.silence import silent_after_ms
from server.services.firestore.models import ZoneRecord
from server.services.history.measured import TEMP_MAX, TEMP_MIN

# A reading that differs by more than JUMP from a trusted one of the last JUMP_MS is a jump.
JUMP, JUMP_MS = 100, 30_000
# A jump is believed when each of the next two readings is within NEAR of the one before.
NEAR = 20
# A DS18B20 sends 85.0 °C before its first conversion.
# https://www.analog.com/media/en/technical-documentation/data-sheets/DS18B20.pdf, "Memory".
POWER_ON = 850
# After these states the first reading may come from a sensor that was just switched on.
_RESTART_STATES = ("never", "silent", "refused", "fault")


class Trusting(NamedTuple):
    """The range of believable values; after how long without one the zone is in fault."""

    lowest: int = TEMP_MIN
    highest: int = TEMP_MAX
    safe_after_ms: int = 60_000


class Trusted(NamedTuple):
    """The last trusted reading: its temperature and when it came.

    Without a trusted reading the temperature is None, and the time is that of the first reading
    that was not believed (0: there was none).
    """

    tenths: int | None = None
    at_ms: int = 0


class Belief(msgspec.Struct, frozen=True, gc=False):
    """Whether a reading is believed, and the zone's state of doubt after it.

    `reason` says why it is not believed, or why the zone is doubted although the reading is
    believed. `ZoneRecord` describes the last four fields.
    """

    believed: bool = True
    reason: str = ""
    doubted: list[int] = []
    jumped_from: str = ""
    jumped_ms: int = 0
    back_from: str = ""


BELIEVED = Belief()


def last_trusted(zone: ZoneRecord) -> Trusted:
    """The last trusted reading in the record; for a trusted zone that is its last reading."""
    if zone.trusted_ms:
        return Trusted(zone.trusted_tenths, zone.trusted_ms)
    if zone.trust_state == "ok":
        return Trusted(zone.temp_tenths, zone.last_seen_ms)
    return Trusted()


def believe(zone: ZoneRecord, rows: Sequence[Row], steady_ms: int, trusting: Trusting) -> Belief:
    """Whether the newest of one post's readings, which are oldest first, is believed."""
    if zone.trust_state == "ok" and not zone.jumped_ms:
        # The usual case: each reading is near the one before.
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
    """The state while the readings of one post are judged one by one."""

    def __init__(self, zone: ZoneRecord, steady_ms: int, trusting: Trusting) -> None:
        self._zone = zone
        self._now_ms = steady_ms
        self._trusting = trusting
        self._trusted = last_trusted(zone)
        self._doubted = zone.doubted
        # Processes' times may differ: a trusted reading with a time in the future may be old.
        since_ms = steady_ms - self._trusted.at_ms
        self._is_fresh = self._trusted.tenths is not None and 0 <= since_ms <= JUMP_MS
        if zone.doubted:
            self._is_fresh = steady_ms - zone.last_seen_ms <= JUMP_MS
        silent_ms = steady_ms - zone.last_seen_ms
        self._may_be_restarted = (
            zone.trust_state in _RESTART_STATES or silent_ms >= silent_after_ms(zone)
        )

    def belief(self, readings: Sequence[NewReading]) -> Belief:
        """The belief after all these readings, the newest last."""
        reason = ""
        restarted = self._may_be_restarted or _was_restarted(self._zone, readings[0])
        for one in readings:
            if one.temp_tenths is None or not one.sensor_ok:
                continue
            reason = self._reason_to_doubt(one.temp_tenths, restarted)
            restarted = restarted and reason == "power_on"
            if reason:
                self._doubted = [*self._doubted[-1:], one.temp_tenths]
            else:
                self._doubted = []
                self._trusted = Trusted(one.temp_tenths, self._now_ms)
                self._is_fresh = True
        return self._with_source(reason, readings[-1].source)

    def _reason_to_doubt(self, tenths: int, restarted: bool) -> str:
        """Why a reading is not believed; empty if it is."""
        if not self._trusting.lowest <= tenths <= self._trusting.highest:
            return "implausible"
        if tenths == POWER_ON and (restarted or self._zone.trust_reason == "power_on"):
            return "power_on"
        if not self._is_fresh:
            return ""
        if self._trusted.tenths is None or abs(tenths - self._trusted.tenths) <= JUMP:
            return ""
        return "" if self._is_confirmed(tenths) else "jump"

    def _is_confirmed(self, tenths: int) -> bool:
        """Whether the two readings before confirm this one: all near each other, or all one way."""
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
        """Add the sender to the belief.

        If two devices post for one zone, its readings jump to and fro between two addresses. The
        zone is doubted while they do.
        """
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
    """Whether the device's count restarted since its last post.

    Its ticks also wrap after 12 days, which counts as one restart.
    """
    count = counted(first)
    return count is not None and zone.counter is not None and count < zone.counter


def counted(reading: NewReading) -> int | None:
    """The device's count since its start: `seq`, or its ticks; None if it sends neither."""
    ticks = reading.timestamp
    if reading.seq is not None or (ticks is not None and ticks < EARLIEST_DATE_MS):
        return ticks if reading.seq is None else reading.seq
    return None
