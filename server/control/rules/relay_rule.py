"""The control rule of one zone. Pure, with the time as an argument.

Temperatures are tenths of a degree Celsius; times are milliseconds on any one clock.
"""

from __future__ import annotations

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
        """The state's name for devices and dashboards."""
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
    may_start: bool = True,
) -> Relays:
    """The relays after one reading.

    A failed sensor switches both relays off at once, and the minimum off time starts then.
    Otherwise the heat relay is on, and the cooler follows `temp > setpoint + deadband` within its
    minimum on and off times. Without `may_start` nothing is switched on. If the clock went back
    behind the last switch, the time since then is unknown: the minimum time starts again, so no
    wait is longer than it.
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

    heat = may_start or relays.heat
    wanted = temp_tenths > setpoint_tenths + deadband_tenths
    wait_ms = min_on_ms if relays.cool else min_off_ms
    may_switch = changed_ms is None or now_ms - changed_ms >= wait_ms
    if wanted != relays.cool and may_switch and (may_start or relays.cool):
        return Relays(cool=wanted, heat=heat, cool_changed_ms=now_ms)
    return Relays(cool=relays.cool, heat=heat, cool_changed_ms=changed_ms)


def without(relays: Relays, now_ms: float, *, cool: bool, heat: bool) -> Relays:
    """The relays, with the cooler off unless `cool` and the heat relay off unless `heat`.

    A stop of the cooler starts its minimum off time.
    """
    stops = relays.cool and not cool
    return Relays(
        cool=relays.cool and cool,
        heat=relays.heat and heat,
        fault=relays.fault,
        cool_changed_ms=now_ms if stops else relays.cool_changed_ms,
    )


def decide_post(
    relays: Relays,
    *,
    fault: bool,
    newest: int | None,
    setpoint_tenths: int,
    deadband_tenths: int,
    now_ms: float,
    may_start: bool = True,
) -> Relays:
    """The relays after the readings of one post.

    `fault` says that one of them is a fault that cuts; `newest` is the newest temperature, None if
    it is not a present reading of a good sensor.

    A fault cuts as if it had come alone, and the minimum off time starts: for a sensor that fails
    now and then, a batch must be as safe as single posts. Then the newest decides.
    """
    if fault:
        relays = decide(
            relays,
            temp_tenths=0,
            sensor_ok=False,
            setpoint_tenths=setpoint_tenths,
            deadband_tenths=deadband_tenths,
            now_ms=now_ms,
        )
    if newest is None:
        return relays
    return decide(
        relays,
        temp_tenths=newest,
        sensor_ok=True,
        setpoint_tenths=setpoint_tenths,
        deadband_tenths=deadband_tenths,
        now_ms=now_ms,
        may_start=may_start,
    )
