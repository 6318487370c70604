"""PlainPosts: what an ordinary post of a reading is, and its answer without Quart or Hypercorn.

Most of what a request costs there (events, tasks, contexts, routing, sessions, cookies) is for what
such a post does not have. Whatever is the least bit unusual is left to the route in `sensor.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import h11
import msgspec

from server.control.posted import Posted
from server.routes.device_posts import DevicePosts, Sender
from server.routes.refusals import SINGLE
from server.routes.requests import bearer

# So begins every post that may be ordinary.
BEGINNING = f"POST {SINGLE} HTTP/1.".encode()
# Of the line before too: h11 ends a head at the first empty line, after whatever end.
END_OF_HEAD = b"\n\r\n"
HEAD_MAX_BYTES = 1024
BODY_MAX_BYTES = 4096
# Heads are remembered, since a device sends few different ones: about 2 KB each at most.
HEADS = 4096
# Headers that say nothing about who may do what. With any other one the post is not ordinary.
ORDINARY = frozenset((b"host", b"user-agent", b"accept", b"accept-encoding", b"keep-alive"))
JSON = b"application/json"

Answer = tuple[int, bytes, Mapping[str, str]]
"""Status, JSON and further headers."""

_decoder = msgspec.json.Decoder(Posted)
_encoder = msgspec.json.Encoder()
_NOTHING = Posted()


class Head(NamedTuple):
    """Of an ordinary post: its body's length in bytes, its device's key, and whether its
    connection is kept afterwards."""

    length: int
    key: str | None
    kept: bool


@lru_cache(HEADS)
def ordinary_head(head: bytes) -> Head | None:
    """What the head of a request says, up to its empty line; None if it is not ordinary."""
    request = _parsed(head)
    if request is None or request.target != SINGLE.encode():
        return None
    length, is_json, kept, keys = 0, False, request.http_version == b"1.1", []
    for name, value in request.headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"content-type":
            if value != JSON:
                return None
            is_json = True
        elif name == b"x-device-key":
            keys.append(value.decode("latin-1"))
        elif name == b"authorization":
            keys.append(bearer(value.decode("latin-1")) or "")
        elif name == b"connection":
            if value.lower() not in (b"keep-alive", b"close"):
                return None
            kept = kept and value.lower() == b"keep-alive"
        elif name not in ORDINARY:
            return None
    if request.method != b"POST" or not is_json or len(keys) > 1 or length > BODY_MAX_BYTES:
        return None
    return Head(length, keys[0] if keys else None, kept)


def _parsed(head: bytes) -> h11.Request | None:
    """None unless h11 takes all of it as one head: lines may end without a CR too."""
    wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
    wire.receive_data(head)
    try:
        request = wire.next_event()
    except h11.RemoteProtocolError:
        return None
    return request if isinstance(request, h11.Request) and not wire.trailing_data[0] else None


class Post(NamedTuple):
    """A whole ordinary post, and how many bytes it took."""

    head: Head
    body: Posted
    size: int


class NotOrdinary(Exception):
    """What was received begins with something else than an ordinary post."""


def first_post(received: bytes) -> Post | None:
    """The post that was received first; None if it is not whole yet. Raises NotOrdinary."""
    end = received.find(END_OF_HEAD, 0, HEAD_MAX_BYTES)
    if not received.startswith(BEGINNING) and not BEGINNING.startswith(received):
        raise NotOrdinary
    if end < 0:
        # h11 takes lines that end without a CR too.
        if len(received) >= HEAD_MAX_BYTES or b"\n\n" in received:
            raise NotOrdinary
        return None
    body = end + len(END_OF_HEAD)
    head = ordinary_head(received[:body])
    if head is None:
        raise NotOrdinary
    size = body + head.length
    if len(received) < size:
        return None
    try:
        posted = _decoder.decode(received[body:size])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotOrdinary from None
    if posted == _NOTHING:
        raise NotOrdinary
    return Post(head, posted, size)


class PlainPosts:
    """Answers ordinary posts; `headers` are those of every answer of this server."""

    def __init__(
        self,
        posts: DevicePosts,
        headers: Mapping[str, str],
        error_answer: Callable[[str, Exception], Answer],
    ) -> None:
        self.headers = (("Content-Type", JSON.decode()), *headers.items())
        self._posts = posts
        self._error_answer = error_answer

    async def answer(self, post: Post, peer: str) -> Answer:
        """The command once the reading is stored, or what an error is told as; never raises one.

        `peer` is the sender's address: what a proxy says of another one is in no ordinary post.
        """
        try:
            command = await self._posts.one(_sender(post, peer), post.body)
            return 200, _encoder.encode(command), {}
        except Exception as error:  # noqa: BLE001 - the one table says what is answered
            return self._error_answer(f"POST {SINGLE}", error)

    async def not_taken(self, post: Post, peer: str) -> None:
        """The answer to a post did not come to its sender: what it switched is not known."""
        await self._posts.not_taken(_sender(post, peer), post.body)


def _sender(post: Post, peer: str) -> Sender:
    return Sender(post.head.key, None, None, peer)
