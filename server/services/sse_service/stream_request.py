"""StreamRequest: holds a client's options for a stream, its session and its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from server.common.session_end import SessionEnd

Snapshot = Callable[[], Awaitable[object]]


class ClientConnection(Protocol):
    """A client's connection below the HTTP server; it takes whole chunks of a chunked response.

    An asyncio transport has these methods.
    """

    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def is_closing(self) -> bool: ...


class StreamRequest(msgspec.Struct, frozen=True):
    """A request for one tenant's events. With `tenant_id` alone: all events from now on.

    The stream copies the fields that it needs and does not keep the request: thousands of streams
    are open for hours.
    """

    tenant_id: str
    last_event_id: str | None = None
    """The stream continues after this event; if it cannot, it is marked `reset`."""
    devices: frozenset[str] = frozenset()
    """The stream carries the events of these devices only; empty: of all devices."""
    names: bool = True
    """Whether events have names; without names, a page reads them all in `onmessage`."""
    owner: str | None = None
    """The session that the stream depends on."""
    account: str = ""
    """The account whose streams are counted; empty without a session."""
    address: str = ""
    """The address group whose streams are counted; empty for one that many people share."""
    end: SessionEnd | None = None
    """When that session ends."""
    kill: Callable[[], None] | None = None
    """Cuts off a write that the client does not take."""
    wire: ClientConnection | None = None
    """The connection to which events may be written directly."""
    snapshot: Snapshot | None = None
    """Reads the state that the stream sends after its `hello`."""
