"""EventLog: the port for every tenant's ordered history of events, with its types and errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from server.common.errors import Unavailable

DATA_MAX_BYTES = 256 * 1024
# CPython's memory beside a frame's bytes: two object headers and the slots that point to them.
ENTRY_OVERHEAD_BYTES = 160

# Seconds for which an event with the key of an earlier one is recognised. A log in memory
# recognises as many keys as its history may hold events.
KEY_S = 600

# The tenant of the events by which a log proves itself. No real one has this name: it has spaces.
PROBE_TENANT = "the log's probe"

_BREAKS = re.compile(r"[\x00\r\n]")
_CURSOR = re.compile(
    r"([A-Za-z0-9]{8,32})-(0|[1-9][0-9]{0,17})(?:-([a-z0-9]{13,30})(?:-([a-z0-9]{13,30}))?)?"
)


class LogUnavailable(Unavailable):
    """The log did not append or return events in time."""

    error = "Event log unavailable"
    code = "LOG_UNAVAILABLE"


class LogRefused(LogUnavailable):
    """The log refuses this tenant's events; a retry does not help."""

    code = "LOG_REFUSED"


class LogForbidden(LogUnavailable):
    """The log takes this tenant's events once somebody gives the server the right."""

    code = "LOG_FORBIDDEN"


class InvalidEvent(ValueError):
    """An event that a client could not read as it was meant."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A named event of one zone (`device_id`), or of all zones (None).

    An event with the `key` of an earlier one is not published (see `EventLog.append`). Raises
    InvalidEvent for a name or data that no client could read.
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
    """The length in bytes as UTF-8. Raises InvalidEvent for text that UTF-8 cannot encode."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"not encodable as UTF-8: {error.reason}") from None


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """A cursor in one history: after the event at `position`. Positions start at 1.

    A log that may use a position again for another event gives each event a `mark`; the cursor has
    the mark of the event at its position. `ahead` is the mark of an event that a client got before
    the history had it; the client also has all earlier events of the same producer.
    """

    epoch: str
    position: int
    mark: str = ""
    ahead: str = ""

    def __str__(self) -> str:
        text = f"{self.epoch}-{self.position}"
        if self.mark:
            text += f"-{self.mark}"
        return f"{text}-{self.ahead}" if self.ahead else text

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor in a client's text; None if the text is not a cursor."""
        match = _CURSOR.fullmatch(text)
        return cls(match[1], int(match[2]), match[3] or "", match[4] or "") if match else None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event with its position, encoded once for all clients.

    The garbage collector does not track it: a history holds tens of thousands, and they refer to
    bytes and text only.
    """

    position: int
    frame: bytes
    name_length: int
    device_id: str | None

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        return len(self.frame) + ENTRY_OVERHEAD_BYTES

    @property
    def id(self) -> str:
        """The id in its frame: the cursor after this event."""
        start = self.name_length + len("id: ")
        return self.frame[start : self.frame.index(b"\n", start)].decode()


class Follower(Protocol):
    """Receives a tenant's new entries on the event loop. No method may raise."""

    def begin(self, cursor: Cursor) -> None:
        """Start: every entry after this cursor follows."""

    def add(self, entry: Entry) -> None:
        """Take the next entry."""

    def lose(self) -> None:
        """End: the history broke off, and no more entries follow."""


class Census(Protocol):
    """Knows how many streams all processes of the site serve."""

    def changed(self, tenant_id: str, count: int) -> None:
        """Note that this process now serves `count` streams to the tenant."""

    async def elsewhere(self, tenant_id: str | None) -> int:
        """Number of streams of all other processes, for a tenant or all. Raises LogUnavailable."""


class EventLog(Protocol):
    """Every tenant's events, in one order, up to a bound in events and bytes.

    Promises: the positions of a tenant's events grow by one. When a follower gets an event, the
    event can be read already. A follower gets each entry after its start once and in order, until
    the history ends or it gets `lose`.
    """

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        """Append the event to the tenant's history; return its cursor.

        None: the history cannot be reached. The event is kept, the follower in this process has got
        it, and it is appended as soon as that is possible. None as well for an event whose `key`
        came in the last KEY_S: it is ignored. Raises LogUnavailable if the event is lost.
        """

    async def append_many(self, tenant_id: str, events: Sequence[Event]) -> None:
        """`append` each event in this order. Raises LogUnavailable if one is lost."""

    async def tip(self, tenant_id: str) -> Cursor:
        """The cursor after the newest event; position 0 without events. Raises LogUnavailable."""

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        """The next `limit` entries after the cursor, or [] at the tip. Raises LogUnavailable.

        None: the history does not continue the cursor. Its epoch differs, or the position was never
        reached, holds another event, or is no longer kept.
        """

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        """Call `follower.begin`, then `add` for every entry; one follower a tenant and process.

        Raises LogUnavailable.
        """

    def unfollow(self, tenant_id: str) -> None:
        """Stop passing entries to the tenant's follower."""

    async def ping(self) -> None:
        """Check that this process receives an event that it appends. Raises LogUnavailable."""
