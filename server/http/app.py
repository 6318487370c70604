"""create_app: builds the Quart application from the blueprints, with error answers and headers."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup
from quart import Blueprint, Quart, Response, request
from quart.json.provider import DefaultJSONProvider
from quart_schema import Info, QuartSchema
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from server.auth.guard import Guard
from server.common.asgi import App, Receive, Scope, Send
from server.common.metrics import Metrics
from server.common.version import VERSION
from server.common.zone_name import zone_name
from server.config.config import ServerConfig
from server.http.beside_legacy import BesideLegacy
from server.http.body_limits import LimitedRequest
from server.http.body_room import BodyRoom
from server.http.cache_rules import add_cache_rules
from server.http.compression import add_compression
from server.http.error_answers import add_error_answers, error_answer
from server.http.host_check import HostCheck, own_names
from server.http.openapi.document import ApiDocument, add_document
from server.http.query_names import add_query_names
from server.http.request_counts import count_answers, counting_refusals
from server.http.request_ids import RequestIds
from server.http.root_path import RootPath, WithRoot
from server.http.static_files import StaticFiles
from server.http.tls import HSTS
from server.http.trusted_proxies import TrustedProxies
from server.http.versioned_files import VersionedFiles
from server.routes.stream_writer import StreamWriter
from server.sync_api.flask_views import in_thread
from server.sync_api.services import Services
from server.sync_api.threads import Threads

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 256 * 1024
BODY_TIMEOUT_S = 10

MODULE = Markup('<script type="module" src="{}"></script>')
PRELOAD = Markup('<link rel="modulepreload" href="{}">')

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
}


class _Json(DefaultJSONProvider):
    """Encodes JSON with msgspec, as the stream does."""

    def dumps(self, obj: object, **kwargs: object) -> str:
        return msgspec.json.encode(obj).decode()

    def response(self, *args: object, **kwargs: object) -> Response:
        body = self._prepare_response_obj(args, kwargs)
        return Response(msgspec.json.encode(body), mimetype="application/json")


class _App(Quart):
    """Quart that runs plain `def` views in a separate thread pool.

    Quart's default pool is too small and also serves name look-ups and files. Helpers of Quart and
    Flask do not block, so they run on the event loop.
    """

    request_class = LimitedRequest

    def __init__(self, threads: Threads) -> None:
        super().__init__("server")
        self._threads = threads
        self.files = StaticFiles(Path(str(self.static_folder)))
        self.jinja_env.globals |= {"static": self._static_url, "module": self._module}

    def _static_url(self, name: str) -> str:
        """The path by which a page names a file, below the prefix of this request."""
        return request.root_path + self.files.url(name)

    def _module(self, name: str) -> Markup:
        """The elements by which a page loads its module, and all that this imports beside it."""
        imported = (PRELOAD.format(self._static_url(one)) for one in self.files.imports(name))
        return Markup("\n").join([MODULE.format(self._static_url(name)), *imported])

    def sync_to_async(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        if func.__module__.split(".")[0] not in {"quart", "flask"}:
            return in_thread(self._threads, func)

        async def at_once(*args: object, **kwargs: object) -> object:
            return func(*args, **kwargs)

        return at_once

    async def send_static_file(self, filename: str) -> Response:
        """A static file. Raises WerkzeugNotFound, also for a name that no file can have."""
        name, cache_control = self.files.found(filename)
        try:
            response = await super().send_static_file(name)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise WerkzeugNotFound from error
        response.headers["Cache-Control"] = cache_control
        return response


def create_app(
    config: ServerConfig,
    blueprints: Iterable[Blueprint],
    guard: Guard,
    services: Services,
    metrics: Metrics,
) -> Quart:
    """Build the application from blueprints that already have all that they need.

    Views that are plain functions run in the threads of `services`. Raises LegacyAppError.
    """
    app = _App(services.view_threads)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    QuartSchema(
        app,
        openapi_path=None,
        info=Info(title="BAS server", version=VERSION),
        conversion_preference="msgspec",
        openapi_provider_class=ApiDocument,
    )
    add_document(app)
    app.json = _Json(app)
    app.jinja_env.globals["site_time_zone"] = zone_name(config.timezone)
    app.before_request(guard.check_origin)
    app.after_request(_secure)
    app.context_processor(_root)
    add_cache_rules(app)
    add_query_names(app)
    add_compression(app)
    add_error_answers(app)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    count_answers(app, metrics)
    if config.cors_origins:
        _allow_origins(app, config.cors_origins)
    common = common_headers(config)
    asgi: App = WithRoot(StreamWriter(app.asgi_app))
    count = metrics.requests.labels("/static/<path:filename>", "200").inc
    files = Path(str(app.static_folder)), app.files
    asgi = VersionedFiles(asgi, *files, common, count, shared=bool(config.cors_origins))
    if config.legacy_wsgi:
        old = _legacy(config.legacy_wsgi, services)
        asgi = BesideLegacy(app, app.files, asgi, old, config.legacy_prefix)
    # BAS_HOST too: a browser must be able to open the address that is printed at the start.
    names = {*own_names(), config.host.lower(), *config.allowed_hosts}
    refused = counting_refusals(error_answer, metrics)
    asgi = _HttpOnly(HostCheck(asgi, names, refused, common))
    asgi = RootPath(asgi, config.root_path)
    asgi = BodyRoom(asgi, config.body_bytes_max, refused, common, metrics)
    asgi = TrustedProxies(asgi, config.trusted_proxies, config.auth_attempts_per_15min)
    app.asgi_app = RequestIds(asgi)  # type: ignore[assignment, method-assign]
    return app


def common_headers(config: ServerConfig) -> dict[str, str]:
    """The headers of every answer over plain HTTP to a request without an Origin."""
    return SECURITY_HEADERS | ({"Vary": "Origin"} if config.cors_origins else {})


class _HttpOnly:
    """Keeps requests from Quart that it fails on: WebSockets, and a target without a path."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            scope = {**scope, "path": "/" + scope["path"].rpartition("://")[2].partition("/")[2]}
        await self._app(scope, receive, send)


def _legacy(name: str, services: Services) -> App:
    from server.sync_api.wsgi import WsgiApp  # only where it is configured
    from server.sync_api.wsgi_loading import load

    headers = [(name.lower().encode(), text.encode()) for name, text in SECURITY_HEADERS.items()]
    return WsgiApp(load(name), services, headers)


def _allow_origins(app: Quart, origins: tuple[str, ...]) -> None:
    from quart_cors import cors

    cors(
        app,
        allow_origin=list(origins),
        allow_credentials=True,
        allow_headers=["*"],
        expose_headers=["X-Has-More", "X-Request-ID"],
    )


async def _root() -> dict[str, str]:
    """What every template knows: the path prefix of this request."""
    return {"root": request.root_path}


async def _secure(response: Response) -> Response:
    response.headers.extend(SECURITY_HEADERS)
    if request.scheme == "https":
        response.headers["Strict-Transport-Security"] = HSTS
    return response
