"""Exports the readings of one device, oldest first, a span of two hours at a time."""

from __future__ import annotations

from collections.abc import Callable

from server.services.history.columns import Columns
from server.services.history.documents import reading_from
from server.services.ports.documents import Filter
from server.services.ports.readings import Exported, ReadingColumns, Span
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN
from server.services.sqlite import queries
from server.services.sqlite.documents import from_rows
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_tables import SPAN_MS


def exported(
    snapshot: ReadingSnapshot, span: Span, encode: Callable[[ReadingColumns], bytes]
) -> Exported:
    """The first readings of the span; see `ReadingHistory.export`."""
    start = INTEGER_MIN if span.start_ms is None else span.start_ms
    end = INTEGER_MAX if span.end_ms is None else span.end_ms
    first = _oldest_ms(snapshot, start)
    if first is None or first > end:
        return Exported(b"", None)
    next_ms = (first // SPAN_MS + 1) * SPAN_MS
    found = snapshot.between(first, min(end, next_ms - 1))
    columns = next(iter(found.values()), Columns())
    return Exported(encode(columns), next_ms if next_ms <= end else None)


def _oldest_ms(snapshot: ReadingSnapshot, from_ms: int) -> int | None:
    """A time at or after `from_ms`, and not after the oldest reading from then; None without."""
    times = [snapshot.oldest_ms(from_ms)] if snapshot.series else []
    if snapshot.has_old:
        newest_first = snapshot.old.query(Filter("timestamp_ms", ">=", from_ms))
        statement = queries.select_last(newest_first)
        documents = from_rows(snapshot.connection.execute(*statement).fetchone()[0])
        times += [reading_from(one.fields).timestamp_ms for one in documents]
    known = [one for one in times if one is not None]
    return min(known) if known else None
