"""EventLog: the port of a tenant's ordered history of events, and what it keeps of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import msgspec

from server.errors import Unavailable
from server.services.sse_service.event import Event, encode, name_line_length

# What CPython adds to a frame's bytes: two object headers and the slots that point to them.
ENTRY_OVERHEAD_BYTES = 160

# So long a repetition of an event is recognised by its key (by a log in memory: as long as it is
# one of the newest that the history may hold).
KEY_S = 600

_CURSOR = re.compile(
    r"([A-Za-z0-9]{8,32})-(0|[1-9][0-9]{0,17})(?:-([a-z0-9]{13,30})(?:-([a-z0-9]{13,30}))?)?"
)


class LogUnavailable(Unavailable):
    """The log did not take or give events in time."""

    error = "Event log unavailable"
    code = "LOG_UNAVAILABLE"


class LogRefused(LogUnavailable):
    """The log will not take this tenant's events, however often they are sent."""

    code = "LOG_REFUSED"


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """A place in one history: after the event at `position`. Positions start at 1.

    A log whose positions may come again with other content gives each event a `mark`, and a cursor
    names the one it stands behind. `ahead` is the mark of an event that its reader has got before
    the history did, and with it all earlier ones of the same producer.
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
        """The cursor a client sent, or None if it never was one."""
        match = _CURSOR.fullmatch(text)
        return cls(match[1], int(match[2]), match[3] or "", match[4] or "") if match else None


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

    @property
    def id(self) -> str:
        """The id in its frame: the cursor of the place after it."""
        start = self.name_length + len("id: ")
        return self.frame[start : self.frame.index(b"\n", start)].decode()


def make_entry(event: Event, cursor: Cursor) -> Entry:
    """Encode `event` for its place."""
    return Entry(
        position=cursor.position,
        frame=encode(event, str(cursor)),
        name_length=name_line_length(event),
        device_id=event.device_id,
    )


class Follower(Protocol):
    """Who is told of a tenant's new entries, on the event loop. None of this may raise."""

    def begin(self, cursor: Cursor) -> None:
        """From this place on it is told of every entry."""

    def add(self, entry: Entry) -> None:
        """The next entry."""

    def lose(self) -> None:
        """The history broke off here, and this follower is told no more."""


class Census(Protocol):
    """Knows how many streams all processes of the site serve."""

    def changed(self, tenant_id: str, count: int) -> None:
        """This process serves so many streams to the tenant now."""

    async def elsewhere(self, tenant_id: str | None) -> int:
        """How many streams all other processes serve, to a tenant or to all. LogUnavailable."""


class EventLog(Protocol):
    """Every tenant's events, in one order, up to a bound in events and bytes.

    Promises: positions of a tenant grow by one; an event can be read no later than its follower
    hears of it; a follower hears each entry after the place it began at once, in order, or that
    the history broke off.
    """

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        """Put the event at the end of the tenant's history; its place.

        None: the history is out of reach. The event is kept, its follower here has heard it, and
        it is appended as soon as that is possible. Raises LogUnavailable if the event is lost.
        None too, and nothing else happens, for an event whose `key` came in the last KEY_S.
        """

    async def append_many(self, tenant_id: str, events: Sequence[Event]) -> None:
        """`append` each, in this order. Raises LogUnavailable if one is lost."""

    async def tip(self, tenant_id: str) -> Cursor:
        """The place after the newest event; position 0 while there is none. LogUnavailable."""

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        """The next `limit` entries after the cursor, or [] at the tip. Raises LogUnavailable.

        None: the history cannot say what came after it (another epoch, a place that was never
        reached or holds another event now, or one that is kept no longer).
        """

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        """Tell `follower` where it begins, and then of every entry. One a tenant and process.

        Raises LogUnavailable.
        """

    def unfollow(self, tenant_id: str) -> None:
        """Tell the tenant's follower no more."""

    async def ping(self) -> None:
        """Return when the log could take an event; else LogUnavailable."""
