"""What a reading of the shared history means: its records are checked, not trusted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.services.sse_service.backend import Cursor, Entry
from server.services.sse_service.shared.records import (
    Record,
    origin,
    parse_records,
    place,
    renamed,
)

log = logging.getLogger(__name__)

Answer = Sequence[bytes | None]


def records_after(answer: Answer, cursor: Cursor) -> list[Record] | None:
    """The records after the cursor in an answer of the script READ; [] at the tip.

    None: this history does not go on from there: another epoch, a place that was never reached,
    holds another event, or is kept no longer.
    """
    epoch, tip, mark, _, *found = answer
    if epoch is None or tip is None or mark is None or epoch.decode() != cursor.epoch:
        return None
    if cursor.position >= int(tip):
        same = cursor.position == int(tip) and cursor.mark == mark.decode()
        return [] if same else None
    try:
        records = [record for data in found if data for record in parse_records(data)]
    except ValueError as error:
        log.error("the history of epoch %s holds what is no event: %s", cursor.epoch, error)
        return None
    if records and records[0].entry.position == cursor.position:
        if records[0].mark != cursor.mark:
            return None
        del records[0]
    position, before = cursor.position, cursor.mark
    for record in records:
        if record.entry.position != position + 1 or record.before != before:
            return None
        position, before = record.entry.position, record.mark
    return records or None


def entries_for(cursor: Cursor, records: list[Record]) -> list[Entry]:
    """What a client at `cursor` is sent of the records after it: of those that it got ahead of
    the history only the place."""
    run, last = origin(cursor.ahead)
    ahead = cursor.ahead
    entries: list[Entry] = []
    for record in records:
        producer, seq = origin(record.mark)
        passed = bool(ahead) and producer == run
        if passed and seq >= last:
            ahead = ""
        here = Cursor(cursor.epoch, record.entry.position, record.mark, ahead)
        if passed and seq <= last:
            entries.append(place(here))
        else:
            entries.append(renamed(record.entry, here) if ahead else record.entry)
    return entries
