"""The limits of single bodies: a file of zones may be longer than any other body."""

from __future__ import annotations

from typing import Any

from quart import Request

# 2 MB of text, and what JSON adds to it.
LONGER = {"/api/zones.csv": 4_000_000}


class LimitedRequest(Request):
    """A request whose body has the limit of its path."""

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **more: Any) -> None:
        if path in LONGER:
            more["max_content_length"] = LONGER[path]
        super().__init__(method, scheme, path, *rest, **more)
        self.max_content_length = more.get("max_content_length")
