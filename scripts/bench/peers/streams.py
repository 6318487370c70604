"""Many open streams on the load's side: each counts its events, some record when they read which.

An event's data is one JSON object without others in it, so `}` counts events at the speed of
memchr, wherever the pieces that arrive begin and end.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable

from scripts.bench.peers.loop import READ, WRITE, Loop
from tools import wire

END = ord("}")
FRAME = re.compile(
    rb"(?:id: ?([^\r\n]+)\r?\n)?(?:event: ?[^\r\n]*\r?\n)?"
    rb'data: ?\{"timestamp": ?(\d{13})(?:[^\r\n]*"device_time_ms": ?(\d{13}))?[^\r\n]*\r?\n'
    rb"(?:id: ?[^\r\n]*\r?\n)?\r?\n"
)
# Closing sends a reset: no address stays in TIME_WAIT.
RESET = struct.pack("ii", 1, 0)
BUFFER = bytearray(1 << 18)
# A frame that is not complete yet is kept; nothing longer is one.
REST_MAX = 1000


class Streams:
    """All of them, how many events they got together, and how many of these were taken apart.

    Events whose stamps are not `among` are not counted as taken apart: others may come late.
    """

    def __init__(self, loop: Loop, port: int) -> None:
        self.loop, self.port = loop, port
        self.all: list[Stream] = []
        self.opened = self.ended = self.events = self.parsed = 0
        self.among: Collection[int] | None = None
        self._speaks_first = True

    @property
    def sampled(self) -> list[SampledStream]:
        """The streams that record times."""
        return [stream for stream in self.all if isinstance(stream, SampledStream)]

    def open(
        self,
        count: int,
        request: Callable[[int], bytes],
        *,
        sampled: int,
        at_once: int,
        speaks_first: bool,
        timeout_s: float,
    ) -> float:
        """So many more streams, `sampled` of them evenly spread; the seconds it took.

        `at_once` may wait for their first bytes at a time (for their connection, if the server is
        silent until the first event). Raises TimeoutError.
        """
        began, first = time.perf_counter(), len(self.all)
        self._speaks_first = speaks_first
        every = max(1, count // sampled) if sampled else 0
        opened = self.opened

        def tick() -> None:
            done = self.opened - opened
            while (begun := len(self.all) - first) < count and begun - done < at_once:
                kind = SampledStream if every and begun % every == 0 else Stream
                self.all.append(kind(self, request(begun)))

        self.loop.tick = tick
        ready = self.loop.run(lambda: self.opened - opened >= count, timeout_s)
        self.loop.tick = lambda: None
        if not ready:
            raise TimeoutError(
                f"{self.opened - opened} of {count} streams opened within {timeout_s:g} s"
            )
        return time.perf_counter() - began

    def begin(self) -> None:
        """Count from here."""
        self.events = self.ended = self.parsed = 0
        for stream in self.all:
            stream.events = 0
            if isinstance(stream, SampledStream):
                stream.got.clear()

    def lost(self, events: int) -> int:
        """Deliveries missing when each should have got so many."""
        return sum(max(0, events - stream.events) for stream in self.all)

    def repeated(self, events: int) -> int:
        """Deliveries beyond that many."""
        return sum(max(0, stream.events - events) for stream in self.all)

    def close(self) -> None:
        """Close all streams."""
        for stream in self.all:
            stream.close()
        self.all.clear()


class Stream:
    """One open stream."""

    __slots__ = ("_request", "_streams", "answered", "events", "sock")

    def __init__(self, streams: Streams, request: bytes) -> None:
        self._streams, self._request = streams, request
        self.events, self.answered = 0, False
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.connect_ex(("127.0.0.1", streams.port))
        streams.loop.watch(self.sock, self._connected, WRITE)

    def _connected(self) -> None:
        failed = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, "a stream's connection")
        self.sock.send(self._request)
        self._streams.loop.change(self.sock, self.readable, READ)
        if not self._streams._speaks_first:
            self._streams.opened += 1

    def readable(self) -> None:
        """Take what has come."""
        count = self._receive()
        if not count:
            return
        found = BUFFER.count(END, 0, count)
        self.events += found
        self._streams.events += found

    def _receive(self) -> int:
        streams = self._streams
        try:
            count = self.sock.recv_into(BUFFER)
        except BlockingIOError:
            return 0
        except ConnectionError:
            count = 0
        if not count:
            streams.ended += 1
            self.close()
            return 0
        if not self.answered:
            self.answered = True
            if not BUFFER.startswith(b"HTTP/1.1 200"):
                head, _, body = bytes(BUFFER[:count]).decode("latin1").partition("\r\n\r\n")
                raise wire.Refused(f"a stream got {head.splitlines()[0]}: {body[:300]}")
            if streams._speaks_first:
                streams.opened += 1
        return count

    def close(self) -> None:
        """Close the connection."""
        if self.sock.fileno() >= 0:
            self._streams.loop.forget(self.sock)
            self.sock.close()


class SampledStream(Stream):
    """A stream that records its reads: `got` has (stamp, time), `last_id` the last id."""

    __slots__ = ("_rest", "got", "last_id")

    def __init__(self, streams: Streams, request: bytes) -> None:
        super().__init__(streams, request)
        self.got: list[tuple[int, float]] = []
        self.last_id, self._rest = b"", b""

    def readable(self) -> None:
        """Take what has come, apart."""
        count = self._receive()
        if not count:
            return
        now = time.perf_counter()
        data = bytes(BUFFER[:count])
        found = data.count(b"}")
        self.events += found
        self._streams.events += found
        text, end = self._rest + data, 0
        for frame in FRAME.finditer(text):
            # A server that has seen that a clock is ahead changes the date, and keeps what came.
            stamp = int(frame[3] or frame[2])
            self.got.append((stamp, now))
            among = self._streams.among
            self._streams.parsed += among is None or stamp in among
            if frame[1]:
                self.last_id = frame[1]
            end = frame.end()
        self._rest = text[end:][-REST_MAX:]


def missing(streams: Iterable[SampledStream], sent: Collection[int]) -> int:
    """Deliveries of the events in `sent` that these streams did not get."""
    return sum(len(set(sent) - {stamp for stamp, _ in stream.got}) for stream in streams)


def delays_ms(streams: Iterable[SampledStream], sent: dict[int, float]) -> list[float]:
    """From post to frame, for each delivery of the events in `sent` to these streams."""
    return [
        (read - sent[stamp]) * 1000
        for stream in streams
        for stamp, read in stream.got
        if stamp in sent
    ]
