"""The types of an ASGI application (https://asgi.readthedocs.io/en/latest/specs/main.html)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
"""It takes `Any`, since Hypercorn and Quart define different dictionary types for messages."""
App = Callable[[Any, Receive, Send], Awaitable[None]]

# A key in the ASGI state of a connection that lacks a client certificate that the server asks for.
UNCERTIFIED = "bas.uncertified"
