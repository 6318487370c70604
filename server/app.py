"""create_app: blueprints made into one application, with its errors and headers."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from quart import Blueprint, Quart, Response, request
from quart.json.provider import DefaultJSONProvider
from quart_schema import Info, QuartSchema
from quart_schema.validation import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound as WerkzeugNotFound
from werkzeug.security import safe_join
from werkzeug.wrappers import Response as WerkzeugResponse

from server.adapters.services import Services
from server.adapters.threads import Threads
from server.adapters.views import in_thread
from server.auth.guard import Guard
from server.config.config import ServerConfig
from server.errors import (
    BasError,
    Conflict,
    Forbidden,
    Invalid,
    Locked,
    Misdirected,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)
from server.host_check import HostCheck, own_names
from server.proxies import TrustedProxies
from server.routes.handed_streams import HandedStreams
from server.routes.models import ErrorBody
from server.routes.requests import invalid
from server.version import VERSION

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 256 * 1024
BODY_TIMEOUT_S = 10

# The one table of status codes; a subclass has its parent's.
STATUS: dict[type[BasError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Misdirected: 421,
    Unprocessable: 422,
    Locked: 423,
    RateLimited: 429,
    Unavailable: 503,
}
HTTP_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 408: "TIMEOUT", 413: "TOO_LARGE"}
JSON_PATHS = {"api", "auth", "healthz", "readyz", "metrics", "openapi.json"}
RETRY_AFTER_S = 2

WARNINGS_A_SECOND = 10
_warned: deque[float] = deque(maxlen=WARNINGS_A_SECOND)

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
HSTS = "max-age=31536000; includeSubDomains"


class _Json(DefaultJSONProvider):
    """JSON by msgspec, the same encoder as the stream's."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return msgspec.json.encode(obj).decode()

    def response(self, *args: Any, **kwargs: Any) -> Response:
        body = self._prepare_response_obj(args, kwargs)
        return Response(msgspec.json.encode(body), mimetype="application/json")


class _App(Quart):
    """Quart with threads of its own for plain `def` views: its default ones are shared with name
    look-ups and files, and too few. Its own helpers, which wait for nothing, take none."""

    def __init__(self, threads: Threads) -> None:
        super().__init__("server")
        self._threads = threads

    def sync_to_async(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        if func.__module__.split(".")[0] not in {"quart", "flask"}:
            return in_thread(self._threads, func)

        async def at_once(*args: Any, **kwargs: Any) -> Any:
            return func(*args, **kwargs)

        return at_once


def create_app(
    config: ServerConfig,
    blueprints: Iterable[Blueprint],
    guard: Guard,
    services: Services,
) -> Quart:
    """The application: what the blueprints need they were handed, open, before. Views that are
    plain functions run in the threads of `services`. Raises LegacyAppError."""
    app = _App(services.view_threads)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    QuartSchema(
        app,
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        info=Info(title="BAS server", version=VERSION),
        conversion_preference="msgspec",
    )
    app.json = _Json(app)
    app.before_request(guard.check_origin)
    app.after_request(_secure)
    app.register_error_handler(BasError, _answer)
    app.register_error_handler(RequestSchemaValidationError, _schema_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _answer)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    if config.cors_origins:
        _allow_origins(app, config.cors_origins)
    app.asgi_app = HandedStreams(app.asgi_app)  # type: ignore
    if config.legacy_wsgi:
        app.asgi_app = _Beside(app, _legacy(config.legacy_wsgi, services))  # type: ignore
    # BAS_HOST too: what is printed at the start must open.
    names = {*own_names(), config.host.lower(), *config.allowed_hosts}
    checked = HostCheck(app.asgi_app, names, error_answer, common_headers(config))
    app.asgi_app = checked  # type: ignore
    app.asgi_app = _HttpOnly(app.asgi_app)  # type: ignore[method-assign]
    if config.trusted_proxies:
        app.asgi_app = TrustedProxies(app.asgi_app, config.trusted_proxies)  # type: ignore
    return app


def common_headers(config: ServerConfig) -> dict[str, str]:
    """Those of every answer over plain HTTP to a request without an Origin."""
    return SECURITY_HEADERS | ({"Vary": "Origin"} if config.cors_origins else {})


class _HttpOnly:
    """Keeps from Quart what it would fail on: WebSockets, and a request target without a path."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            scope = {**scope, "path": "/" + scope["path"].rpartition("://")[2].partition("/")[2]}
        await self._app(scope, receive, send)


class _Beside:
    """Hands every path without a route here to the old application, which answers for itself: no
    guard, no header and no error page of this server touches what it says."""

    def __init__(self, app: Quart, legacy: Any) -> None:
        self._own = app.asgi_app
        self._legacy = legacy
        self._routes = app.url_map.bind("")
        self._static = app.static_folder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        own = scope["type"] != "http" or self._has(scope["path"], scope["method"])
        await (self._own if own else self._legacy)(scope, receive, send)

    def _has(self, path: str, method: str) -> bool:
        """Whether the path is this server's, be it with another method; a static file: if it is
        there."""
        try:
            endpoint, values = self._routes.match(path, method)
        except WerkzeugNotFound:
            return False
        except HTTPException:
            return True
        if endpoint != "static":
            return True
        file = safe_join(str(self._static), values["filename"])
        return file is not None and os.path.isfile(file)


def _legacy(name: str, services: Services) -> Any:
    from server.adapters.wsgi import WsgiApp, load  # only where it is configured

    headers = [(name.lower().encode(), text.encode()) for name, text in SECURITY_HEADERS.items()]
    return WsgiApp(load(name), services, headers)


def _allow_origins(app: Quart, origins: tuple[str, ...]) -> None:
    from quart_cors import cors

    cors(app, allow_origin=list(origins), allow_credentials=True, allow_headers=["*"])


async def _secure(response: Response) -> Response:
    response.headers.extend(SECURITY_HEADERS)
    if request.scheme == "https":
        response.headers["Strict-Transport-Security"] = HSTS
    return response


def error_answer(asked: str, error: Exception) -> tuple[int, bytes, dict[str, str]]:
    """Status, JSON and headers for an error in answering what was `asked`; what is told of it
    is logged if it is ours."""
    if not isinstance(error, BasError):
        log.error("%s failed", asked, exc_info=error)
        return 500, msgspec.json.encode(ErrorBody("Internal server error", "INTERNAL")), {}
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    told = ErrorBody(error.error, error.code, error.message)
    body = msgspec.json.encode(told)
    if error.more is not None:
        body = msgspec.json.encode(msgspec.to_builtins(told) | msgspec.to_builtins(error.more))
    headers: dict[str, str] = {}
    if status == 503:
        _warn("%s: %s", asked, error)
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, (Locked, RateLimited)):
        headers["Retry-After"] = str(error.retry_after_s)
    return status, body, headers


def _warn(text: str, *about: object) -> None:
    """Log it, if few lines were lately: while a store is away each request would have one."""
    now = time.monotonic()
    if len(_warned) < WARNINGS_A_SECOND or now - _warned[0] >= 1:
        _warned.append(now)
        log.warning(text, *about)


async def _answer(error: Exception) -> Response:
    status, body, headers = error_answer(f"{request.method} {request.path}", error)
    return Response(body, status=status, mimetype="application/json", headers=headers)


async def _schema_error(error: RequestSchemaValidationError) -> Response:
    return await _answer(invalid(error.validation_error))


async def _http_error(error: HTTPException) -> Response | WerkzeugResponse:
    answer = error.get_response()
    status = answer.status_code
    if status < 400 or request.path.split("/")[1] not in JSON_PATHS:
        return answer
    response = _json(ErrorBody(error.name, HTTP_CODES.get(status, f"HTTP_{status}")), status)
    if "Allow" in answer.headers:
        response.headers["Allow"] = answer.headers["Allow"]
    return response


def _json(body: ErrorBody, status: int) -> Response:
    return Response(msgspec.json.encode(body), status=status, mimetype="application/json")
