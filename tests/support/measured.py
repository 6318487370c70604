"""Measured values as devices send them, with the result that every parser must produce."""

from __future__ import annotations

import math
from typing import NamedTuple

from server.services.history.measured import Measured
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN


class Case(NamedTuple):
    """The two received values, and the result of parsing them."""

    temp: object
    sensor_ok: object
    read: Measured

    def __str__(self) -> str:
        return f"{self.temp!r:.22}, {self.sensor_ok!r}"


def good(temp: object, read: int, sensor_ok: object = True) -> Case:
    """A reading that the control rules may act on."""
    return Case(temp, sensor_ok, Measured(read, True, ""))


def fault(temp: object, sensor_ok: object, read: int | None) -> Case:
    """A fault: `sensor_ok` does not say that the sensor is good."""
    return Case(temp, sensor_ok, Measured(read, False, ""))


def no_value(temp: object, sensor_ok: object = True) -> Case:
    """A sensor reported as good, without a temperature."""
    return Case(temp, sensor_ok, Measured(None, False, "no_value"))


def out_of_range(temp: object, sensor_ok: object = True) -> Case:
    """A sensor reported as good, with a temperature that it cannot measure."""
    return Case(temp, sensor_ok, Measured(None, False, "out_of_range"))


CASES = [
    good(235, 235),
    good(235, 235, 1),
    good(0, 0),
    good(-0.0, 0),
    # A fraction is rounded half away from zero; the range is checked afterwards.
    good(215.0, 215),
    good(215.4, 215, 1),
    good(243.7, 244),
    good(214.5, 215),
    good(-214.5, -215),
    good(-0.5, -1),
    good(0.49999999999999994, 0),
    good(-550, -550),
    good(1250, 1250),
    good(1250.4, 1250),
    good(-550.4, -550),
    out_of_range(1250.5),
    out_of_range(-550.5),
    out_of_range(1251, 1),
    out_of_range(-551),
    out_of_range(9999.9),
    out_of_range(2**53),
    out_of_range(INTEGER_MAX),
    out_of_range(INTEGER_MIN),
    out_of_range(10**400),
    out_of_range(1e300),
    out_of_range(math.inf),
    out_of_range(-math.inf),
    no_value(None),
    no_value(None, 1),
    no_value(math.nan),
    no_value("235"),
    no_value(""),
    no_value(True),
    no_value(False),
    no_value([235]),
    no_value({"temp_tenths": 235}),
    # The first is what the firmware in the field sends when its sensor fails.
    fault(None, False, None),
    fault(None, 0, None),
    fault(None, None, None),
    fault(0, False, 0),
    fault(215, 0, 215),
    fault(215.4, None, 215),
    fault(-127.5, False, -128),
    fault(1251, False, None),
    fault(-551.0, 0, None),
    fault(10**400, False, None),
    fault(math.inf, False, None),
    fault(math.nan, False, None),
    fault("warm", False, None),
    fault(True, None, None),
    # Only true and 1 say that the sensor is good.
    fault(235, 2, 235),
    fault(235, -1, 235),
    fault(235, 1.0, 235),
    fault(235, "true", 235),
    fault(235, "1", 235),
    fault(235, "", 235),
    fault(235, [True], 235),
    fault(235, {}, 235),
    fault(235, math.nan, 235),
]


def _is_stored(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or INTEGER_MIN <= value <= INTEGER_MAX


def _is_cell(value: object) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return type(value) in (str, type(None)) or (type(value) is int and _is_stored(value))


def _in_a_row(case: Case) -> Case:
    """The case as SQLite stores it, which has 0 and 1 for booleans."""
    ok = case.sensor_ok
    return case._replace(sensor_ok=int(ok)) if isinstance(ok, bool) else case


# The cases that a document can hold in every store, and those that a row of SQLite can hold.
STORED = [case for case in CASES if _is_stored(case.temp) and _is_stored(case.sensor_ok)]
CELLS = [case for case in map(_in_a_row, CASES) if _is_cell(case.temp) and _is_cell(case.sensor_ok)]
