"""Simulates a heated and cooled room, and what its sensor reads, with time as an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

DAY_S = 86_400.0
SENSOR_MIN_C = -55.0
SENSOR_MAX_C = 125.0


@dataclass(frozen=True, slots=True)
class ThermalParams:
    """The physical properties of one zone.

    Around 24 °C the defaults warm the air by 2 K and cool it by 4 K a minute. With the two lags
    this overshoots by more than the sensor's noise: the cooler cycles about every two minutes.
    """

    heat_loss_w_per_k: float = 10.0  # W/K through the walls
    thermal_mass_j_per_k: float = 3_000.0  # J/K; with the loss a time constant of 5 minutes
    heating_w: float = 100.0  # W the LED strips give off: 10 K above outside in the long run
    cooling_w: float = 300.0  # W the cooler takes away: 30 K in the long run
    coil_lag_s: float = 20.0  # s in which the cooler's coil follows its relay to 63 %
    probe_lag_s: float = 30.0  # s in which the sensor follows the air to 63 %
    noise_c: float = 0.08  # °C, standard deviation of one reading
    outside_mean_c: float = 24.0  # °C, mean over days
    outside_swing_c: float = 3.0  # °C, half the difference between day and night
    drift_swing_c: float = 1.5  # °C, half the difference between mild and harsh days
    drift_period_s: float = 3.0 * DAY_S  # s from one harsh day to the next
    phase_s: float = 0.0  # s that this zone's day is ahead of the others'
    fault_chance: float = 1 / 600  # chance that a reading starts a sensor fault
    fault_readings_max: int = 4  # a fault lasts from one to this many readings

    @classmethod
    def varied(cls, rng: Random) -> ThermalParams:
        """Return the properties of one of many zones: they differ by some 10 % at random."""
        plain = cls()

        def about(figure: float) -> float:
            return figure * rng.uniform(0.9, 1.1)

        return cls(
            heat_loss_w_per_k=about(plain.heat_loss_w_per_k),
            thermal_mass_j_per_k=about(plain.thermal_mass_j_per_k),
            heating_w=about(plain.heating_w),
            cooling_w=about(plain.cooling_w),
            outside_mean_c=plain.outside_mean_c + rng.uniform(-1.0, 1.0),
            outside_swing_c=about(plain.outside_swing_c),
            drift_period_s=rng.uniform(2.0, 5.0) * DAY_S,
            phase_s=rng.uniform(0.0, DAY_S),
        )


@dataclass(frozen=True, slots=True)
class SensorReading:
    """One reading: tenths of °C, and whether the sensor answered.

    On a fault it has the last good value.
    """

    temp_tenths: int
    sensor_ok: bool


class ThermalZone:
    """One room, its cooler, its LED strips and its sensor. Deterministic for a given `rng`.

    Each lag is a first-order one, solved exactly over a step, so a step of any length is stable,
    and the air stays between its present temperature and the one that the powers lead to.
    """

    def __init__(self, params: ThermalParams, rng: Random, start_c: float = 24.5) -> None:
        self._params = params
        self._rng = rng
        self._elapsed_s = 0.0
        self._coil = 0.0  # share of the cooling power at work, 0..1
        self._air_c = start_c
        self._probe_c = start_c
        self._last_good_tenths = round(start_c * 10)
        self._faulty_readings = 0

    @property
    def air_c(self) -> float:
        """True air temperature in °C, without the sensor's lag and noise."""
        return self._air_c

    def outside_c(self) -> float:
        """Outside temperature in °C: a daily sine on a slow drift."""
        p = self._params
        at_s = self._elapsed_s + p.phase_s
        day = math.sin(2 * math.pi * at_s / DAY_S)
        drift = math.sin(2 * math.pi * at_s / p.drift_period_s)
        return p.outside_mean_c + p.outside_swing_c * day + p.drift_swing_c * drift

    def advance(self, step_s: float, *, cooling: bool, heating: bool) -> None:
        """Let `step_s` seconds (0 or more) pass with the relays as given."""
        if step_s < 0:
            raise ValueError(f"step_s is {step_s}: time does not go back")
        p = self._params
        self._elapsed_s += step_s
        self._coil = _approach(self._coil, float(cooling), step_s, p.coil_lag_s)
        power_w = p.heating_w * heating - p.cooling_w * self._coil
        rest_c = self.outside_c() + power_w / p.heat_loss_w_per_k
        air_lag_s = p.thermal_mass_j_per_k / p.heat_loss_w_per_k
        self._air_c = _within_sensor(_approach(self._air_c, rest_c, step_s, air_lag_s))
        self._probe_c = _approach(self._probe_c, self._air_c, step_s, p.probe_lag_s)

    def read(self) -> SensorReading:
        """Return a reading in the sensor's range of -55.0..125.0 °C; sometimes a fault begins."""
        p = self._params
        if self._faulty_readings == 0 and self._rng.random() < p.fault_chance:
            self._faulty_readings = self._rng.randint(1, p.fault_readings_max)
        if self._faulty_readings > 0:
            self._faulty_readings -= 1
            return SensorReading(self._last_good_tenths, sensor_ok=False)
        noisy_c = _within_sensor(self._rng.gauss(self._probe_c, p.noise_c))
        self._last_good_tenths = round(noisy_c * 10)
        return SensorReading(self._last_good_tenths, sensor_ok=True)


def _approach(value: float, target: float, step_s: float, lag_s: float) -> float:
    return target + (value - target) * math.exp(-step_s / lag_s)


def _within_sensor(temp_c: float) -> float:
    return min(SENSOR_MAX_C, max(SENSOR_MIN_C, temp_c))
