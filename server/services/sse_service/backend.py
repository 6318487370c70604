"""EventLog: the port of a tenant's ordered history of events, and what it keeps of one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import msgspec

from server.errors import Unavailable
from server.services.sse_service.event import Event, encode, name_line_length

# What CPython adds to a frame's bytes: two object headers and the slots that point to them.
ENTRY_OVERHEAD_BYTES = 160

_CURSOR = re.compile(r"([A-Za-z0-9]{8,32})-(0|[1-9][0-9]{0,17})")


class LogUnavailable(Unavailable):
    """The log did not take or give events in time."""

    code = "LOG_UNAVAILABLE"


class Cursor(msgspec.Struct, frozen=True):
    """A place in one history: after the event at `position`. Positions start at 1."""

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor a client sent, or None if it never was one."""
        match = _CURSOR.fullmatch(text)
        return cls(match[1], int(match[2])) if match else None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event at its place, encoded once for everyone. Not tracked by the garbage collector:
    a history holds tens of thousands, and they refer to nothing but bytes and text."""

    position: int
    frame: bytes
    name_length: int
    device_id: str | None

    @property
    def size(self) -> int:
        """Bytes of memory it takes."""
        return len(self.frame) + ENTRY_OVERHEAD_BYTES


def make_entry(event: Event, cursor: Cursor) -> Entry:
    """Encode `event` for its place."""
    return Entry(
        position=cursor.position,
        frame=encode(event, str(cursor)),
        name_length=name_line_length(event),
        device_id=event.device_id,
    )


Listener = Callable[[str, Entry], None]


class EventLog(Protocol):
    """Every tenant's events, in one order, up to a bound in events and bytes.

    Promises: positions of a tenant grow by one; an event is seen by `read_after` no later than by
    the listener; the listener gets each tenant's entries in order, each once, on the event loop.
    """

    async def append(self, tenant_id: str, event: Event) -> Cursor:
        """Put the event at the end of the tenant's history. Raises LogUnavailable."""

    async def tip(self, tenant_id: str) -> Cursor:
        """The place after the newest event; position 0 while there is none."""

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        """The next `limit` entries after the cursor, or [] at the tip.

        None: the history cannot say what came after it (another epoch, a place that was never
        reached, or one that is kept no longer).
        """

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every entry from now on. One listener a process: the hub."""

    async def ping(self) -> None:
        """Return when the log could take an event; else LogUnavailable."""
