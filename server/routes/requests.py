"""Strict JSON bodies for views, documented for OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import msgspec
from quart import current_app, request
from quart_schema import document_request, document_response
from werkzeug.exceptions import RequestEntityTooLarge

from server.control.posted import NOTHING, is_key
from server.errors import BasError, Invalid, InvalidField, TooLarge, UnsupportedMedia
from server.excess import BODY_IS_LONGER
from server.routes.device_posts import RepeatKey
from server.routes.inflating import inflated, is_gzip
from server.routes.models import ErrorBody

T = TypeVar("T")
View = Callable[..., Any]

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def json_body(
    model: type[msgspec.Struct],
    *,
    empty: Callable[[], BasError] | None = None,
    check: Callable[[Any, bool], None] | None = None,
) -> Callable[[View], View]:
    """Give the view its body as keyword argument `data`.

    Quart-Schema's own validation is lax (a text is taken for a number), so it documents the type
    and msgspec decodes strictly here. A missing body, or `{}` where `empty` is given, raises
    what `empty` makes; without it, it is a body of defaults. `check` is given the data, and whether
    the body was missing or `{}`, to raise what the type cannot say. Raises Invalid, InvalidField,
    UnsupportedMedia.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        async def with_body(*args: Any, **kwargs: Any) -> Any:
            raw = await read_body()
            if raw and not request.is_json:
                raise UnsupportedMedia(message="send Content-Type: application/json")
            is_empty = NOTHING.fullmatch(raw) is not None
            if empty is not None and is_empty:
                raise _unreadable(empty())
            kwargs["data"] = data = decode(raw or b"{}", model)
            if check is not None:
                check(data, is_empty)
            return await current_app.ensure_async(view)(*args, **kwargs)

        return document_request(model)(with_body)

    return decorate


async def read_device_body(
    read: Callable[[bytes], T],
    *content_types: str,
    before: Callable[[], Awaitable[None]] | None = None,
) -> T | BasError:
    """What `read` makes of a device's body, after `before`, or what is wrong with it."""
    try:
        raw = await read_body()
    except RequestEntityTooLarge:
        return TooLarge()
    except BasError as error:
        return error
    if raw and not request.is_json and request.mimetype not in content_types:
        return UnsupportedMedia(message=f"send Content-Type: {' or '.join(content_types)}")
    if before is not None:
        await before()
    try:
        found = read(raw)
    except BasError as error:
        return _unreadable(error)
    if isinstance(found, list):
        for row in found:
            if isinstance(row, BasError):
                _unreadable(row)
    return found


async def read_body() -> bytes:
    """The request's body, as it was before its Content-Encoding.

    Raises UnsupportedMedia for an encoding that is not taken, Invalid for a broken one, and
    RequestEntityTooLarge for a body that is too large before or after.
    """
    is_packed = is_gzip(",".join(request.headers.getlist("Content-Encoding")))
    raw: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    if not is_packed or not raw:
        return raw
    try:
        return inflated(raw, current_app.config["MAX_CONTENT_LENGTH"])
    except Invalid as error:
        raise _unreadable(error) from None


def fails_with(*statuses: int) -> Callable[[View], View]:
    """Document these error answers."""

    def decorate(view: View) -> View:
        for status in statuses:
            view = document_response(ErrorBody, status)(view)
        return view

    return decorate


def decode(raw: bytes, model: type[T]) -> T:
    """JSON as `model`. Raises Invalid for another kind of JSON, InvalidField for a field."""
    try:
        return msgspec.json.decode(raw, type=model)
    except msgspec.ValidationError as error:
        raise _unreadable(invalid(error)) from None
    except RecursionError:
        raise _unreadable(Invalid("Invalid JSON", "INVALID_JSON", "nested too deeply")) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(Invalid("Invalid JSON", "INVALID_JSON", str(error))) from None


def _unreadable(error: BasError) -> BasError:
    """The error, which says so if it is the Content-Length that has cut the body."""
    state: dict[str, Any] = request.scope.get("state") or {}
    asked = state.get(BODY_IS_LONGER)
    # Over HTTP/2, which has no such fault, what is asked is left from the connection's beginning.
    if asked is not None and request.scope["http_version"].startswith("1.") and asked():
        cause = f"{error.message}: " if error.message else ""
        error.message = f"{cause}the body is longer than Content-Length says"
    return error


def invalid(error: Exception) -> BasError:
    """A failed validation as an error that names the field."""
    text = str(error)
    missing = _MISSING.search(text)
    if missing:
        return InvalidField(missing["field"], "is required")
    path = _PATH.search(text)
    if path and path["path"] and not path["path"].startswith("["):
        return InvalidField(path["path"], text[: path.start()])
    return Invalid("Invalid JSON", "INVALID_JSON", text)


def device_key() -> str | None:
    """The device key of this request."""
    headers = request.headers
    return headers.get("X-Device-Key") or bearer(headers.get("Authorization", ""))


def bearer(authorization: str) -> str | None:
    """The credentials in this header, if it has some of this kind."""
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None


def repeat_key() -> RepeatKey:
    """What the caller knows this request by, if it may come again."""
    key = request.headers.get("Idempotency-Key")
    if key is None or is_key(key):
        return RepeatKey(key)
    return RepeatKey(ignored=True)
