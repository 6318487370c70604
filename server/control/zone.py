"""The control rule of one zone: pure, with time as an argument.

Temperatures are tenths of a degree Celsius; times are milliseconds on any one clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

SETPOINT_DEFAULT, SETPOINT_MIN, SETPOINT_MAX = 230, 100, 400
DEADBAND_DEFAULT, DEADBAND_MIN, DEADBAND_MAX = 10, 0, 50
MIN_ON_MS = 10_000
MIN_OFF_MS = 10_000


class Relays(msgspec.Struct, frozen=True, gc=False):
    """The relays of a zone.

    `cool_changed_ms` is when the cooler last started or stopped; None if it never did.
    """

    cool: bool = False
    heat: bool = False
    fault: bool = False
    cool_changed_ms: float | None = None

    @property
    def state(self) -> str:
        """The state's name as devices and dashboards know it."""
        if self.fault:
            return "FAULT"
        if self.cool:
            return "COOLING_WITH_LEDS" if self.heat else "COOLING"
        return "IDLE_WITH_LEDS" if self.heat else "IDLE"


def decide(
    relays: Relays,
    *,
    temp_tenths: int,
    sensor_ok: bool,
    setpoint_tenths: int,
    deadband_tenths: int,
    now_ms: float,
    min_on_ms: int = MIN_ON_MS,
    min_off_ms: int = MIN_OFF_MS,
) -> Relays:
    """The relays after one reading.

    A failed sensor cuts both relays at once; that stop counts for the minimum off time. Otherwise
    the heat relay is on, and the cooler follows `temp > setpoint + deadband` within its minimum
    on and off times. Should the clock have gone back behind the last switch, the time already
    served is unknown: the minimum time starts again, so a wait never exceeds it.
    """
    changed_ms = relays.cool_changed_ms
    if changed_ms is not None and changed_ms > now_ms:
        changed_ms = now_ms

    if not sensor_ok:
        return Relays(
            cool=False,
            heat=False,
            fault=True,
            cool_changed_ms=now_ms if relays.cool else changed_ms,
        )

    wanted = temp_tenths > setpoint_tenths + deadband_tenths
    wait_ms = min_on_ms if relays.cool else min_off_ms
    may_switch = changed_ms is None or now_ms - changed_ms >= wait_ms
    if wanted != relays.cool and may_switch:
        return Relays(cool=wanted, heat=True, cool_changed_ms=now_ms)
    return Relays(cool=relays.cool, heat=True, cool_changed_ms=changed_ms)


def decide_batch(
    relays: Relays,
    readings: Sequence[tuple[int, bool]],
    *,
    newest: bool,
    setpoint_tenths: int,
    deadband_tenths: int,
    now_ms: float,
) -> Relays:
    """The relays after readings that came together: (temp_tenths, sensor_ok), oldest first.

    Only the present may switch something on, and of readings that come together only the last one
    is the present: it decides as in `decide`. The temperatures before it switch nothing. A fault
    among them cuts as it would have alone, and its minimum off time begins: a sensor that fails now
    and then must not be safer for being reported one by one. Without `newest` the last one is not
    the newest either: there are more to come.
    """

    present = readings[-1:] if newest else []
    faults = [reading for reading in readings if not reading[1]][:1]
    for temp_tenths, sensor_ok in [*faults, *present]:
        relays = decide(
            relays,
            temp_tenths=temp_tenths,
            sensor_ok=sensor_ok,
            setpoint_tenths=setpoint_tenths,
            deadband_tenths=deadband_tenths,
            now_ms=now_ms,
        )
    return relays
