"""VersionedFiles: answers for the files that a page names, without Quart.

A page has forty of them. Quart spends most of a request on what a file does not use: routing,
contexts, sessions, hooks.
"""

from __future__ import annotations

import asyncio
import gzip
import mimetypes
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from werkzeug.http import parse_accept_header
from werkzeug.utils import get_content_type

from server.common.asgi import App, Receive, Scope, Send
from server.http.compression import MIN_BYTES
from server.http.static_files import IMMUTABLE, StaticFiles
from server.http.tls import HSTS


class VersionedFiles:
    """ASGI middleware: a GET or HEAD of such a file gets the answer that Quart would give.

    A long text is packed for clients that take gzip: four tenths of the bytes. Validators are left
    out, since a browser never asks again for a file that does not change, and a Range is answered
    with the whole. With `shared`, files are given to pages of other sites too: then requests with
    an Origin are passed on, as their answers depend on it.
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
        self._packed: dict[str, bytes] = {}
        self._shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = None
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            name = self._files.named(scope["path"])
        if name is None or (self._shared and _header(scope, b"origin")):
            await self._app(scope, receive, send)
            return
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = [*self._headers, (b"content-type", get_content_type(kind, "utf-8").encode())]
        is_packed = False
        if kind.startswith("text/") and self._files.sizes[name] >= MIN_BYTES:
            headers.append((b"vary", b"Accept-Encoding"))
            is_packed = _takes_gzip(_header(scope, b"accept-encoding"))
        try:
            content = await asyncio.to_thread(self._content, name, is_packed)
        except OSError:  # gone since the start: Quart says so
            await self._app(scope, receive, send)
            return
        if is_packed:
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", str(len(content)).encode()))
        if scope["scheme"] == "https":
            headers.append((b"strict-transport-security", HSTS.encode()))
        self._count()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Hypercorn sends no body to a HEAD.
        await send({"type": "http.response.body", "body": content, "more_body": False})

    def _content(self, name: str, is_packed: bool) -> bytes:
        """The bytes of a file; those of the packed one are made once."""
        if is_packed and name in self._packed:
            return self._packed[name]
        content = (self._folder / name).read_bytes()
        if is_packed:
            content = self._packed[name] = gzip.compress(content, mtime=0)
        return content


def _header(scope: Scope, name: bytes) -> str:
    return ",".join(text.decode("latin-1") for header, text in scope["headers"] if header == name)


@lru_cache(64)
def _takes_gzip(accepted: str) -> bool:
    return parse_accept_header(accepted).quality("gzip") > 0
