"""Columns: readings of one device as lists, one for each field."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from server.services.ports.readings import Reading

# The bits of `Columns.flags`.
COOL, HEAT, SENSOR_OK, PRESENT = 1, 2, 4, 8


class Texts(NamedTuple):
    """The fields of a reading that are texts; nearly all readings of a device have the same."""

    state: str
    clock: str = ""
    fault_reason: str = ""


class Samples(NamedTuple):
    """What charts and sums need of readings: lists of equal length, oldest first."""

    times: list[int]
    temps: list[int | None]
    flags: list[int]

    def between(self, start_ms: int, end_ms: int) -> Samples:
        """Those with start <= time <= end."""
        return Samples(*_between(self, start_ms, end_ms))


@dataclass(slots=True)
class Columns:
    """Readings of one device, oldest first, as lists of equal length.

    Times are Unix milliseconds, temperatures tenths of °C. `received` is the time of receipt; a
    sealed reading has its own time there, because that of receipt is not kept.
    """

    times: list[int] = field(default_factory=list)
    temps: list[int | None] = field(default_factory=list)
    setpoints: list[int] = field(default_factory=list)
    deadbands: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)
    ticks: list[int | None] = field(default_factory=list)
    device_times: list[int | None] = field(default_factory=list)
    received: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def between(self, start_ms: int, end_ms: int) -> Columns:
        """The readings with start <= time <= end."""
        return Columns(*_between(self._lists(), start_ms, end_ms))

    def part(self, first: int, last: int) -> Columns:
        """The readings first <= index < last."""
        return Columns(*(values[first:last] for values in self._lists()))

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The readings of all parts by their times; those of the same time keep their order."""
        return cls(*joined([part._lists() for part in parts])) if parts else cls()

    def states(self) -> list[str]:
        """The `state` of each reading."""
        return [texts.state for texts in self.texts]

    def samples(self) -> Samples:
        """What charts and sums need of the readings."""
        return Samples(self.times, self.temps, self.flags)

    def _lists(self) -> tuple[list[Any], ...]:
        return (
            self.times,
            self.temps,
            self.setpoints,
            self.deadbands,
            self.flags,
            self.texts,
            self.ticks,
            self.device_times,
            self.received,
        )

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Columns:
        """The columns of readings that are in order."""
        columns = cls()
        for one in readings:
            columns.times.append(one.timestamp_ms)
            columns.temps.append(one.temp_tenths)
            columns.setpoints.append(one.setpoint_tenths)
            columns.deadbands.append(one.deadband_tenths)
            columns.flags.append(flags_of(one))
            columns.texts.append(Texts(one.state, one.clock, one.fault_reason))
            columns.ticks.append(one.device_ticks_ms)
            columns.device_times.append(one.device_time_ms)
            columns.received.append(one.received_ms)
        return columns

    def readings(self, tenant_id: str, device_id: str) -> list[Reading]:
        """The readings of these columns, in the same order."""
        return [
            _reading(tenant_id, device_id, *values) for values in zip(*self._lists(), strict=True)
        ]

    def reading(self, index: int, tenant_id: str, device_id: str) -> Reading:
        """One of the readings."""
        return _reading(tenant_id, device_id, *(values[index] for values in self._lists()))


def joined(parts: Sequence[Sequence[list[Any]]]) -> Sequence[list[Any]]:
    """The lists of all parts, joined and in the order of the times.

    The lists of a part begin with its times, which ascend.
    """
    lists = parts[0] if len(parts) == 1 else list(map(_chained, zip(*parts, strict=True)))
    bounds = [(part[0][0], part[0][-1]) for part in parts if part[0]]
    if all(last <= first for (_, last), (first, _) in pairwise(bounds)):
        return lists
    times = lists[0]
    order = sorted(range(len(times)), key=times.__getitem__)
    return [[values[index] for index in order] for values in lists]


def _chained(lists: Sequence[list[Any]]) -> list[Any]:
    """All values, list by list: `chain` would take them one by one."""
    values: list[Any] = []
    for one in lists:
        values += one
    return values


def _between(lists: Sequence[list[Any]], start_ms: int, end_ms: int) -> Sequence[list[Any]]:
    """The part of lists, which begin with the times, with start <= time <= end."""
    times = lists[0]
    first, last = bisect_left(times, start_ms), bisect_right(times, end_ms)
    if first == 0 and last == len(times):
        return lists
    return [values[first:last] for values in lists]


def _reading(
    tenant_id: str,
    device_id: str,
    time_ms: int,
    temp: int | None,
    setpoint: int,
    deadband: int,
    flags: int,
    texts: Texts,
    ticks: int | None,
    device_time: int | None,
    received: int,
) -> Reading:
    reading = Reading(
        tenant_id=tenant_id,
        device_id=device_id,
        timestamp_ms=time_ms,
        temp_tenths=temp,
        setpoint_tenths=setpoint,
        deadband_tenths=deadband,
        cool_active=bool(flags & COOL),
        heat_active=bool(flags & HEAT),
        state=texts.state,
        sensor_ok=bool(flags & SENSOR_OK),
        received_ms=received,
        present=bool(flags & PRESENT),
    )
    if ticks is None and device_time is None and not texts.clock and not texts.fault_reason:
        return reading
    return msgspec.structs.replace(
        reading,
        device_ticks_ms=ticks,
        device_time_ms=device_time,
        clock=texts.clock,
        fault_reason=texts.fault_reason,
    )


def flags_of(reading: Reading) -> int:
    """The flags of a reading."""
    return (
        COOL * reading.cool_active
        + HEAT * reading.heat_active
        + SENSOR_OK * reading.sensor_ok
        + PRESENT * reading.present
    )
