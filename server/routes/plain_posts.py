"""PlainPosts: a device's ordinary post of a reading, answered before Quart.

Most of what a request costs in Quart (contexts, routing, sessions, cookies) is for what such a post
does not have. Whatever is the least bit unusual goes on to the route in `sensor.py`, as it came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from server.auth.device_keys import DeviceKeys
from server.control.zones import ZoneService
from server.routes.models import SensorData
from server.routes.requests import bearer
from server.routes.sensor import reading_of

PATH = "/api/sensor_data"
BODY_MAX_BYTES = 4096
# A body that takes longer than its first pieces usually do is waited for in Quart.
BODY_S = 2.0
# Headers that say nothing about who may do what. With any other one the post is not ordinary.
ORDINARY = frozenset(
    (b"host", b"connection", b"user-agent", b"accept", b"accept-encoding", b"keep-alive")
)
KEYS = frozenset((b"authorization", b"x-device-key"))
JSON = b"application/json"

Message = dict[str, Any]
Answer = tuple[int, bytes, dict[str, str]]
"""Status, JSON and further headers."""

_decoder = msgspec.json.Decoder(SensorData)
_encoder = msgspec.json.Encoder()


class PlainPosts:
    """ASGI: answers ordinary posts to PATH over plain HTTP; `app` has all others."""

    def __init__(
        self,
        zones: ZoneService,
        keys: DeviceKeys,
        app: Any,
        headers: Mapping[str, str],
        error_answer: Callable[[str, Exception], Answer],
    ) -> None:
        self._app = app
        self._zones = zones
        self._keys = keys
        self._headers = [
            (b"content-type", JSON),
            *_encoded(headers),
        ]
        self._error_answer = error_answer

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or not _is_ordinary(scope):
            await self._app(scope, receive, send)
            return
        messages = await _body(receive)
        try:
            data = _decoder.decode(b"".join(one.get("body", b"") for one in messages))
            ordinary = _is_whole(messages) and data != SensorData()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            ordinary = False
        if not ordinary:
            await self._app(scope, _again(messages, receive), send)
            return
        status, body, more = await self._answer(scope, data)
        length = (b"content-length", str(len(body)).encode())
        headers = [length, *self._headers, *_encoded(more)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, data: SensorData) -> Answer:
        try:
            tenant_id, device_id = await self._keys.identify(_key(scope), data.device_id, None)
            command = await self._zones.accept(tenant_id, device_id, reading_of(data, None))
            return 200, _encoder.encode(command), {}
        except Exception as error:  # noqa: BLE001 - the one table says what is answered
            return self._error_answer(f"POST {PATH}", error)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), text.encode()) for name, text in headers.items()]


def _is_ordinary(scope: Message) -> bool:
    if scope["method"] != "POST" or scope["scheme"] != "http":
        return False
    length = keys = 0
    is_json = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-type":
            if value != JSON:
                return False
            is_json = True
        elif name in KEYS:
            keys += 1
        elif name not in ORDINARY:
            return False
    return is_json and keys <= 1 and length <= BODY_MAX_BYTES


def _key(scope: Message) -> str | None:
    """The device's key, as the route in `sensor.py` finds it."""
    found = {name: value.decode("latin-1") for name, value in scope["headers"]}
    return found.get(b"x-device-key") or bearer(found.get(b"authorization", ""))


def _is_whole(messages: list[Message]) -> bool:
    last = messages[-1]
    return last["type"] == "http.request" and not last.get("more_body")


async def _body(receive: Any) -> list[Message]:
    """The body's messages. The last one ends it, unless that takes too long or too many bytes, or
    the client is gone."""
    messages: list[Message] = []
    size, more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BODY_S):
            while more and size <= BODY_MAX_BYTES:
                message = await receive()
                messages.append(message)
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
    return messages


def _again(messages: list[Message], receive: Any) -> Any:
    """`receive`, beginning with what was received already."""
    waiting = messages[::-1]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
