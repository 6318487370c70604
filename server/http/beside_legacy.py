"""The old application beside the new routes: which of the two answers a request."""

from __future__ import annotations

import os

from quart import Quart
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound as WerkzeugNotFound
from werkzeug.security import safe_join

from server.common.asgi import App, Receive, Scope, Send
from server.http.root_path import is_below, without
from server.http.static_files import StaticFiles


class BesideLegacy:
    """Passes every path without a route in this server on to the old application.

    Below `prefix` the old application has all its own paths, also those that this server has. The
    guard, the headers and the error pages of this server do not apply to its answers.
    """

    def __init__(self, app: Quart, files: StaticFiles, own: App, legacy: App, prefix: str) -> None:
        self._prefix = prefix
        self._own = own
        self._legacy = legacy
        self._routes = app.url_map.bind("")
        self._static = app.static_folder
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["type"] != "http" or self._has(scope["path"], scope["method"])
        if own:
            await self._own(scope, receive, send)
            return
        if self._prefix and is_below(scope["path"], self._prefix):
            below = scope.get("root_path", "") + self._prefix
            scope = {**scope, **without(scope, self._prefix), "root_path": below}
        await self._legacy(scope, receive, send)

    def _has(self, path: str, method: str) -> bool:
        """Whether this server has the path, for any method; a static file must exist."""
        try:
            endpoint, values = self._routes.match(path, method)
        except WerkzeugNotFound:
            return False
        except HTTPException:
            return True
        if endpoint != "static":
            return True
        file = safe_join(str(self._static), self._files.found(values["filename"])[0])
        return file is not None and os.path.isfile(file)
