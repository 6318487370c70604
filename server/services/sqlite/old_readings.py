"""OldReadings: reads readings that are still documents, as earlier versions stored them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from server.services.history.columns import Columns
from server.services.history.documents import reading_from
from server.services.ports.cursors import encode_cursor
from server.services.ports.documents import PAGE_MAX, Document, Filter, Query
from server.services.ports.readings import Reading
from server.services.sqlite import queries, schema
from server.services.sqlite.documents import from_rows
from server.services.sqlite.reading_tables import Owner

# Their collection.
OLD_READINGS = "telemetry"
_ANY = f"SELECT 1 FROM {schema.table(OLD_READINGS)} LIMIT 1"  # noqa: S608 - a constant
_TABLE = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"


def has_old_readings(connection: sqlite3.Connection) -> bool:
    """Whether some readings are still documents."""
    table = connection.execute(_TABLE, (OLD_READINGS,)).fetchone()
    return table is not None and connection.execute(_ANY).fetchone() is not None


class OldReadings:
    """Those of one device of a tenant, or of all."""

    def __init__(
        self, connection: sqlite3.Connection, tenant_id: str, device_id: str | None
    ) -> None:
        self._connection = connection
        self._tenant_id, self._device_id = tenant_id, device_id

    def between(self, start_ms: int, end_ms: int) -> Iterator[tuple[Owner, Columns]]:
        """Each device's readings with start <= time <= end, oldest first."""
        query = self.query(
            Filter("timestamp_ms", ">=", start_ms), Filter("timestamp_ms", "<=", end_ms)
        )
        cursor: str | None = None
        readings: list[Reading] = []
        while True:
            documents = self._documents(query, PAGE_MAX, cursor)
            readings += (reading_from(document.fields) for document in documents[:PAGE_MAX])
            if len(documents) <= PAGE_MAX:
                break
            cursor = encode_cursor(query, documents[PAGE_MAX - 1])
        by_owner: dict[Owner, list[Reading]] = {}
        for reading in reversed(readings):  # oldest first, those of the same time by their ids
            owner = Owner(reading.tenant_id, reading.device_id)
            by_owner.setdefault(owner, []).append(reading)
        for owner, some in by_owner.items():
            yield owner, Columns.of(some)

    def newest_ms(self, before_ms: int) -> int | None:
        """The time of the newest reading at or before a time; None without any."""
        documents = self._documents(self.query(Filter("timestamp_ms", "<=", before_ms)), 1, None)
        return reading_from(documents[0].fields).timestamp_ms if documents else None

    def query(self, *filters: Filter) -> Query:
        """The query for these readings, newest first."""
        owner = [Filter("tenant_id", "==", self._tenant_id)]
        if self._device_id is not None:
            owner.append(Filter("device_id", "==", self._device_id))
        return Query(OLD_READINGS, (*owner, *filters), order_by="timestamp_ms", direction="desc")

    def _documents(self, query: Query, limit: int, cursor: str | None) -> list[Document]:
        statement = queries.select(query, limit, cursor)
        return from_rows(self._connection.execute(*statement).fetchone()[0])
