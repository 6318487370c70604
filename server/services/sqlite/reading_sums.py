"""Sums over readings: of whole days and hours from their sums, else from the readings."""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.services.history.measured import tenths
from server.services.history.summaries import CONTEXT_MS, EMPTY, Summary, add, summarise
from server.services.ports.documents import Filter
from server.services.ports.readings import Figures, HeldFigures, Span
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN
from server.services.sqlite import queries
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_tables import DAY_HOURS, HOUR_MS, HOUR_SLOTS

# The hours after a reading whose sums depend on it.
HOURS_AFTER = -(-CONTEXT_MS // HOUR_MS)
Part = tuple[int, int]
"""A device by its number, and one of its hours or days."""

# The figures of an hour that are added up.
_ADDED = (
    *("count", "good", "total", "covered_ms", "weighted", "known_ms"),
    *("cool_ms", "heat_ms", "cool_starts", "heat_starts"),
)
_SUMS = f"""SELECT {", ".join(f"ifnull(sum({name}), 0)" for name in _ADDED)},
    min(minimum), max(maximum) FROM """
_OF_DEVICES = "series IN (SELECT value FROM json_each(?3))"
_HOURS = f"reading_hours WHERE {_OF_DEVICES} AND hour >= ?1 AND hour < ?2"
_DAYS = f"reading_days WHERE {_OF_DEVICES} AND day >= ?1 AND day < ?2"
_UNCHANGED = " AND (series, {}) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4))"
_UNCHANGED_HOURS, _UNCHANGED_DAYS = _UNCHANGED.format("hour"), _UNCHANGED.format("day")
_HOURS_OF_DAYS = f"""json_each(?1) d CROSS JOIN reading_hours ON series = d.value ->> 0
    AND hour BETWEEN (d.value ->> 1) * {DAY_HOURS} AND (d.value ->> 1) * {DAY_HOURS} + 23
    WHERE (series, hour) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"""
_CHANGED_DAYS = (
    f"SELECT series, day FROM changed_days WHERE {_OF_DEVICES} AND day >= ?1 AND day < ?2"
)
_LATE_HOURS = """SELECT DISTINCT series, slot / 360 FROM late_readings
    WHERE series IN (SELECT value FROM json_each(?3)) AND slot >= ?1 AND slot < ?2"""


class Sums(NamedTuple):
    """Sums until now, those of the readings of later times, and how many devices are in use."""

    until_now: Summary = EMPTY
    later: Summary = EMPTY
    devices: int = 0

    def with_others(self, other: Sums) -> Sums:
        """The sums of these devices and of others."""
        return Sums(
            add(self.until_now, other.until_now),
            add(self.later, other.later),
            self.devices + other.devices,
        )

    def figures(self) -> Figures:
        """The sums as the port's figures."""
        found = figures_of(add(self.until_now, self.later))
        held = figures_of(self.until_now).held
        if held is not None:
            held = msgspec.structs.replace(held, devices=self.devices)
        return msgspec.structs.replace(found, held=held)


def sums(snapshot: ReadingSnapshot, span: Span, now_ms: int | None, devices: int) -> Sums:
    """The sums over a span; those until now end at `now_ms` if the span ends later."""
    start = INTEGER_MIN if span.start_ms is None else span.start_ms
    end = INTEGER_MAX if span.end_ms is None else span.end_ms + 1
    now = end if now_ms is None else max(start, min(now_ms, end))
    later = summary(snapshot, now, end) if now < end else EMPTY
    return Sums(summary(snapshot, start, now), later, devices)


def summary(snapshot: ReadingSnapshot, start_ms: int, end_ms: int) -> Summary:
    """The sums over start <= time < end, of all devices of the snapshot together."""
    if snapshot.has_old:
        old = of_old(snapshot, start_ms, end_ms)
        return add(summary(snapshot.without_old(), start_ms, end_ms), old)
    first = -(-start_ms // HOUR_MS)
    last = min(end_ms // HOUR_MS, snapshot.summed // HOUR_SLOTS)
    if first >= last:
        return _of_readings(snapshot, start_ms, end_ms)
    late = _changed_hours(snapshot, first, last)
    total = _of_hours(snapshot, first, last, late)
    total = add(total, _of_readings(snapshot, start_ms, first * HOUR_MS))
    total = add(total, _of_readings(snapshot, last * HOUR_MS, end_ms))
    for series, hour in late:
        one = snapshot.of_one(series)
        total = add(total, _of_readings(one, hour * HOUR_MS, (hour + 1) * HOUR_MS))
    return total


def _changed_hours(snapshot: ReadingSnapshot, first: int, last: int) -> list[Part]:
    """The devices' hours from `first` to before `last` whose sums late readings have changed.

    A late reading also changes how long the next one holds, which came at most an hour later.
    """
    since = (first - HOURS_AFTER) * HOUR_SLOTS
    rows = snapshot.connection.execute(_LATE_HOURS, (since, last * HOUR_SLOTS, snapshot.ids))
    changed = {(series, hour + after) for series, hour in rows for after in range(HOURS_AFTER + 1)}
    return [(series, hour) for series, hour in sorted(changed) if first <= hour < last]


def _of_readings(snapshot: ReadingSnapshot, start_ms: int, end_ms: int) -> Summary:
    total = EMPTY
    if start_ms >= end_ms:
        return total
    for samples in snapshot.samples(start_ms, end_ms - 1, before_ms=CONTEXT_MS):
        total = add(total, summarise(samples, start_ms, end_ms))
    return total


def _of_hours(snapshot: ReadingSnapshot, first: int, last: int, without: Sequence[Part]) -> Summary:
    """The sums of whole hours, without the devices' hours in `without`.

    Those of whole days come from the days' sums, as far as these hold.
    """
    first_day = -(-first // DAY_HOURS)
    last_day = min(last // DAY_HOURS, snapshot.days // HOUR_SLOTS // DAY_HOURS)
    if first_day >= last_day:
        return _sums_of(snapshot, _HOURS, _UNCHANGED_HOURS, range(first, last), without)
    days = range(first_day, last_day)
    parameters = days.start, days.stop, snapshot.ids
    changed = {(series, hour // DAY_HOURS) for series, hour in without}
    changed = {(series, day) for series, day in changed if day in days}
    changed.update(snapshot.connection.execute(_CHANGED_DAYS, parameters).fetchall())
    total = _sums_of(snapshot, _DAYS, _UNCHANGED_DAYS, days, sorted(changed))
    for hours in range(first, first_day * DAY_HOURS), range(last_day * DAY_HOURS, last):
        total = add(total, _sums_of(snapshot, _HOURS, _UNCHANGED_HOURS, hours, without))
    if changed:
        parts = [msgspec.json.encode(some).decode() for some in (sorted(changed), without)]
        total = add(total, _summed(snapshot, _HOURS_OF_DAYS, parts))
    return total


def _sums_of(
    snapshot: ReadingSnapshot, table: str, others: str, units: range, without: Sequence[Part]
) -> Summary:
    """The sums of hours or days, without some of the devices'; `others` leaves those out."""
    if not units:
        return EMPTY
    parameters: list[object] = [units.start, units.stop, snapshot.ids]
    if not without:
        return _summed(snapshot, table, parameters)
    return _summed(snapshot, table + others, [*parameters, msgspec.json.encode(without).decode()])


def _summed(snapshot: ReadingSnapshot, table: str, parameters: Sequence[object]) -> Summary:
    row = snapshot.connection.execute(_SUMS + table, parameters).fetchone()
    *added, minimum, maximum = row
    # Nobody asks for the exact time of an extreme: looking for it would take two passes more.
    time_ms = None if minimum is None else 0
    return Summary(
        **dict(zip(_ADDED, added, strict=True)),
        minimum=minimum,
        minimum_ms=time_ms,
        maximum=maximum,
        maximum_ms=time_ms,
    )


def of_old(snapshot: ReadingSnapshot, start_ms: int, end_ms: int) -> Summary:
    """The sums of readings that are still documents; how long each held is not known."""
    span = (Filter("timestamp_ms", ">=", start_ms), Filter("timestamp_ms", "<", end_ms))
    every = queries.aggregate(snapshot.old.query(*span), None)
    good = snapshot.old.query(Filter("sensor_ok", "==", True), *span)
    execute = snapshot.connection.execute
    count = execute(*every).fetchone()[0]
    found, mean, minimum, maximum = execute(*queries.aggregate(good, "temp_tenths")).fetchone()
    return msgspec.structs.replace(
        EMPTY,
        count=count,
        good=found,
        total=tenths((mean or 0) * found) or 0,
        minimum=minimum,
        minimum_ms=None if minimum is None else start_ms,
        maximum=maximum,
        maximum_ms=None if maximum is None else start_ms,
    )


def figures_of(found: Summary) -> Figures:
    """A summary as the port's figures."""
    return Figures(
        count=found.count,
        good=found.good,
        mean=found.total / found.good if found.good else None,
        minimum=found.minimum,
        maximum=found.maximum,
        held=HeldFigures(
            mean=found.weighted / found.covered_ms if found.covered_ms else None,
            covered_ms=found.covered_ms,
            known_ms=found.known_ms,
            cool_ms=found.cool_ms,
            heat_ms=found.heat_ms,
            cool_starts=found.cool_starts,
            heat_starts=found.heat_starts,
        ),
    )
