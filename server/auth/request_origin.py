"""Where a request came from: the page that sent it, and whether a form could have sent it."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from quart import request


def is_own_origin(origin: str, allowed: Collection[str]) -> bool:
    """Whether an `Origin` is this site or one of those that are allowed."""
    if origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"{parts.hostname}:{port or default}"
    own = request.host if ":" in request.host.rsplit("]")[-1] else f"{request.host}:{default}"
    return default is not None and host == own.lower().replace("[", "").replace("]", "")


def carries_body() -> bool:
    """Whether the request has a body or a header that announces one.

    A page of another site cannot send a request that lacks Content-Type, Origin and body.
    """
    headers = request.headers
    return (
        "Content-Type" in headers
        or "Transfer-Encoding" in headers
        or headers.get("Content-Length", "0") != "0"
    )
