"""RequestIds: gives each request an id, which its answer and its log lines show.

A proxy or a client may send one, so that its log and this server's can be compared.
"""

from __future__ import annotations

from server.common.asgi import App, Receive, Scope, Send
from server.common.random_ids import hex_digits
from server.common.request_id import current_request, is_request_id

HEADER = b"x-request-id"
DIGITS = 16


class RequestIds:
    """ASGI middleware: takes the id of a valid `X-Request-ID`, or makes one."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _sent(scope["headers"]) or hex_digits(DIGITS)
        current_request.set(request_id)
        header = HEADER, request_id.encode()

        async def send_with_id(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def _sent(headers: list[tuple[bytes, bytes]]) -> str:
    """The valid id in the headers; "" if there is none, or more than one."""
    sent = [value.decode("latin-1") for name, value in headers if name == HEADER]
    return sent[0] if len(sent) == 1 and is_request_id(sent[0]) else ""
