"""Made-up readings of zones: every 2 s, with jitter and noise, and relays as the rule decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from math import pi, sin
from operator import add, sub
from typing import TypeVar

from server.control.rules.relay_rule import MIN_OFF_MS, MIN_ON_MS
from server.services.history.columns import COOL, HEAT, PRESENT, SENSOR_OK, Columns, Texts
from server.services.sqlite.reading_tables import SPAN_MS

T = TypeVar("T")

EVERY_MS, JITTER_MS = 2000, 50
ROWS = SPAN_MS // EVERY_MS
DAY_MS = 86_400_000
# An operator changes the setpoint six times a day.
SETPOINTS = (230, 215, 240, 225, 235, 220)
SETPOINT_MS = DAY_MS // len(SETPOINTS)
DEADBAND = 10
# The noise of all zones is cut out of lists, each time elsewhere: drawing it for every reading
# would take longer than all the rest.
_POOL = 100_003
_IDLE, _COOLING = Texts("IDLE_WITH_LEDS"), Texts("COOLING_WITH_LEDS")
_FLAGS = HEAT | SENSOR_OK | PRESENT
# Tenths of °C in 2 s: how a room warms by day and by night, and what the cooler takes away.
_WARMS, _BY_DAY, _COOLS = 0.06, 0.03, 0.4
# The sensor follows the room slowly, as in the simulator, and has its noise.
_FOLLOWS, _NOISE = 0.02, 0.8


class Noise:
    """Random numbers for any number of zones."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._jitter = [self._random.randint(-JITTER_MS, JITTER_MS) for _ in range(_POOL)]
        self._sensor = [self._random.gauss(0, _NOISE) for _ in range(_POOL)]

    def jitter(self) -> Sequence[int]:
        """How late each reading of a span is, in ms; some are early."""
        return self._cut(self._jitter)

    def sensor(self) -> Sequence[float]:
        """How wrong each reading of a span is, in tenths of °C."""
        return self._cut(self._sensor)

    def _cut(self, pool: Sequence[T]) -> Sequence[T]:
        first = self._random.randrange(_POOL - ROWS)
        return pool[first : first + ROWS]


class Zone:
    """A zone that warms and cools through the day; ask for its spans in order.

    A device with a clock dates its readings. One without sends its ticks, and its readings have the
    times of their receipt.
    """

    def __init__(self, number: int, noise: Noise, *, has_clock: bool = True) -> None:
        self._noise = noise
        self._has_clock = has_clock
        # Devices do not send at the same moment, and operators do not change all zones at once.
        self._shift_ms = 100 + number * 97 % (EVERY_MS - 300)
        self._setpoint_ms = number * 1_234_567
        self._room = self._probe = 200.0 + number % 50
        self._cools = False
        self._rows_since = MIN_OFF_MS // EVERY_MS

    def span(self, span: int) -> Columns:
        """The readings of one span."""
        begin = span * SPAN_MS + self._shift_ms
        times = list(map(add, range(begin, begin + SPAN_MS, EVERY_MS), self._noise.jitter()))
        delays = [60 + late for late in self._noise.jitter()]
        ticks: list[int | None] = [None] * ROWS
        received = list(map(add, times, delays))
        if not self._has_clock:
            ticks = list(map(sub, times, [self._shift_ms] * ROWS))
            times = received = list(accumulate(received, max))
        setpoints = self._setpoints(begin)
        temps, cools = self._temperatures(begin, setpoints)
        return Columns(
            times=times,
            temps=temps,
            setpoints=setpoints,
            deadbands=[DEADBAND] * ROWS,
            flags=[_FLAGS | COOL if cool else _FLAGS for cool in cools],
            texts=[_COOLING if cool else _IDLE for cool in cools],
            ticks=ticks,
            device_times=[None] * ROWS,
            received=received,
        )

    def _setpoints(self, begin: int) -> list[int]:
        number, since_ms = divmod(begin + self._setpoint_ms, SETPOINT_MS)
        before = min(ROWS, (SETPOINT_MS - since_ms) // EVERY_MS)
        now, then = (SETPOINTS[one % len(SETPOINTS)] for one in (number, number + 1))
        return [now] * before + [then] * (ROWS - before)

    def _temperatures(
        self, begin: int, setpoints: Sequence[int]
    ) -> tuple[list[int | None], list[bool]]:
        """Temperatures, and whether the cooler ran after each: `decide` for these rows only."""
        warms = _WARMS + _BY_DAY * sin(begin % DAY_MS / DAY_MS * 2 * pi)
        min_on, min_off = MIN_ON_MS // EVERY_MS, MIN_OFF_MS // EVERY_MS
        room, probe, cool, since = self._room, self._probe, self._cools, self._rows_since
        temps: list[int | None] = []
        cools: list[bool] = []
        for noise, setpoint in zip(self._noise.sensor(), setpoints, strict=True):
            room += warms - _COOLS if cool else warms
            probe += (room - probe) * _FOLLOWS
            temp = round(probe + noise)
            wanted = temp > setpoint + DEADBAND
            since += 1
            if wanted != cool and since >= (min_on if cool else min_off):
                cool, since = wanted, 0
            temps.append(temp)
            cools.append(cool)
        self._room, self._probe, self._cools, self._rows_since = room, probe, cool, since
        return temps, cools
