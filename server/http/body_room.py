"""BodyRoom: bounds the bytes of request bodies that a process holds at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from server.common.addresses import address_group
from server.common.asgi import App, Message, Receive, Scope, Send
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.common.seldom import Seldom
from server.http.host_check import send_refusal
from server.http.plain_posts import HttpAnswer

# Shorter bodies are not counted: the limit of connections bounds them, and a device's single post
# is never refused for the sake of others.
SMALL_BYTES = 4096

log = logging.getLogger(__name__)


class NoBodyRoom(Unavailable):
    """The process holds too many bytes of bodies, and most of them are of this address."""

    error = "Too many bytes of bodies"
    code = "NO_BODY_ROOM"


class _Body:
    """A body that comes, or that came and whose request is not answered yet."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.size = 0
        self.is_complete = self.is_refused = False
        self.receiving: asyncio.Task[Message] | None = None

    async def received(self, receive: Receive) -> Message:
        """The next message. Raises NoBodyRoom if the body is refused before it comes."""
        self.receiving = receiving = asyncio.ensure_future(receive())
        try:
            message: Message = await receiving
            return message
        except asyncio.CancelledError:
            if self.is_refused:
                raise NoBodyRoom(message="send the request again") from None
            raise
        finally:
            self.receiving = None

    def refuse(self) -> None:
        """Let its request fail."""
        self.is_refused = True
        if self.receiving is not None:
            self.receiving.cancel()


class BodyRoom:
    """ASGI middleware that holds at most `max_bytes` of bodies.

    Beyond that it refuses a request whose body is still coming: the oldest one of the address that
    holds most bytes. A sender that is slow, or sends many bodies at once, makes room for the
    others. It comes after the middleware that finds out the sender's address.
    """

    def __init__(
        self,
        app: App,
        max_bytes: int,
        error_answer: Callable[[str, Exception], HttpAnswer],
        headers: Mapping[str, str],
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._error_answer = error_answer
        self._headers = headers
        self._refused = metrics.bodies_refused
        self._warnings = Seldom()
        self._bytes = 0
        self._bodies: dict[_Body, None] = {}  # the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_be_long(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(address_group((scope.get("client") or ("",))[0]))
        began = False

        async def counted() -> Message:
            if body.is_complete:
                message: Message = await receive()
                return message
            message = await body.received(receive)
            if message["type"] == "http.request":
                self._add(body, len(message.get("body", b"")))
                body.is_complete = not message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        self._bodies[body] = None
        try:
            await self._app(scope, counted, noted)
        except NoBodyRoom as error:
            if not began:
                asked = f"{scope['method']} {scope['path']}"
                await send_refusal(send, self._error_answer(asked, error), self._headers)
        finally:
            del self._bodies[body]
            self._bytes -= body.size

    def _add(self, body: _Body, size: int) -> None:
        """Count bytes of a body, and refuse others or itself. Raises NoBodyRoom for itself."""
        body.size += size
        self._bytes += size
        left = self._bytes - self._max_bytes
        while left > 0:
            victim = self._victim()
            left -= victim.size
            self._refused.inc()
            if self._warnings.may_log(victim.group):
                log.warning(
                    "a request from %s is refused while its body comes: %d bytes of bodies are "
                    "held, and that address holds most of them. BAS_BODY_BYTES_MAX is the limit",
                    victim.group,
                    self._bytes,
                )
            victim.refuse()
            if victim is body:
                raise NoBodyRoom(message="send the request again")

    def _victim(self) -> _Body:
        """The oldest coming body of the address with most bytes of such; there is one at least."""
        coming = [one for one in self._bodies if not (one.is_complete or one.is_refused)]
        held: dict[str, int] = {}
        for one in coming:
            held[one.group] = held.get(one.group, 0) + one.size
        most = max(held, key=held.__getitem__)
        return next(one for one in coming if one.group == most)


def _may_be_long(scope: Scope) -> bool:
    """Whether the body may be longer than SMALL_BYTES; a chunked one may."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name == b"transfer-encoding":
            return True
        if name == b"content-length":
            return not value.isdigit() or len(value) > 9 or int(value) > SMALL_BYTES
    # HTTP/2 needs neither header.
    return not scope["http_version"].startswith("1.")
