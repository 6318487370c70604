"""Checks the records that were read from the shared history, before clients get them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from server.services.ports.event_log import Cursor, Entry
from server.services.sse_service.redis.records import (
    Record,
    id_entry,
    origin,
    parse_records,
    renamed,
)


class Damaged(Exception):
    """The records of the history do not follow each other: it needs a new epoch."""


ScriptAnswer = Sequence[bytes | None]


def records_after(answer: ScriptAnswer, cursor: Cursor) -> list[Record] | None:
    """The records after the cursor in an answer of the script READ; [] at the tip.

    None: this history does not continue the cursor. Its epoch differs, or the position was never
    reached, holds another event, or is no longer kept. Raises Damaged.
    """
    epoch, tip, mark, _, *found = answer
    if epoch is None or tip is None or mark is None or epoch.decode() != cursor.epoch:
        return None
    if cursor.position >= int(tip):
        is_tip = cursor.position == int(tip) and cursor.mark == mark.decode()
        return [] if is_tip else None
    records = _unbroken(found)
    if records and records[0].entry.position == cursor.position:
        own = records.pop(0)
        if own.mark != cursor.mark:
            return None
    goes_on = bool(records) and _follows(records[0], cursor.position, cursor.mark)
    return records if goes_on else None


def _unbroken(found: ScriptAnswer) -> list[Record]:
    """Parse the records and check that each follows the one before. Raises Damaged."""
    try:
        records = [record for data in found if data for record in parse_records(data)]
    except ValueError as error:
        raise Damaged(f"an entry is not an event: {error}") from None
    for one, next_one in pairwise(records):
        if not _follows(next_one, one.entry.position, one.mark):
            raise Damaged(f"nothing follows position {one.entry.position}")
    return records


def _follows(record: Record, position: int, mark: str) -> bool:
    """Whether the record is the next one after this position and mark."""
    return record.entry.position == position + 1 and record.before == mark


def entries_for(cursor: Cursor, records: list[Record], tip: int) -> list[Entry]:
    """The entries for a client at `cursor`, made of the records after it.

    For an event that the client got ahead of the history, the entry has only the new id. At the tip
    the history has all those events, so the last id no longer names them.
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
            entries.append(id_entry(here))
        else:
            entries.append(renamed(record.entry, here) if ahead else record.entry)
    if not records and ahead:
        entries.append(id_entry(Cursor(cursor.epoch, cursor.position, cursor.mark)))
    return entries
