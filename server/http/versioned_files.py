"""VersionedFiles: answers for the files that a page names, without Quart.

A page has forty of them. Quart spends most of a request on what a file does not use: routing,
contexts, sessions, hooks.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path

from werkzeug.utils import get_content_type

from server.common.asgi import App, Receive, Scope, Send
from server.http.static_files import IMMUTABLE, StaticFiles
from server.http.tls import HSTS

Header = tuple[bytes, bytes]


class VersionedFiles:
    """ASGI middleware: a GET or HEAD of such a file gets the answer that Quart would give.

    Validators are left out, since a browser never asks again for a file that does not change, and
    a Range is answered with the whole. With `shared`, files are given to pages of other sites too:
    then requests with an Origin are passed on, as their answers depend on it.
    """

    def __init__(
        self,
        app: App,
        folder: Path,
        files: StaticFiles,
        headers: Mapping[str, str],
        count: Callable[[], None],
        *,
        shared: bool,
    ) -> None:
        """`headers` are those of every answer; `count` is called for each one that is given."""
        self._app = app
        self._folder = folder
        self._files = files
        self._headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        self._headers.append((b"cache-control", IMMUTABLE.encode()))
        self._count = count
        self._shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = None
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            name = self._files.named(scope["path"])
        if name is None or (self._shared and _has_origin(scope)):
            await self._app(scope, receive, send)
            return
        try:
            content = await asyncio.to_thread((self._folder / name).read_bytes)
        except OSError:  # gone since the start: Quart says so
            await self._app(scope, receive, send)
            return
        headers = [*self._headers, *_about(name, content)]
        if scope["scheme"] == "https":
            headers.append((b"strict-transport-security", HSTS.encode()))
        self._count()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Hypercorn sends no body to a HEAD.
        await send({"type": "http.response.body", "body": content, "more_body": False})


def _has_origin(scope: Scope) -> bool:
    return any(header == b"origin" for header, _ in scope["headers"])


def _about(name: str, content: bytes) -> list[Header]:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return [
        (b"content-type", get_content_type(kind, "utf-8").encode()),
        (b"content-length", str(len(content)).encode()),
    ]
