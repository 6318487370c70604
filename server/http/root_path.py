"""RootPath and WithRoot: serve below a path prefix such as /bas, stripped by a proxy or not."""

from __future__ import annotations

from server.common.asgi import App, Receive, Scope, Send
from server.config.parsers import root_path

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
                path = scope["path"]
                if path == prefix or path.startswith(prefix + "/"):
                    path = path.removeprefix(prefix) or "/"
                scope = {**scope, "path": path, "root_path": prefix}
        await self._app(scope, receive, send)


class WithRoot:
    """ASGI middleware directly around Quart, which wants the prefix in both places."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (prefix := scope.get("root_path")):
            scope = {**scope, "path": prefix + scope["path"]}
        await self._app(scope, receive, send)


def forwarded_prefix(text: str) -> str:
    """The prefix that a proxy sent; empty if it is none. The nearest proxy's stands last."""
    try:
        return root_path(text.rpartition(",")[2].strip())
    except ValueError:
        return ""
