"""DocumentHistory: a ReadingHistory that keeps each reading as a document."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

import msgspec

from server.common.errors import Invalid
from server.services.firestore.base import in_parts
from server.services.firestore.models import DAY_MS, utc_text
from server.services.firestore.tenant_documents import DELETED_AT_ONCE, TenantDocuments
from server.services.history.columns import Columns
from server.services.history.contents import not_among
from server.services.history.documents import reading_from
from server.services.history.series import points
from server.services.history.setpoint_search import newest_of, setpoint_changes
from server.services.history.summaries import CONTEXT_MS
from server.services.ports.documents import (
    PAGE_MAX,
    Create,
    Delete,
    DocumentClient,
    Filter,
    Page,
    Query,
    Write,
)
from server.services.ports.readings import (
    ALWAYS,
    ChangedSetpoint,
    Exported,
    Figures,
    NewRow,
    Point,
    Reading,
    ReadingColumns,
    ReadingHistory,
    ReadingPage,
    ScanPage,
    Span,
)
from server.services.ports.values import Integer

COLLECTION = "telemetry"
# A chart reads each document: 50,000 are a day of a device that reports every 2 s.
POINTS_FROM_MAX = 50_000
# An export is made in parts of this time.
EXPORT_MS = 7_200_000


class StoredReading(Reading, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A reading as a document; `utc_timestamp` is `timestamp_ms` as text.

    The existing server wrote that text, and its programs read it. At `expire_at` the document may
    be deleted.
    """

    utc_timestamp: str = ""
    expire_at: Integer = 0


class DocumentHistory(ReadingHistory):
    """Readings on a `DocumentClient`: in Firestore, each reading is a document.

    Figures are over the documents as they are stored: a good reading is one whose `sensor_ok` is
    true.
    """

    def __init__(self, client: DocumentClient, keep_days: int) -> None:
        self._client = client
        self._keep_ms = keep_days * DAY_MS
        self._of_tenants = TenantDocuments(client)

    async def write(self, documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
        creates = [Create(COLLECTION, row.id, self._stored(row.reading)) for row in rows]
        return (await self._client.write([*documents, *creates]))[: len(documents)]

    async def known(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Reading]:
        readings: dict[str, Reading] = {}
        for some in in_parts(ids):
            for doc_id, document in (await self._client.get_many(COLLECTION, some)).items():
                reading = reading_from(document.fields)
                if reading.tenant_id == tenant_id:
                    readings[doc_id] = reading
        return readings

    async def page(
        self,
        tenant_id: str,
        device_id: str | None,
        limit: int,
        span: Span = ALWAYS,
        cursor: str | None = None,
    ) -> ReadingPage:
        query = _newest_first(tenant_id, device_id, *_within(span))
        page = await self._client.query(query, limit, cursor)
        return ReadingPage(_readings(page), page.next_cursor)

    async def figures(
        self, tenant_id: str, device_id: str | None, span: Span, now_ms: int | None = None
    ) -> Figures:
        window = tuple(_within(span))
        everything = _newest_first(tenant_id, device_id, *window)
        good = _newest_first(tenant_id, device_id, Filter("sensor_ok", "==", True), *window)
        count = (await self._client.aggregate(everything)).count
        found = await self._client.aggregate(good, "temp_tenths")
        return Figures(
            count,
            min(count, found.count),
            _finite(found.average),
            _finite(found.minimum),
            _finite(found.maximum),
        )

    async def points(
        self, tenant_id: str, device_id: str, start_ms: int, step_ms: int, count: int
    ) -> list[Point]:
        span = Span(start_ms - CONTEXT_MS, start_ms + count * step_ms - 1)
        query = _newest_first(tenant_id, device_id, *_within(span))
        if (await self._client.aggregate(query)).count > POINTS_FROM_MAX:
            raise Invalid(
                "The span has too many readings",
                "TOO_MANY_READINGS",
                f"Firestore has no sums of readings, and this span has more than {POINTS_FROM_MAX}"
                " readings: ask for a shorter span",
            )
        readings = await self._all(tenant_id, device_id, span)
        samples = Columns.of(reversed(readings)).samples()
        return points(samples, start_ms, step_ms, count)

    async def setpoints(
        self, tenant_id: str, device_id: str, start_ms: int, end_ms: int
    ) -> list[ChangedSetpoint]:
        return await setpoint_changes(newest_of(self, tenant_id, device_id), start_ms, end_ms)

    async def relay_use(self, tenant_id: str, until_ms: int) -> None:
        return None

    async def export(
        self,
        tenant_id: str,
        device_id: str,
        span: Span,
        encode: Callable[[ReadingColumns], bytes],
    ) -> Exported:
        newest = (await self.page(tenant_id, device_id, 1, span)).readings
        if not newest:
            return Exported(b"", None)
        start, end, length = max(span.start_ms or 0, 0), newest[0].timestamp_ms, EXPORT_MS
        # The index has the newest readings first: the oldest are found by asking whether a time has
        # any, and the time doubles while it has none and halves where it has some.
        while start <= end:
            last = min(end, start + length - 1)
            found = (await self.page(tenant_id, device_id, 1, Span(start, last))).readings
            if found and length > EXPORT_MS:
                length = max(EXPORT_MS, length // 2)
            elif found:
                readings = await self._all(tenant_id, device_id, Span(start, last))
                body = await asyncio.to_thread(encode, Columns.of(reversed(readings)))
                return Exported(body, last + 1 if last < end else None)
            else:
                start, length = last + 1, 2 * length
        return Exported(b"", None)

    async def count(self) -> int:
        return (await self._client.aggregate(Query(COLLECTION))).count

    async def tenant_ids(self) -> list[str]:
        return await self._of_tenants.tenant_ids(COLLECTION)

    def delete_tenant(self, tenant_id: str) -> AsyncIterator[int]:
        return self._of_tenants.delete_of(COLLECTION, tenant_id)

    async def delete_readings_of(self, tenant_id: str, device_id: str) -> AsyncIterator[int]:
        query = _newest_first(tenant_id, device_id)
        cursor: str | None = None
        while True:
            page = await self._client.query(query, DELETED_AT_ONCE, cursor)
            if page.documents:
                await self._client.write([Delete(COLLECTION, one.id) for one in page.documents])
                yield len(page.documents)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def scan(self, limit: int, cursor: str | None = None) -> ScanPage:
        page = await self._client.query(Query(COLLECTION), limit, cursor)
        rows = [NewRow(one.id, reading_from(one.fields)) for one in page.documents]
        return ScanPage(rows, page.next_cursor)

    async def missing(self, rows: Sequence[NewRow]) -> list[NewRow]:
        there: set[str] = set()
        for some in in_parts([row.id for row in rows]):
            there |= (await self._client.get_many(COLLECTION, some)).keys()
        devices: dict[tuple[str, str], list[NewRow]] = {}
        for row in rows:
            if row.id not in there:
                owner = row.reading.tenant_id, row.reading.device_id
                devices.setdefault(owner, []).append(row)
        # A reading that came here by another way has another id.
        return [
            row
            for owner, some in devices.items()
            for row in not_among(some, await self._between(*owner, some, there))
        ]

    def _stored(self, reading: Reading) -> StoredReading:
        return StoredReading(
            **msgspec.structs.asdict(reading),
            utc_timestamp=utc_text(reading.timestamp_ms),
            expire_at=reading.received_ms + self._keep_ms,
        )

    async def _between(
        self, tenant_id: str, device_id: str, rows: Sequence[NewRow], without: Collection[str]
    ) -> list[Reading]:
        """The device's stored readings from the oldest to the newest of these rows.

        Documents with the ids `without` are left out.
        """
        times = [row.reading.timestamp_ms for row in rows]
        span = Span(min(times), max(times))
        return await self._all(tenant_id, device_id, span, without)

    async def _all(
        self, tenant_id: str, device_id: str, span: Span, without: Collection[str] = ()
    ) -> list[Reading]:
        """All readings of a device in a span, newest first, but those with the ids `without`."""
        query = _newest_first(tenant_id, device_id, *_within(span))
        found: list[Reading] = []
        cursor = None
        while True:
            page = await self._client.query(query, PAGE_MAX, cursor)
            found += [reading_from(one.fields) for one in page.documents if one.id not in without]
            cursor = page.next_cursor
            if cursor is None:
                return found


def _within(span: Span) -> Iterator[Filter]:
    if span.start_ms is not None:
        yield Filter("timestamp_ms", ">=", span.start_ms)
    if span.end_ms is not None:
        yield Filter("timestamp_ms", "<=", span.end_ms)


def _newest_first(tenant_id: str, device_id: str | None, *filters: Filter) -> Query:
    owner = [Filter("tenant_id", "==", tenant_id)]
    if device_id is not None:
        owner.append(Filter("device_id", "==", device_id))
    return Query(COLLECTION, (*owner, *filters), order_by="timestamp_ms", direction="desc")


def _readings(page: Page) -> list[Reading]:
    return [reading_from(document.fields) for document in page.documents]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
