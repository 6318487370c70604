"""The answers to errors: JSON for programs, and for a person a page with words and a way on."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

import msgspec
from quart import Quart, Response, redirect, render_template, request
from quart_schema.validation import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from server.common.errors import (
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
from server.common.seldom import Seldom
from server.common.tracebacks import log_failure
from server.routes.models import ErrorBody
from server.routes.requests import invalid

log = logging.getLogger(__name__)

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
RETRY_AFTER_S = 2
# The blueprint of the pages; routes that the old application's owner adds answer in JSON too.
PAGES = "pages"
# Programs call these, or a script of a page does.
JSON_PATHS = {"api", "auth", "healthz", "readyz", "metrics", "openapi.json"}
# Of pages: title and words.
WORDS = {
    403: ("Not for this account", "Your account may not open this page."),
    404: ("Not found", "There is no page with this address."),
    405: ("Not found", "This address is no page: it takes other requests only."),
    429: ("Too many requests", "Please wait a little."),
    500: ("An error in the server", "The server failed. Its log says why."),
    503: ("Not now", "The server cannot show this page now."),
}
OTHERS = ("This does not work", "The server does not accept this request.")

# While a store is away, every request would cause a line: one a minute for each code is logged.
_unavailable = Seldom()


def add_error_answers(app: Quart) -> None:
    """Answer each exception of a view, and each path and method that the app does not have."""
    app.register_error_handler(BasError, _answer)
    app.register_error_handler(RequestSchemaValidationError, _schema_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _answer)


def error_answer(asked: str, error: Exception) -> tuple[int, bytes, dict[str, str]]:
    """Return status, JSON and headers for an error in the request `asked`.

    An error that is not a BasError is logged, and its caller gets no details of it.
    """
    if not isinstance(error, BasError):
        log_failure(log, error, "%s failed", asked)
        return 500, msgspec.json.encode(ErrorBody("Internal server error", "INTERNAL")), {}
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    fields = ErrorBody(error.error, error.code, error.message)
    body = msgspec.json.encode(fields)
    if error.more is not None:
        body = msgspec.json.encode(msgspec.to_builtins(fields) | msgspec.to_builtins(error.more))
    headers: dict[str, str] = {}
    if status == 503:
        if _unavailable.may_log(error.code):
            log.warning("%s is answered with 503: %s", asked, error)
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, (Locked, RateLimited)):
        headers["Retry-After"] = str(error.retry_after_s)
    return status, body, headers


async def _answer(error: Exception) -> Response | WerkzeugResponse:
    status, body, headers = error_answer(f"{request.method} {request.path}", error)
    if request.blueprint == PAGES:
        page = await _page(status, msgspec.json.decode(body, type=ErrorBody))
        page.headers.extend(headers)
        return page
    return Response(body, status=status, mimetype="application/json", headers=headers)


async def _schema_error(error: RequestSchemaValidationError) -> Response | WerkzeugResponse:
    return await _answer(invalid(error.validation_error))


async def _http_error(error: HTTPException) -> Response | WerkzeugResponse:
    answer = error.get_response()
    status = answer.status_code
    if status < 400:
        return answer
    said = ErrorBody(error.name, HTTP_CODES.get(status, f"HTTP_{status}"))
    is_page = request.path.split("/")[1] not in JSON_PATHS
    response = await _page(status, said) if is_page else _json(said, status)
    if "Allow" in answer.headers:
        response.headers["Allow"] = answer.headers["Allow"]
    return response


def _json(body: ErrorBody, status: int) -> Response:
    return Response(msgspec.json.encode(body), status=status, mimetype="application/json")


async def _page(status: int, error: ErrorBody) -> Response | WerkzeugResponse:
    """The page of an error; without a session it is the log-in page, which leads back here."""
    if status == 401:
        return redirect(_log_in("ended" if error.code == "SESSION_INVALID" else ""))
    title, words = WORDS.get(status, OTHERS)
    page = await render_template(
        "error.html",
        status=status,
        title=title,
        words=words,
        code=error.code,
        detail=error.message,
        log_in=_log_in(""),
    )
    return Response(page, status=status, mimetype="text/html")


def _log_in(reason: str) -> str:
    asked = request.root_path + request.full_path.removesuffix("?")
    query = {"next": asked} | ({"reason": reason} if reason else {})
    return f"{request.root_path}/auth/login?{urlencode(query)}"
