"""Converts events to the parts that Redis takes, and records from Redis back to entries."""

from __future__ import annotations

from urllib.parse import quote, unquote

import msgspec

from server.services.ports.event_log import Cursor, Entry, Event
from server.services.site.redis_keys import RUN_LENGTH
from server.services.sse_service.event import encode, name_line_length

_ID = len("id: ")
_NO_DEVICE = "*"


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event with its position, its mark, and the mark of the event before it."""

    entry: Entry
    mark: str
    before: str


def mark_of(run: str, seq: int) -> str:
    """The mark of event number `seq` of the process `run`; no other event has it."""
    return f"{run}{seq}"


def origin(mark: str) -> tuple[str, int]:
    """The process and number in a mark; ("", 0) for text that is not a mark."""
    seq = mark[RUN_LENGTH:]
    return (mark[:RUN_LENGTH], int(seq)) if seq.isascii() and seq.isdigit() else ("", 0)


def parts_of(event: Event) -> tuple[bytes, bytes, bytes, bytes]:
    """The event's frame before its id, the frame after its id, its device, and its key."""
    frame, start = encode(event, "x"), name_line_length(event) + _ID
    device = _NO_DEVICE if event.device_id is None else quote(event.device_id, safe="")
    return frame[:start], frame[start + 1 :], device.encode(), event.key.encode()


def parse_records(data: bytes) -> list[Record]:
    """The records in one message or stream entry. ValueError if this server did not write it."""
    records: list[Record] = []
    start = 0
    while start < len(data):
        end = data.index(b"\n", start)
        position, mark, before, name_length, size, device = data[start:end].decode().split(" ")
        start = end + 1 + int(size)
        entry = Entry(
            position=int(position),
            frame=data[end + 1 : start],
            name_length=int(name_length),
            device_id=None if device == _NO_DEVICE else unquote(device),
        )
        records.append(Record(entry, mark, before))
    return records


def renamed(entry: Entry, cursor: Cursor) -> Entry:
    """The entry with this cursor as its id."""
    start = entry.name_length + _ID
    frame = entry.frame
    frame = frame[:start] + str(cursor).encode() + frame[frame.index(b"\n", start) :]
    return msgspec.structs.replace(entry, frame=frame)


def id_entry(cursor: Cursor) -> Entry:
    """An entry that changes a client's last id and shows no event: an id without data."""
    return Entry(cursor.position, f"id: {cursor}\n\n".encode(), 0, None)
