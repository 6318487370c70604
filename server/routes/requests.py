"""Reads requests: strict JSON bodies, documented for OpenAPI, and device keys."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import msgspec
from quart import current_app, request
from quart_schema import document_request, document_response
from werkzeug.exceptions import RequestEntityTooLarge

from server.auth.guard import View
from server.common.asgi import UNCERTIFIED
from server.common.bearer import bearer, is_api_token
from server.common.errors import BasError, Invalid, InvalidField, TooLarge, UnsupportedMedia
from server.common.excess_body import BODY_IS_LONGER
from server.control.rules.posted_body import NOTHING, is_key
from server.routes.inflating import inflated, is_gzip
from server.routes.models import ErrorBody
from server.routes.sender import RepeatKey

T = TypeVar("T")
DEVICE_ID_MAX = 128

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def json_body(
    model: type[msgspec.Struct],
    *,
    empty: Callable[[], BasError] | None = None,
    check: Callable[[Any, bool], None] | None = None,
) -> Callable[[View], View]:
    """Pass the body to the view as keyword argument `data`.

    Quart-Schema's own validation is lax (it takes a text for a number): it only documents the type
    here, and msgspec decodes strictly. `empty` makes the error for a missing body or `{}`; without
    it such a body has the default values. `check` gets the data, and whether the body was missing
    or `{}`, and raises what the type cannot express. Raises Invalid, InvalidField,
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
    """A device's body as decoded by `read`, or what is wrong with it.

    `before` is awaited after the body came and before it is decoded.
    """
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
    """The request's body, with its Content-Encoding undone.

    Raises UnsupportedMedia for an unknown encoding, Invalid for a broken one, and
    RequestEntityTooLarge for a body that is too large before or after.
    """
    is_packed = is_gzip(",".join(request.headers.getlist("Content-Encoding")))
    raw: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    if not is_packed or not raw:
        return raw
    try:
        return inflated(raw, request.max_content_length or 0)
    except Invalid as error:
        raise _unreadable(error) from None


def checked_times(start_ms: int | None, end_ms: int | None) -> None:
    """Raise InvalidField if a span of time ends before it starts."""
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise InvalidField("start", "must not be after end")


def several_devices(value: list[str] | str, at_most: int) -> list[str]:
    """The devices that a query names: at least one. Raises InvalidField."""
    devices = [text for text in ([value] if isinstance(value, str) else value) if text]
    if not devices:
        raise InvalidField("device_id", "is required")
    if len(devices) > at_most:
        raise InvalidField("device_id", f"at most {at_most} devices")
    if any(len(text) > DEVICE_ID_MAX for text in devices):
        raise InvalidField("device_id", f"Expected `str` of length <= {DEVICE_ID_MAX}")
    return devices


def fails_with(*statuses: int) -> Callable[[View], View]:
    """Document these error statuses."""

    def decorate(view: View) -> View:
        for status in statuses:
            view = document_response(ErrorBody, status)(view)
        return view

    return decorate


def decode(raw: bytes, model: type[T]) -> T:
    """JSON decoded as `model`. Raises Invalid if it is no such JSON, InvalidField for a field."""
    try:
        return msgspec.json.decode(raw, type=model)
    except msgspec.ValidationError as error:
        raise _unreadable(invalid(error)) from None
    except RecursionError:
        raise _unreadable(Invalid("Invalid JSON", "INVALID_JSON", "nested too deeply")) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(Invalid("Invalid JSON", "INVALID_JSON", str(error))) from None


def _unreadable(error: BasError) -> BasError:
    """The error; its message says so if a wrong Content-Length has cut the body."""
    state: dict[str, Any] = request.scope.get("state") or {}
    asked = state.get(BODY_IS_LONGER)
    # HTTP/2 has no such fault, but its scope still has the function that the connection started
    # with.
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


def is_certified() -> bool:
    """False if the connection lacks the client certificate that the server asks for."""
    return UNCERTIFIED not in (request.scope.get("state") or {})


def device_key() -> str | None:
    """The request's device key, if it has one; an API token is none."""
    headers = request.headers
    sent = bearer(headers.get("Authorization", ""))
    return headers.get("X-Device-Key") or (None if is_api_token(sent) else sent)


def repeat_key() -> RepeatKey:
    """The key by which a repeat of this request is recognised."""
    key = request.headers.get("Idempotency-Key")
    if key is None or is_key(key):
        return RepeatKey(key)
    return RepeatKey(ignored=True)
