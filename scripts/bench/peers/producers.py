"""Who posts the events: kept connections with one request at a time, at a rate or without pause."""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from collections.abc import Callable

from scripts.bench.peers.loop import Loop
from tools.wire import AHEAD_MS

ANSWER_S = 30.0
_HEAD = re.compile(rb"HTTP/1\.(\d) (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
# The request of an event, by its stamp and the number of its producer.
Request = Callable[[int, int], bytes]


class Producers:
    """So many connections to one server."""

    def __init__(self, loop: Loop, port: int, count: int, request: Request) -> None:
        self._loop, self._request = loop, request
        self.sent: dict[int, float] = {}
        self.delays: list[float] = []
        self.refused = 0
        self._stamp = 0
        self._all = [Producer(self, loop, port, index) for index in range(count)]
        self._free = deque(self._all)

    def post(self, seconds: float, a_second: float | None = None) -> bool:
        """For so long, at that rate or as fast as they are answered; whether all were answered.

        The first of a rate comes after its interval, as all others do: what was posted before is
        not in its way. A rate that is not kept up with is not caught up after the end.
        """
        began, number = time.perf_counter(), 1
        end = began + seconds

        def tick() -> float | None:
            nonlocal number
            while self._free:
                now = time.perf_counter()
                due = now if a_second is None else began + number / a_second
                if now >= end or due >= end:
                    return None
                if due > now:
                    return due
                number += 1
                self._one()
            return None

        def done() -> bool:
            idle = len(self._free) == len(self._all)
            # Nothing will be due any more once the next one lies behind the end.
            over = a_second is not None and began + number / a_second >= end
            return idle and (over or time.perf_counter() >= end)

        self._loop.tick = tick
        answered = self._loop.run(done, seconds + ANSWER_S)
        self._loop.tick = lambda: None
        return answered

    def forget(self) -> None:
        """Reset the counts."""
        self.sent, self.delays, self.refused = {}, [], 0

    def close(self) -> None:
        """All connections go away."""
        for producer in self._all:
            producer.close()

    def _one(self) -> None:
        producer = self._free.popleft()
        # However long this goes on, and however fast.
        self._stamp = max(self._stamp + 1, time.time_ns() // 1_000_000 + AHEAD_MS)
        stamp = self._stamp
        request = self._request(stamp, producer.index)
        self.sent[stamp] = time.perf_counter()
        producer.post(stamp, request)

    def answered(self, producer: Producer, stamp: int, ok: bool) -> None:
        """Called by a producer. An event that was refused was not sent."""
        if ok:
            self.delays.append(time.perf_counter() - self.sent[stamp])
        else:
            self.refused += 1
            del self.sent[stamp]
        self._free.append(producer)


class Producer:
    """One connection, opened again if the server closes it."""

    def __init__(self, producers: Producers, loop: Loop, port: int, index: int) -> None:
        self._producers, self._loop, self._port, self.index = producers, loop, port, index
        self._sock: socket.socket | None = None
        self._text, self._stamp, self._waits = b"", 0, False

    def post(self, stamp: int, request: bytes) -> None:
        """Send it; `answered` is called with the answer."""
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), ANSWER_S)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setblocking(False)
            self._loop.watch_first(self._sock, self._readable)
        self._stamp, self._waits, self._text = stamp, True, b""
        try:
            self._sock.sendall(request)
        except ConnectionError:
            self._end(ok=False)

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._end(ok=False)
            return
        self._text += data
        head, found, body = self._text.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        status = _HEAD.match(head)
        ok = status is not None and status[2].startswith(b"2")
        if status is None or status[1] == b"0" or _CLOSES.search(head):
            self._end(ok)
        else:
            self._answer(ok)

    def _answer(self, ok: bool) -> None:
        if self._waits:
            self._waits = False
            self._producers.answered(self, self._stamp, ok)

    def _end(self, ok: bool) -> None:
        self.close()
        self._answer(ok)

    def close(self) -> None:
        """Go away."""
        if self._sock is not None:
            self._loop.forget(self._sock)
            self._sock.close()
            self._sock = None
