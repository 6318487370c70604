"""TelemetryStore: readings, newest first, always of one tenant."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence

import msgspec

from server.services.firestore.base import (
    Create,
    DocumentClient,
    Fields,
    Filter,
    Page,
    Query,
    in_parts,
)
from server.services.firestore.measured import TEMP_MAX, TEMP_MIN, measured, tenths
from server.services.firestore.models import Reading, fields_of, typed_fields
from server.services.firestore.recent import RecentReadings

COLLECTION = "telemetry"


class Statistics(msgspec.Struct, frozen=True):
    """Figures over a span of time; temperatures in tenths of °C, of readings with a good sensor.

    Stores count their documents as they lie: a failure is one whose `sensor_ok` is not true.
    """

    total_records: int
    avg_temperature: int | None
    min_temperature: int | None
    max_temperature: int | None
    sensor_failures: int
    uptime_percentage: float


class TelemetryStore:
    """Readings on a `DocumentClient`. Every query names its tenant; there is none without."""

    def __init__(self, client: DocumentClient, recent: RecentReadings | None = None) -> None:
        self._client = client
        self._recent = recent

    @staticmethod
    def creation(doc_id: str, reading: Reading, *, typed: bool = False) -> Create:
        """The write that stores `reading`, to be committed together with its zone. Raises
        InvalidField for a wrong type, unless all are `typed` right."""
        fields = typed_fields(reading) if typed else fields_of(reading)
        return Create(COLLECTION, doc_id, fields, checked=True)

    async def get_many(self, tenant_id: str, doc_ids: list[str]) -> list[Reading]:
        """Those of the readings that exist and are this tenant's."""
        found = (await self._client.get_many(COLLECTION, doc_ids)).values()
        readings = (reading_from(document.fields) for document in found)
        return [reading for reading in readings if reading.tenant_id == tenant_id]

    async def by_id(self, tenant_id: str, doc_ids: Sequence[str]) -> dict[str, Reading]:
        """As `get_many`, of any number, by document id."""
        readings: dict[str, Reading] = {}
        for some in in_parts(doc_ids):
            for doc_id, document in (await self._client.get_many(COLLECTION, some)).items():
                reading = reading_from(document.fields)
                if reading.tenant_id == tenant_id:
                    readings[doc_id] = reading
        return readings

    async def query_recent(
        self, tenant_id: str, device_id: str | None = None, limit: int = 100
    ) -> list[Reading]:
        """The newest readings, of one device or of all."""
        query = _newest_first(tenant_id, device_id)
        if self._recent is None:
            return _readings(await self._client.query(query, limit))
        return await self._recent.page(
            tenant_id, device_id, limit, lambda: _awaited(self._client.query(query, limit))
        )

    async def query_window(
        self, tenant_id: str, device_id: str | None, start_ms: int, end_ms: int, limit: int
    ) -> list[Reading]:
        """The newest readings with start <= timestamp <= end."""
        window = (Filter("timestamp_ms", ">=", start_ms), Filter("timestamp_ms", "<=", end_ms))
        query = _newest_first(tenant_id, device_id, *window)
        return _readings(await self._client.query(query, limit))

    async def query_recent_paginated(
        self, tenant_id: str, device_id: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Reading], str | None]:
        """A page of readings and where the next one starts, or None after the last."""
        page = await self._client.query(_newest_first(tenant_id, device_id), limit, cursor)
        return _readings(page), page.next_cursor

    async def get_device_statistics(
        self, tenant_id: str, device_id: str | None, start_ms: int, end_ms: int
    ) -> Statistics:
        """Figures over start <= timestamp <= end; a temperature is None without a good reading."""
        window = (Filter("timestamp_ms", ">=", start_ms), Filter("timestamp_ms", "<=", end_ms))
        everything = _newest_first(tenant_id, device_id, *window)
        good = _newest_first(tenant_id, device_id, Filter("sensor_ok", "==", True), *window)
        total = (await self._client.aggregate(everything)).count
        figures = await self._client.aggregate(good, "temp_tenths")
        return Statistics(
            total_records=total,
            avg_temperature=_rounded(figures.average),
            min_temperature=_rounded(figures.minimum),
            max_temperature=_rounded(figures.maximum),
            sensor_failures=max(0, total - figures.count),
            uptime_percentage=round(100 * figures.count / total, 2) if total else 0.0,
        )


def _newest_first(tenant_id: str, device_id: str | None, *filters: Filter) -> Query:
    owner = [Filter("tenant_id", "==", tenant_id)]
    if device_id is not None:
        owner.append(Filter("device_id", "==", device_id))
    return Query(COLLECTION, (*owner, *filters), order_by="timestamp_ms", direction="desc")


async def _awaited(page: Awaitable[Page]) -> list[Reading]:
    return _readings(await page)


def _readings(page: Page) -> list[Reading]:
    return [reading_from(document.fields) for document in page.documents]


def reading_from(fields: Fields) -> Reading:
    """A document's reading. The existing server stored what devices sent, so the measured fields
    of its documents may be null, have a fraction, or lie outside the range.

    Raises msgspec.ValidationError for another field that is not of its type.
    """
    temp, sensor_ok = fields.get("temp_tenths"), fields.get("sensor_ok")
    # Nearly every document is as this server writes it.
    if type(temp) is int and TEMP_MIN <= temp <= TEMP_MAX and type(sensor_ok) is bool:
        return msgspec.convert(fields, Reading)
    read = measured(temp, sensor_ok)
    fields = fields | {"temp_tenths": read.temp_tenths, "sensor_ok": read.sensor_ok}
    if read.fault_reason:
        fields["fault_reason"] = read.fault_reason
    return msgspec.convert(fields, Reading)


def _rounded(value: float | None) -> int | None:
    return tenths(value) if value is not None and math.isfinite(value) else None
