"""The load side's HTTP: as little as it takes, so that it is the server that is measured."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping

WAIT_S = 20.0
# Readings are identified by their dates, a millisecond apart. Such a date lies ahead of
# its receipt, by less than 5 minutes: a late one could be a wrong clock's, and be changed.
AHEAD_MS = 120_000
AGENT = "bas-bench"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"bas_session_id=([^;\s]+)")
_STAMP = re.compile(rb'"timestamp":(\d{13})\D')
# The longest piece that may hold the beginning of a stamp.
_OVERLAP = len(b'"timestamp":0000000000000')


class Refused(Exception):
    """The server answered something else than 200."""


class Connection:
    """One kept-alive connection; a request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        close: bool = False,
    ) -> tuple[bytes, bytes]:
        """Head and body of the answer. Raises Refused."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        more = {"Connection": "close"} if close else {}
        self._writer.write(_request(method, path, body, {**(headers or {}), **more}))
        async with asyncio.timeout(WAIT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            content = await self._reader.readexactly(int(length[1]) if length else 0)
        if close:
            self.close()
        if not head.startswith(b"HTTP/1.1 200"):
            raise Refused(head.split(b"\r\n")[0].decode() + " " + content[:200].decode())
        return head, content

    def close(self) -> None:
        """Go away."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


async def log_in(port: int, password: str) -> str:
    """A session of the admin."""
    connection = Connection(port)
    body = json.dumps({"username": "admin", "password": password}).encode()
    head, _ = await connection.request("POST", "/auth/login", body, close=True)
    cookie = _COOKIE.search(head)
    assert cookie is not None, head
    return cookie[1].decode()


async def new_token(port: int, session: str) -> str:
    """A token of an operator, made with an admin's session."""
    body = json.dumps({"name": "bench", "role": "operator"}).encode()
    headers = {"X-Session-ID": session}
    _, content = await Connection(port).request("POST", "/api/tokens", body, headers, close=True)
    return str(json.loads(content)["secret"])


class Stream(asyncio.Protocol):
    """One open live stream: when which stamp was read."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.opened = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.got: list[tuple[int, float]] = []
        self.said_bye = False
        self._rest = b""

    @classmethod
    async def open(cls, port: int, session: str) -> Stream:
        """Ask for it; returns once the snapshot has come. Raises Refused."""
        loop = asyncio.get_running_loop()
        transport, stream = await loop.create_connection(cls, "127.0.0.1", port)
        stream._transport = transport
        transport.write(_request("GET", "/api/sse/telemetry", b"", {"X-Session-ID": session}))
        async with asyncio.timeout(WAIT_S):
            await stream.opened
        return stream

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        text = self._rest + data
        end = 0
        if not self.opened.done():
            snapshot = text.find(b"event: snapshot\n")
            end = text.find(b"\n\n", snapshot)
            if snapshot < 0 or end < 0:
                self._rest = text
                return
            self.opened.set_result(None)
        for found in _STAMP.finditer(text, end):
            self.got.append((int(found[1]), now))
            end = found.end()
        self.said_bye = self.said_bye or b"event: bye\n" in text
        self._rest = text[max(end, len(text) - _OVERLAP) :]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(Refused(self._rest[:300].decode("latin1")))
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Go away without a word."""
        self._transport.abort()


async def open_streams(port: int, session: str, count: int) -> list[Stream]:
    """So many streams, a few at a time."""
    gate = asyncio.Semaphore(20)

    async def one() -> Stream:
        async with gate:
            return await Stream.open(port, session)

    return await asyncio.gather(*(one() for _ in range(count)))


def reading(device: str, temp_tenths: int, timestamp_ms: int | None = None) -> bytes:
    """A reading's body."""
    body = {"device_id": device, "temp_tenths": temp_tenths, "sensor_ok": True}
    return json.dumps(body | ({"timestamp": timestamp_ms} if timestamp_ms else {})).encode()


def _request(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"User-Agent: {AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
