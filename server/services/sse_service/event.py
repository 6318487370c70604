"""Encodes events as SSE frames.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re

from server.services.ports.event_log import Cursor, Entry, Event, InvalidEvent

ID_PATTERN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
COMMENT = b": stream\n\n"
# Of a snapshot. Many clients read a stream line by line and bound a line: asyncio's StreamReader to
# 64 KiB, aiohttp to 128 KiB.
LINE_MAX_BYTES = 60 * 1024

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
    """A frame for one client: hello, snapshot, heartbeat or bye. `data` is one line of JSON.

    Longer data than LINE_MAX_BYTES become several `data:` lines (see `json_lines`).
    """
    parts: list[bytes | memoryview] = [b"event: " + name.encode() + b"\n"]
    if event_id is not None:
        parts.append(b"id: " + event_id.encode() + b"\n")
    if retry_ms is not None:
        parts.append(b"retry: %d\n" % retry_ms)
    for line in [data] if len(data) <= LINE_MAX_BYTES else json_lines(data):
        parts += [b"data: ", line, b"\n"]
    parts.append(b"\n")
    return b"".join(parts)


def json_lines(data: bytes) -> list[memoryview]:
    """Split one line of JSON between the objects of its array, into lines of LINE_MAX_BYTES.

    An object that is longer stays whole. All objects begin with the same key. No text in the JSON
    can look like the place between two of them, because a quote in a text has a backslash.
    """
    first = data.find(b"[{") + 1
    between = b"}," + data[first : data.find(b'":', first) + 2]
    lines, start, view = [], 0, memoryview(data)
    while len(data) - start > LINE_MAX_BYTES:
        end = data.rfind(between, start, start + LINE_MAX_BYTES)
        end = data.find(between, start) if end < 0 else end
        if end < 0:
            break
        end += len(b"},")
        lines.append(view[start:end])
        start = end
    return [*lines, view[start:]]


def retry_frame(retry_ms: int) -> bytes:
    """The frame that sets a client's reconnect delay."""
    return b"retry: %d\n\n" % retry_ms
