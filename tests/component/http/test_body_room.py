"""The bytes of bodies that a process holds are bounded, and slow bodies make room for others."""

from __future__ import annotations

import asyncio

import pytest

from server.common.metrics import Metrics
from server.http.body_room import SMALL_BYTES, BodyRoom

SLOW, OTHER = "198.51.100.7", "203.0.113.9"
ROOM = 100_000


def answer_of(asked, error):
    return 503, error.code.encode(), {"Retry-After": "2"}


class Sender:
    """A request whose body comes piece by piece, as the test says."""

    def __init__(self, room, address, length=ROOM):
        headers = [(b"content-length", str(length).encode())]
        scope = {"type": "http", "method": "POST", "path": "/x", "http_version": "1.1"}
        self.pieces, self.sent = asyncio.Queue(), []
        scope |= {"headers": headers, "client": (address, 1)}
        self.task = asyncio.create_task(room(scope, self.pieces.get, self._send))

    async def _send(self, message):
        self.sent.append(message)

    async def send(self, size, more=True):
        self.pieces.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})
        for _ in range(10):  # turns of the loop until it is taken
            await asyncio.sleep(0)

    async def status(self):
        async with asyncio.timeout(25):
            await self.task
        return self.sent[0]["status"]


async def app(scope, receive, send):
    """Reads the body, and answers once it is complete."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def room(metrics):
    return BodyRoom(app, ROOM, answer_of, {}, metrics)


async def test_the_oldest_body_of_the_address_that_holds_most_is_refused(room, metrics):
    slow = [Sender(room, SLOW) for _ in range(3)]
    for one in slow:
        await one.send(30_000)
    other = Sender(room, OTHER)
    await other.send(20_000, more=False)
    assert await slow[0].status() == 503
    assert slow[0].sent[1]["body"] == b"NO_BODY_ROOM"
    assert (b"retry-after", b"2") in slow[0].sent[0]["headers"]
    for one in slow[1:]:
        await one.send(1, more=False)
    assert [await one.status() for one in (other, *slow[1:])] == [200, 200, 200]
    assert metrics.bodies_refused._value.get() == 1


async def test_a_body_that_alone_is_too_much_is_refused_itself(room):
    sender = Sender(room, SLOW)
    await sender.send(ROOM + 1)
    assert await sender.status() == 503


async def test_bodies_that_ended_make_room(room):
    for _ in range(5):
        sender = Sender(room, SLOW)
        await sender.send(ROOM, more=False)
        assert await sender.status() == 200


async def test_short_bodies_are_not_counted(room):
    full = Sender(room, SLOW)
    await full.send(ROOM)
    short = Sender(room, SLOW, length=SMALL_BYTES)
    await short.send(SMALL_BYTES, more=False)
    assert await short.status() == 200
    await full.send(0, more=False)
    assert await full.status() == 200
