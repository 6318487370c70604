"""An independent client of the live stream, on raw sockets and with a strict parser."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import h11
import httpx

WAIT_S = 60.0
USER_AGENT = "bas-tests"
LIVE = {"telemetry", "setpoint"}


class StreamEnded(Exception):
    """No frame follows. `cut`: the connection broke before the end of the response."""

    def __init__(self, cut: bool) -> None:
        super().__init__("cut off" if cut else "ended")
        self.cut = cut


@dataclass(frozen=True)
class Frame:
    """One block of the stream; None stands for a missing line."""

    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    @property
    def json(self) -> Any:
        """The parsed data; the frame must have some."""
        assert self.data is not None, self
        return json.loads(self.data)


def parse_frame(block: bytes) -> Frame:
    """Parse the lines between two blank lines. AssertionError for a line that this server never
    sends: only `data` may occur more than once, and every line ends in a bare LF."""
    fields: dict[str, str] = {}
    for line in block.decode().split("\n"):
        name, colon, value = line.partition(": ")
        if line == ":":  # a comment without a text
            name, colon = "", ":"
        assert colon, block
        assert "\r" not in line, block
        name = name or "comment"
        assert name in {"event", "data", "id", "retry", "comment"}, block
        assert name == "data" or name not in fields, block
        fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    retry = fields.get("retry")
    assert retry is None or (retry.isascii() and retry.isdigit()), block
    return Frame(
        event=fields.get("event"),
        data=fields.get("data"),
        id=fields.get("id"),
        retry=None if retry is None else int(retry),
        comment=fields.get("comment"),
    )


class FrameSplitter:
    """Splits a body that arrives in pieces into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that this piece completes."""
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        return [parse_frame(block) for block in blocks]


class StreamClient:
    """One open `GET /api/sse/telemetry`, read frame by frame; every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self._splitter = FrameSplitter()
        self._frames: deque[Frame] = deque()
        self._over: StreamEnded | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.last_id = ""

    @classmethod
    async def open(
        cls,
        port: int,
        query: str = "",
        *,
        session: str | None = None,
        token: str | None = None,
        last_event_id: str | None = None,
        method: str = "GET",
    ) -> StreamClient:
        """Request the stream and wait for the head of the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = cls(reader, writer)
        headers = [
            ("Host", "localhost"),
            ("User-Agent", USER_AGENT),
            ("Accept", "text/event-stream"),
        ]
        headers += [("X-Session-ID", session)] if session else []
        headers += [("Authorization", f"Bearer {token}")] if token else []
        headers += [("Last-Event-ID", last_event_id)] if last_event_id is not None else []
        client._writer.write(
            client._http.send(
                h11.Request(method=method, target=f"/api/sse/telemetry?{query}", headers=headers)
            )
            + client._http.send(h11.EndOfMessage())
        )
        async with asyncio.timeout(WAIT_S):
            while not client.status:
                await client._read()
        return client

    async def _read(self) -> None:
        """Process the next HTTP event."""
        event = self._http.next_event()
        if event is h11.NEED_DATA:
            try:
                self._http.receive_data(await self._reader.read(65536))
            except ConnectionError:
                self._over = StreamEnded(cut=True)
        elif isinstance(event, h11.Response):
            self.status = event.status_code
            self.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            if self.headers["content-type"].startswith("text/event-stream"):
                self._frames += self._splitter.feed(bytes(event.data))
            else:
                self.body += bytes(event.data)
        else:
            self._over = StreamEnded(cut=not isinstance(event, h11.EndOfMessage))

    async def _next(self) -> Frame:
        while not self._frames:
            if self._over is not None:
                raise self._over
            try:
                await self._read()
            except h11.RemoteProtocolError:
                self._over = StreamEnded(cut=True)
        frame = self._frames.popleft()
        self.last_id = frame.id if frame.id is not None else self.last_id
        return frame

    async def frame(self, timeout_s: float = WAIT_S) -> Frame:
        """The next frame of any kind. Raises StreamEnded, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await self._next()

    async def opening(self) -> dict[str, Frame]:
        """The frames before the live ones, by event name, or as `comment` and `retry`."""
        frames: dict[str, Frame] = {}
        comment, retry = await self.frame(), await self.frame()
        assert comment.comment is not None, comment
        assert retry.retry is not None, retry
        frames |= {"comment": comment, "retry": retry, "hello": await self.frame()}
        assert frames["hello"].event == "hello", frames
        frames["snapshot"] = await self.frame()
        assert frames["snapshot"].event == "snapshot", frames
        return frames

    async def live(self, count: int, timeout_s: float = WAIT_S) -> list[Frame]:
        """The next `count` events of LIVE; other frames are skipped."""
        found: list[Frame] = []
        async with asyncio.timeout(timeout_s):
            while len(found) < count:
                frame = await self._next()
                if frame.event in LIVE:
                    found.append(frame)
        return found

    async def rest(self, timeout_s: float = WAIT_S) -> list[Frame]:
        """Every frame until the stream ends; afterwards `cut` says whether it broke."""
        found: list[Frame] = []
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    found.append(await self._next())
                except StreamEnded:
                    return found

    @property
    def cut(self) -> bool:
        """Whether the connection broke before the end of the response."""
        return self._over is not None and self._over.cut

    async def close(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    async def __aenter__(self) -> StreamClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def stalled_reader(port: int, session: str | None = None) -> socket.socket:
    """A connection that requests the stream and never reads; its receive buffer is tiny."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.settimeout(WAIT_S)
    sock.connect(("127.0.0.1", port))
    own = f"X-Session-ID: {session}\r\n" if session else ""
    sock.sendall(
        "GET /api/sse/telemetry HTTP/1.1\r\nHost: localhost\r\n"
        f"User-Agent: {USER_AGENT}\r\n{own}\r\n".encode()
    )
    return sock


def caller(url: str, session: str | None = None) -> httpx.AsyncClient:
    """An HTTP client of the server, with the session if there is one."""
    headers = {"User-Agent": USER_AGENT} | ({"X-Session-ID": session} if session else {})
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False)


async def log_in(url: str, username: str, password: str) -> str:
    """A new session's id."""
    async with caller(url) as client:
        answer = await client.post("/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        return str(answer.cookies["bas_session_id"])


async def post_reading(client: httpx.AsyncClient, device_id: str, temp_tenths: int) -> None:
    """Post one reading that must be accepted."""
    body = {"device_id": device_id, "temp_tenths": temp_tenths, "sensor_ok": True}
    answer = await client.post("/api/sensor_data", json=body)
    assert answer.status_code == 200, answer.text


async def figures(client: httpx.AsyncClient) -> dict[str, float]:
    """What /metrics says, by name with labels."""
    text = (await client.get("/metrics")).text
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def eventually(
    check: Callable[[], Awaitable[object] | object], what: str, timeout_s: float = WAIT_S
) -> float:
    """Repeat the check until it is true; returns the seconds. AssertionError after `timeout_s`.

    What is slow is asked less often: a check may be a request, which keeps the server busy too.
    """
    began = time.monotonic()
    while True:
        answer = check()
        if inspect.isawaitable(answer):
            answer = await answer
        waited_s = time.monotonic() - began
        if answer:
            return waited_s
        assert waited_s < timeout_s, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(min(max(waited_s / 10, 0.005), 0.05))
