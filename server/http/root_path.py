"""RootPath and WithRoot: serve below a path prefix such as /bas, stripped by a proxy or not."""

from __future__ import annotations

from server.common.asgi import App, Receive, Scope, Send
from server.config.parsers import path_prefix

FORWARDED_PREFIX = b"x-forwarded-prefix"


class RootPath:
    """ASGI middleware: inside, `path` is without the prefix and `root_path` is the prefix.

    The prefix comes from BAS_ROOT_PATH, or from `X-Forwarded-Prefix` of a trusted proxy, which
    `forwarded_prefix` has put into the scope. A path without it is served too: a proxy may have
    stripped the prefix, and devices may reach the server's own port.
    """

    def __init__(self, app: App, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = scope.get("root_path") or self._prefix
            if prefix:
                scope = {**scope, "root_path": prefix}
                if is_below(scope["path"], prefix):
                    scope |= without(scope, prefix)
                    scope["path"] = scope["path"] or "/"
        await self._app(scope, receive, send)


class WithRoot:
    """ASGI middleware around Quart, which wants the prefix in both keys."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (prefix := scope.get("root_path")):
            scope = {**scope, "path": prefix + scope["path"]}
        await self._app(scope, receive, send)


def is_below(path: str, prefix: str) -> bool:
    """Whether a path is the prefix or lies below it."""
    return f"{path}/".startswith(f"{prefix}/")


def without(scope: Scope, prefix: str) -> Scope:
    """The two keys of a scope's path, without the prefix below which it lies."""
    raw, start = scope.get("raw_path") or b"", prefix.encode()
    return {
        "path": scope["path"].removeprefix(prefix),
        # A prefix with percent signs is another text: the path without them is used then.
        "raw_path": raw.removeprefix(start) if raw.startswith(start) else b"",
    }


def forwarded_prefix(text: str) -> str:
    """The prefix that a proxy sent; empty if it is none. The nearest proxy's stands last."""
    try:
        return path_prefix(text.rpartition(",")[2].strip())
    except ValueError:
        return ""
