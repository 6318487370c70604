"""TelemetryStore: stores readings and queries those of one tenant, newest first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from server.services.firestore.cache.recent_readings import RecentReadings
from server.services.firestore.models import fields_of
from server.services.history.measured import tenths
from server.services.history.series import FINE_MAX_MS, HOUR_MS, step_for
from server.services.ports.documents import EmptyFields, StoreUnavailable, Write
from server.services.ports.readings import (
    ALWAYS,
    ChangedSetpoint,
    DemandingHistory,
    NewRow,
    Point,
    Reading,
    ReadingHistory,
    RelayUse,
    Span,
)

log = logging.getLogger(__name__)


class Statistics(msgspec.Struct, frozen=True):
    """Figures over a time window; temperatures in tenths of °C, of readings with a good sensor.

    `avg_temperature` is the mean of the readings, and `uptime_percentage` how many of them are
    good. In the fields after these, each reading counts for the time until the next one, and
    silence counts as down; of several devices the uptime is the mean, and hours and starts are
    sums. They are null if the readings are in Firestore.
    """

    total_records: int
    avg_temperature: int | None
    min_temperature: int | None
    max_temperature: int | None
    sensor_failures: int
    uptime_percentage: float
    avg_temperature_by_time: float | None = None
    uptime_percentage_by_time: float | None = None
    cool_hours: float | None = None
    heat_hours: float | None = None
    cool_starts: int | None = None
    heat_starts: int | None = None


class Chart(msgspec.Struct, frozen=True):
    """What a device measured from `start` to before `end`, in buckets of `step_ms`.

    The last bucket may end after `end`.
    """

    device_id: str
    start: int
    end: int
    step_ms: int
    points: list[Point]


class TelemetryStore:
    """Readings in a `ReadingHistory`. Every query is for one tenant."""

    def __init__(self, history: ReadingHistory, recent: RecentReadings | None = None) -> None:
        self.history = history
        self._recent = recent
        self._demanding = history if isinstance(history, DemandingHistory) else None

    @property
    def can_demand(self) -> bool:
        """Whether `write` takes a demand."""
        return self._demanding is not None

    async def write(
        self, documents: Sequence[Write], rows: Sequence[NewRow], demand: EmptyFields | None = None
    ) -> list[str]:
        """Store the readings together with these documents; return the documents' versions.

        Raises DemandUnmet, and nothing is stored then.
        """
        if demand is None:
            return await self.history.write(documents, rows)
        assert self._demanding is not None
        return await self._demanding.write_if(documents, rows, demand)

    async def known(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Reading]:
        """The readings that are remembered under these ids and belong to this tenant, by id."""
        return await self.history.known(tenant_id, ids)

    async def query_recent(
        self, tenant_id: str, device_id: str | None = None, limit: int = 100
    ) -> list[Reading]:
        """The newest readings of one device or of all."""

        async def load() -> list[Reading]:
            return (await self.history.page(tenant_id, device_id, limit)).readings

        if self._recent is None:
            return await load()
        return await self._recent.page(tenant_id, device_id, limit, load)

    async def query_window(
        self, tenant_id: str, device_id: str | None, start_ms: int, end_ms: int, limit: int
    ) -> list[Reading]:
        """The newest readings with start <= timestamp <= end."""
        span = Span(start_ms, end_ms)
        return (await self.history.page(tenant_id, device_id, limit, span)).readings

    async def query_recent_paginated(
        self,
        tenant_id: str,
        device_id: str | None,
        limit: int,
        cursor: str | None,
        span: Span = ALWAYS,
    ) -> tuple[list[Reading], str | None]:
        """A page of readings and the cursor of the next page, None after the last."""
        return await self.history.page(tenant_id, device_id, limit, span, cursor)

    async def get_device_statistics(
        self,
        tenant_id: str,
        device_id: str | None,
        start_ms: int,
        end_ms: int,
        now_ms: int | None = None,
    ) -> Statistics:
        """Figures over start <= timestamp <= end; a temperature is None without a good reading.

        Figures by time end at `now_ms` if that is earlier.
        """
        span = Span(start_ms, end_ms)
        found = await self.history.figures(tenant_id, device_id, span, now_ms)
        statistics = Statistics(
            total_records=found.count,
            avg_temperature=_rounded(found.mean),
            min_temperature=_rounded(found.minimum),
            max_temperature=_rounded(found.maximum),
            sensor_failures=found.count - found.good,
            uptime_percentage=round(100 * found.good / found.count, 2) if found.count else 0.0,
        )
        held = found.held
        if held is None:
            return statistics
        time_ms = (end_ms if now_ms is None else min(now_ms, end_ms)) - start_ms
        up = held.covered_ms / (time_ms * held.devices) if time_ms > 0 and held.devices else 0.0
        return msgspec.structs.replace(
            statistics,
            avg_temperature_by_time=None if held.mean is None else round(held.mean, 2),
            uptime_percentage_by_time=round(100 * min(up, 1.0), 2),
            cool_hours=hours(held.cool_ms),
            heat_hours=hours(held.heat_ms),
            cool_starts=held.cool_starts,
            heat_starts=held.heat_starts,
        )

    async def relay_use(self, tenant_id: str, until_ms: int) -> dict[str, RelayUse] | None:
        """How long the relays of each device were on, by all stored readings until then.

        None if the store cannot know it, or cannot say it now.
        """
        try:
            return await self.history.relay_use(tenant_id, until_ms)
        except StoreUnavailable as error:
            log.warning("run hours of relays are left out of the list of devices: %s", error)
            return None

    async def chart(
        self, tenant_id: str, device_id: str, start_ms: int, end_ms: int, points: int
    ) -> Chart:
        """At most `points` points over a span of time.

        The chart of more than a week has whole hours, and begins and ends with one.
        """
        if end_ms - start_ms > FINE_MAX_MS:
            start_ms, end_ms = start_ms // HOUR_MS * HOUR_MS, -(-end_ms // HOUR_MS) * HOUR_MS
        step_ms = step_for(start_ms, end_ms, points)
        count = -(-(end_ms - start_ms) // step_ms)
        found = await self.history.points(tenant_id, device_id, start_ms, step_ms, count)
        return Chart(device_id, start_ms, end_ms, step_ms, found)

    async def setpoints(
        self, tenant_id: str, device_id: str, start_ms: int, end_ms: int
    ) -> list[ChangedSetpoint]:
        """The setpoint and deadband at `start_ms`, and their changes until `end_ms`."""
        return await self.history.setpoints(tenant_id, device_id, start_ms, end_ms)


def new_row(doc_id: str, reading: Reading, remember_ms: int = 0) -> NewRow:
    """The row of a reading whose types are not known. Raises InvalidField for a wrong one."""
    fields_of(reading)
    return NewRow(doc_id, reading, remember_ms)


def hours(ms: int) -> float:
    """A time in hours."""
    return round(ms / HOUR_MS, 2)


def _rounded(value: float | None) -> int | None:
    return None if value is None else tenths(value)
