"""Interprets measured values that a device, the existing server or a script wrote; pure.

Temperatures are tenths of °C.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

# The range of the sensors in the field: -55 to 125 °C (data sheet of the DS18B20).
TEMP_MIN, TEMP_MAX = -550, 1250
# The largest integer that JavaScript, and so a browser, keeps exactly.
SAFE_INTEGER = 2**53 - 1

FaultReason = Literal["", "no_value", "out_of_range", "unreadable"]


class Measured(NamedTuple):
    """A temperature, and whether the control may use it.

    `fault_reason` says why not; it is empty if the sensor itself reported the fault.
    """

    temp_tenths: int | None
    sensor_ok: bool
    fault_reason: FaultReason


def measured(temp: object, sensor_ok: object) -> Measured:
    """Interpret two values as they were received; an invalid one is a fault, never an error.

    A temperature that is a number inside the range is kept; any other becomes None.
    """
    value, ok = tenths(temp), flag(sensor_ok)
    inside = value is not None and TEMP_MIN <= value <= TEMP_MAX
    if not ok or inside:
        return Measured(value if inside else None, ok, "")
    return Measured(None, False, "no_value" if value is None else "out_of_range")


def tenths(value: object) -> int | None:
    """A number, rounded half away from zero; None for anything else, also for NaN.

    An infinite value was a number too large for a float; it becomes the largest safe integer, which
    is far outside the range.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, float) or math.isnan(value):
        return None
    if math.isinf(value):
        return SAFE_INTEGER if value > 0 else -SAFE_INTEGER
    rounded = math.trunc(value)
    rest = value - rounded
    return rounded + (1 if rest >= 0.5 else -1 if rest <= -0.5 else 0)


def flag(value: object) -> bool:
    """Whether the value is True or 1."""
    return value is True or (type(value) is int and value == 1)


def whole(value: object) -> int | None:
    """A number without its fraction; None for anything else or beyond SAFE_INTEGER."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    number = math.trunc(value)
    return number if -SAFE_INTEGER <= number <= SAFE_INTEGER else None
