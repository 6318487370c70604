"""What a reading of the shared history means: its records are checked, not trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from server.services.sse_service.backend import Cursor, Entry
from server.services.sse_service.shared.records import (
    Record,
    origin,
    parse_records,
    place,
    renamed,
)


class Damaged(Exception):
    """The history itself does not hold together: it must begin anew."""


Answer = Sequence[bytes | None]


def records_after(answer: Answer, cursor: Cursor) -> list[Record] | None:
    """The records after the cursor in an answer of the script READ; [] at the tip.

    None: this history does not go on from there: another epoch, a place that was never reached,
    holds another event, or is kept no longer. Raises Damaged.
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
        raise Damaged(f"it holds what is no event: {error}") from None
    for one, next_one in pairwise(records):
        if next_one.before != one.mark or next_one.entry.position != one.entry.position + 1:
            raise Damaged(f"nothing follows position {one.entry.position}")
    if records and records[0].entry.position == cursor.position:
        if records[0].mark != cursor.mark:
            return None
        del records[0]
    first = records[0] if records else None
    if first is None or first.entry.position != cursor.position + 1 or first.before != cursor.mark:
        return None
    return records


def entries_for(cursor: Cursor, records: list[Record], tip: int) -> list[Entry]:
    """What a client at `cursor` is sent of the records after it: of those that it got ahead of
    the history only the place. At the tip all of those are behind it, since the history has them.
    """
    run, last = origin(cursor.ahead)
    ahead = cursor.ahead
    entries: list[Entry] = []
    for record in records:
        producer, seq = origin(record.mark)
        passed = bool(ahead) and producer == run
        if (passed and seq >= last) or record.entry.position == tip:
            ahead = ""
        here = Cursor(cursor.epoch, record.entry.position, record.mark, ahead)
        if passed and seq <= last:
            entries.append(place(here))
        else:
            entries.append(renamed(record.entry, here) if ahead else record.entry)
    if not records and ahead:
        entries.append(place(Cursor(cursor.epoch, cursor.position, cursor.mark)))
    return entries
