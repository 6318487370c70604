"""When a device's setpoint or deadband changed, by its readings; on one connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter

from server.services.history.codec import decode_setpoints, decode_times
from server.services.ports.readings import ChangedSetpoint, Span
from server.services.sqlite.reading_pages import newest_first
from server.services.sqlite.reading_queries import ReadingSnapshot
from server.services.sqlite.reading_tables import SPAN_MS, SPAN_SLOTS

# Of the changes within such a part of a span, so many are shown as they were: a value that changes
# with each reading would make an answer as long as the history.
PARTS, CHANGES_OF_PART = 240, 8

_LATE = f"""SELECT DISTINCT slot / {SPAN_SLOTS}, NULL, NULL FROM late_readings WHERE slot >= ?2
    AND slot < ?3 AND series IN (SELECT value FROM json_each(?1)) ORDER BY 1"""  # noqa: S608 - constants

TimedValues = tuple[int, int, int]
"""A time, and the setpoint and deadband of a reading of it."""


def changed_setpoints(
    snapshot: ReadingSnapshot, start_ms: int, end_ms: int
) -> list[ChangedSetpoint]:
    """What was in force at `start_ms`, and each change until `end_ms`; see `ReadingHistory`.

    `snapshot` is of one device, without readings that are still documents.
    """
    track = _Track(start_ms, max(1, (end_ms - start_ms) // PARTS))
    before, _ = newest_first(snapshot, Span(None, start_ms), None, 1)
    track.add((one.timestamp_ms, one.setpoint_tenths, one.deadband_tenths) for one in before)
    first, sealed = start_ms // SPAN_MS, snapshot.sealed // SPAN_SLOTS
    # Of the spans at both ends only a part counts.
    track.add(_values(snapshot, start_ms, min(end_ms, (first + 1) * SPAN_MS - 1)))
    whole = range(first + 1, min(end_ms // SPAN_MS, sealed))
    if whole:
        _add_sealed(track, snapshot, whole)
    rest = max(first + 1, whole.stop)
    track.add(_values(snapshot, rest * SPAN_MS, end_ms))
    return track.changes


class _Track:
    """The changes among values that are added in the order of their times."""

    def __init__(self, start_ms: int, part_ms: int) -> None:
        self._start_ms, self._part_ms = start_ms, part_ms
        self.changes: list[ChangedSetpoint] = []

    def is_in_force(self, setpoint: int, deadband: int) -> bool:
        """Whether the values added last are these."""
        if not self.changes:
            return False
        last = self.changes[-1]
        return last.setpoint_tenths == setpoint and last.deadband_tenths == deadband

    def add(self, values: Iterable[TimedValues]) -> None:
        """Add values that follow those before; of several at one time the last one counts."""
        for time_ms, setpoint, deadband in values:
            if self.is_in_force(setpoint, deadband):
                continue
            t = max(self._start_ms, time_ms)
            if self.changes and (t == self.changes[-1].t or self._are_many_before(t)):
                t = self.changes.pop().t
                if self.is_in_force(setpoint, deadband):
                    continue
            self.changes.append(ChangedSetpoint(t, setpoint, deadband))

    def _are_many_before(self, time_ms: int) -> bool:
        many = self.changes[-CHANGES_OF_PART:]
        return len(many) == CHANGES_OF_PART and time_ms - many[0].t < self._part_ms


def _values(snapshot: ReadingSnapshot, start_ms: int, end_ms: int) -> Iterator[TimedValues]:
    for columns in snapshot.between(start_ms, end_ms).values():
        yield from zip(columns.times, columns.setpoints, columns.deadbands, strict=True)


def _add_sealed(track: _Track, snapshot: ReadingSnapshot, spans: range) -> None:
    """Add all readings of these spans, of which only the runs are read, and the times of changes.

    Where readings wait to be sealed into a block, its readings are read too.
    """
    start_ms, end_ms = spans.start * SPAN_MS, spans.stop * SPAN_MS - 1
    blocks = ((key[1], key, body) for _, key, body in snapshot.blocks(start_ms, end_ms))
    slots = snapshot.ids, spans.start * SPAN_SLOTS, spans.stop * SPAN_SLOTS
    late = snapshot.connection.execute(_LATE, slots)
    by_span = itemgetter(0)
    for span, found in groupby(merge(blocks, late, key=by_span), by_span):
        parts = [(key, body) for _, key, body in found]
        if (None, None) in parts:
            track.add(_values(snapshot, span * SPAN_MS, (span + 1) * SPAN_MS - 1))
            continue
        for key, body in parts:
            _add_block(track, snapshot, key, body)


def _add_block(track: _Track, snapshot: ReadingSnapshot, key: tuple[int, int], body: bytes) -> None:
    known, times = 0, list[int]()
    for first, setpoint, deadband in snapshot.read(decode_setpoints, body, *key):
        if track.is_in_force(setpoint, deadband):
            continue
        if not times:
            known, times = first, snapshot.read(partial(decode_times, first=first), body, *key)
        track.add([(times[first - known], setpoint, deadband)])
