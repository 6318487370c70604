"""Encodes events as SSE frames.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re

from server.services.ports.event_log import Cursor, Entry, Event, InvalidEvent

ID_PATTERN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
COMMENT = b": stream\n\n"

_LINE_END = re.compile(r"\r\n|\r|\n")


def encode(event: Event, event_id: str) -> bytes:
    """The event's frame. The `event:` line is first: the frame without a name is its suffix."""
    if not ID_PATTERN.fullmatch(event_id):
        raise InvalidEvent("an id is 1 to 128 of A-Z a-z 0-9 . _ ~ -")
    data = event.data
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(_LINE_END.split(data))
    return f"event: {event.name}\nid: {event_id}\ndata: {data}\n\n".encode()


def name_line_length(event: Event) -> int:
    """Length in bytes of the frame's `event:` line."""
    return len(event.name.encode()) + len("event: \n")


def make_entry(event: Event, cursor: Cursor) -> Entry:
    """Encode `event` with this cursor as its id."""
    return Entry(
        position=cursor.position,
        frame=encode(event, str(cursor)),
        name_length=name_line_length(event),
        device_id=event.device_id,
    )


def control_frame(
    name: str, data: bytes, event_id: str | None = None, retry_ms: int | None = None
) -> bytes:
    """A frame for one client: hello, snapshot, heartbeat or bye. `data` is one line of JSON."""
    parts = [b"event: " + name.encode() + b"\n"]
    if event_id is not None:
        parts.append(b"id: " + event_id.encode() + b"\n")
    if retry_ms is not None:
        parts.append(b"retry: %d\n" % retry_ms)
    parts.append(b"data: " + data + b"\n\n")
    return b"".join(parts)


def retry_frame(retry_ms: int) -> bytes:
    """The frame that sets a client's reconnect delay."""
    return b"retry: %d\n\n" % retry_ms
