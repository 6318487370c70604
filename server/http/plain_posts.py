"""PlainPosts: finds ordinary posts of a reading and answers them without Quart or Hypercorn.

Quart and Hypercorn spend most of a request's time on parts that such a post does not use (events,
tasks, contexts, routing, sessions, cookies). The route in `sensor.py` answers any unusual post.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import h11
import msgspec

from server.common.bearer import bearer, is_api_token
from server.common.shielded_tasks import ShieldedTasks
from server.control.rules.posted_body import Posted
from server.http.error_answers import error_answer
from server.http.tls import HSTS
from server.routes.device_posts import DevicePosts
from server.routes.refusals import SINGLE
from server.routes.sender import Sender

# Every ordinary post begins with this.
BEGINNING = f"POST {SINGLE} HTTP/1.".encode()
# The first LF ends the line before: h11 ends a head at the first empty line, whether the line
# before it ends with CR LF or with LF.
END_OF_HEAD = b"\n\r\n"
HEAD_MAX_BYTES = 1024
BODY_MAX_BYTES = 4096
# Size of the cache of parsed heads, since a device sends few different ones: 2 KB each at most.
HEADS = 4096
JSON = b"application/json"
# The headers that are read here, and those that do not change what the sender may do. A post with
# any other header is not ordinary.
UNDERSTOOD = (b"content-length", b"content-type", b"x-device-key", b"authorization", b"connection")
HARMLESS = frozenset((b"host", b"user-agent", b"accept", b"accept-encoding", b"keep-alive"))
KEEP, CLOSE = b"keep-alive", b"close"

HttpAnswer = tuple[int, bytes, Mapping[str, str]]
"""Status, JSON and further headers."""
Pairs = tuple[tuple[str, str], ...]
"""Names and values of headers."""

_decoder = msgspec.json.Decoder(Posted)
_encoder = msgspec.json.Encoder()
_NOTHING = Posted()


class Head(NamedTuple):
    """The head of an ordinary post: the body's length in bytes, and the device's key.

    `kept` says whether the connection stays open after the answer.
    """

    length: int
    key: str | None
    kept: bool


@lru_cache(HEADS)
def ordinary_head(head: bytes) -> Head | None:
    """Parse the head of a request with its empty line; None if the post is not ordinary."""
    request = _parsed(head)
    if request is None or request.method != b"POST" or request.target != SINGLE.encode():
        return None
    headers = _understood(request.headers)
    if headers is None:
        return None
    length = _length(headers)
    keys = _device_keys(headers)
    wishes = {value.lower() for value in headers[b"connection"]}
    is_ordinary = (
        set(headers[b"content-type"]) == {JSON}
        and wishes <= {KEEP, CLOSE}
        and len(keys) <= 1
        and not any(map(is_api_token, keys))
        and length <= BODY_MAX_BYTES
    )
    if not is_ordinary:
        return None
    kept = request.http_version == b"1.1" and CLOSE not in wishes
    return Head(length, keys[0] if keys else None, kept)


def _parsed(head: bytes) -> h11.Request | None:
    """Parse the head with h11; None unless all of it is one head (lines may end without a CR)."""
    wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
    wire.receive_data(head)
    try:
        request = wire.next_event()
    except h11.RemoteProtocolError:
        return None
    return request if isinstance(request, h11.Request) and not wire.trailing_data[0] else None


def _understood(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]] | None:
    """Return all values of each header that is read here; None if another one is not harmless."""
    values: dict[bytes, list[bytes]] = {name: [] for name in UNDERSTOOD}
    for name, value in headers:
        if name in values:
            values[name].append(value)
        elif name not in HARMLESS:
            return None
    return values


def _length(headers: Mapping[bytes, Sequence[bytes]]) -> int:
    """The body's length, 0 if no header gives it; h11 checked that it is one number."""
    lengths = headers[b"content-length"]
    return int(lengths[0]) if lengths else 0


def _device_keys(headers: Mapping[bytes, Sequence[bytes]]) -> list[str]:
    """Return a key per header that may hold one; "" for an Authorization of another kind."""
    keys = [value.decode("latin-1") for value in headers[b"x-device-key"]]
    credentials = [value.decode("latin-1") for value in headers[b"authorization"]]
    return keys + [bearer(text) or "" for text in credentials]


class Post(NamedTuple):
    """A complete ordinary post, and its size in bytes."""

    head: Head
    body: Posted
    size: int


class NotOrdinary(Exception):
    """The received bytes do not begin with an ordinary post."""


def first_post(received: bytes) -> Post | None:
    """Return the first post of the received bytes; None if its rest is missing yet.

    Raises NotOrdinary.
    """
    end = received.find(END_OF_HEAD, 0, HEAD_MAX_BYTES)
    if not received.startswith(BEGINNING) and not BEGINNING.startswith(received):
        raise NotOrdinary
    if end < 0:
        # h11 also accepts lines that end without a CR.
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
    """Answers ordinary posts, in tasks that `begin` of `work` starts.

    `headers` are the headers of every answer of this server. `counts` gets the answers by status.
    """

    def __init__(
        self,
        posts: DevicePosts,
        work: ShieldedTasks,
        headers: Mapping[str, str],
        counts: MutableMapping[int, int],
    ) -> None:
        self.headers: Pairs = (("Content-Type", JSON.decode()), *headers.items())
        self.https_headers: Pairs = (*self.headers, ("Strict-Transport-Security", HSTS))
        self.begin = work.begin
        self._posts = posts
        self._counts = counts

    async def answer(self, post: Post, peer: str, certified: bool = True) -> HttpAnswer:
        """Return the command once the reading is stored, or an error answer; it never raises.

        `peer` is the sender's address: ordinary posts have no header of a proxy that names another.
        `certified` is false if its connection lacks a client certificate that the server asks for.
        """
        try:
            command = await self._posts.one(_sender(post, peer, certified), post.body)
            body = _encoder.encode(command)
        except Exception as error:  # noqa: BLE001 - `error_answer` has the table of status codes
            answer = error_answer(f"POST {SINGLE}", error)
            self._counts[answer[0]] += 1
            return answer
        self._counts[200] += 1
        return 200, body, {}

    async def answer_lost(self, post: Post, peer: str) -> None:
        """Note that the answer did not reach its sender, so the state of the relays is unknown."""
        await self._posts.answer_lost(_sender(post, peer), post.body)


def _sender(post: Post, peer: str, certified: bool = True) -> Sender:
    return Sender(post.head.key, None, None, peer, certified)
