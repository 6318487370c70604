"""How events travel to Redis and back: their parts there, records with their places back."""

from __future__ import annotations

from urllib.parse import quote, unquote

import msgspec

from server.services.sse_service.backend import Cursor, Entry
from server.services.sse_service.event import Event, encode, name_line_length

RUN_LENGTH = 12
_ID = len("id: ")
_NO_DEVICE = "*"


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event at its place, its own mark, and the mark of the event before it."""

    entry: Entry
    mark: str
    before: str


def mark_of(run: str, seq: int) -> str:
    """The mark of the event number `seq` of the process `run`: no other event has it."""
    return f"{run}{seq}"


def origin(mark: str) -> tuple[str, int]:
    """The process and number that a mark was made of; ("", 0) for text that is none."""
    seq = mark[RUN_LENGTH:]
    return (mark[:RUN_LENGTH], int(seq)) if seq.isascii() and seq.isdigit() else ("", 0)


def parts_of(event: Event) -> tuple[bytes, bytes, bytes, bytes]:
    """What stands in the event's frame before its id and after it, its device, and its key."""
    frame, start = encode(event, "x"), name_line_length(event) + _ID
    device = _NO_DEVICE if event.device_id is None else quote(event.device_id, safe="")
    return frame[:start], frame[start + 1 :], device.encode(), event.key.encode()


def parse_records(data: bytes) -> list[Record]:
    """The records that one message or one stream entry holds. ValueError if it is none of ours."""
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
    """The entry with another id."""
    start = entry.name_length + _ID
    frame = entry.frame
    frame = frame[:start] + str(cursor).encode() + frame[frame.index(b"\n", start) :]
    return msgspec.structs.replace(entry, frame=frame)


def place(cursor: Cursor) -> Entry:
    """A frame that moves a client's place and shows it nothing: an id without data."""
    return Entry(cursor.position, f"id: {cursor}\n\n".encode(), 0, None)
