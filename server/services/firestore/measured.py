"""How a measured value is read, whoever wrote it: a device, the existing server, a script. Pure.

Temperatures are tenths of °C.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

# What a sensor in the field measures (a DS18B20: -55 to 125 °C, its data sheet says).
TEMP_MIN, TEMP_MAX = -550, 1250
# The largest integer that JavaScript, and so a browser, keeps exactly.
SAFE_INTEGER = 2**53 - 1

FaultReason = Literal["", "no_value", "out_of_range", "unreadable"]


class Measured(NamedTuple):
    """A temperature and whether it may be acted on; `fault_reason` says why not, where the sensor
    did not say so itself."""

    temp_tenths: int | None
    sensor_ok: bool
    fault_reason: FaultReason


def measured(temp: object, sensor_ok: object) -> Measured:
    """Two values as they came: what is no good reading is a fault, and never an error.

    A temperature is kept where it is a number inside the range, else None.
    """
    value, ok = tenths(temp), flag(sensor_ok)
    inside = value is not None and TEMP_MIN <= value <= TEMP_MAX
    if not ok or inside:
        return Measured(value if inside else None, ok, "")
    return Measured(None, False, "no_value" if value is None else "out_of_range")


def tenths(value: object) -> int | None:
    """A number, rounded half away from zero; None for anything else, NaN too.

    What is infinite was written as a number too large for a float: no temperature comes near it.
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
    """True and 1 are true; all else is not."""
    return value is True or (type(value) is int and value == 1)


def whole(value: object) -> int | None:
    """A number without its fraction; None for anything else, and for what no browser could keep."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    number = math.trunc(value)
    return number if -SAFE_INTEGER <= number <= SAFE_INTEGER else None
