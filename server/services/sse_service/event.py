"""One event and its bytes on the wire (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

DATA_MAX_BYTES = 256 * 1024
ID_PATTERN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
COMMENT = b": stream\n\n"

_LINE_END = re.compile(r"\r\n|\r|\n")
_BREAKS = re.compile(r"[\x00\r\n]")


class InvalidEvent(ValueError):
    """What was handed to publish could not be read back by a client as it was meant."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A named event. `device_id` is the zone it speaks of; None reaches every filter. What was
    published with a `key` is not published with it again (see `EventLog.append`).

    Raises InvalidEvent for a name or data that no client would read back.
    """

    name: str
    data: str
    device_id: str | None = None
    key: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        size = len(self.data) if self.data.isascii() else _size(self.data)
        if size > DATA_MAX_BYTES:
            raise InvalidEvent(f"data of {size} bytes; {DATA_MAX_BYTES} is the limit")


@lru_cache(maxsize=64)
def _check_name(name: str) -> None:
    if not name or _BREAKS.search(name):
        raise InvalidEvent("an event name is one line of text without NUL")
    if name in {"open", "error"}:
        raise InvalidEvent(f"an EventSource uses the name {name!r} for itself")
    _size(name)


def _size(text: str) -> int:
    """Its bytes. Raises InvalidEvent for what has none."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"not encodable as UTF-8: {error.reason}") from None


def encode(event: Event, event_id: str) -> bytes:
    """The event's frame. Its `event:` line comes first, so that a frame without it is a suffix."""
    if not ID_PATTERN.fullmatch(event_id):
        raise InvalidEvent("an id is 1 to 128 of A-Z a-z 0-9 . _ ~ -")
    data = event.data
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(_LINE_END.split(data))
    return f"event: {event.name}\nid: {event_id}\ndata: {data}\n\n".encode()


def name_line_length(event: Event) -> int:
    """How many bytes of the frame are its `event:` line."""
    return len(event.name.encode()) + len("event: \n")


def control_frame(
    name: str, data: bytes, event_id: str | None = None, retry_ms: int | None = None
) -> bytes:
    """A frame made for one client: hello, snapshot, heartbeat, bye. `data` is one line of JSON."""
    parts = [b"event: " + name.encode() + b"\n"]
    if event_id is not None:
        parts.append(b"id: " + event_id.encode() + b"\n")
    if retry_ms is not None:
        parts.append(b"retry: %d\n" % retry_ms)
    parts.append(b"data: " + data + b"\n\n")
    return b"".join(parts)


def retry_frame(retry_ms: int) -> bytes:
    """The frame that tells a client how long to wait before it reconnects."""
    return b"retry: %d\n\n" % retry_ms
