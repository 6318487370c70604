"""What the matrix of clients runs against: a server behind a relay that cuts and refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import httpx

from tools.process import ServerProcess
from tools.redis_server import RedisServer

WAIT_S = 60.0
REFUSALS = {
    "401": b"HTTP/1.1 401 Unauthorized\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n",
}
BODY = b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Relay:
    """A TCP relay to the server. `mode`: pass, refuse, or one of REFUSALS, for new connections."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.mode = "pass"
        self.requests: list[bytes] = []
        self.port = 0

    async def start(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def cut(self) -> None:
        """Abort all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mode = self.mode
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            if mode in REFUSALS:
                writer.write(REFUSALS[mode] + BODY)
                await writer.drain()
            elif mode == "pass":
                await self._pass(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pass(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answers, asks = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers |= {writer, asks}
        asks.write(head)
        asking = asyncio.create_task(self._pass_requests(reader, asks))
        try:
            while piece := await answers.read(65536):
                writer.write(piece)
                await writer.drain()
        finally:
            self._writers -= {writer, asks}
            asks.close()
            asking.cancel()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, asks: asyncio.StreamWriter
    ) -> None:
        """Pass on what a browser asks later on the same connection; abort when it is gone."""
        with suppress(OSError):
            while piece := await reader.read(65536):
                self.requests.append(piece)
                asks.write(piece)
        asks.transport.abort()


class Client:
    """A client's process and what it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: Sequence[str], folder: Path, path: str = "") -> Client:
        """Start it; `path` is its PYTHONPATH."""
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().strip())

    @property
    def readings(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("reading")]

    @property
    def ended(self) -> bool:
        return any(line.startswith("ended") for line in self.lines)

    async def says(self, line: str) -> bool:
        """Whether it prints this line, before it ends or the time is over."""
        await until(lambda: line in self.lines or self.ended)
        return line in self.lines

    async def gets(self, number: int) -> bool:
        """Whether it gets this many readings, before it ends or the time is over."""
        await until(lambda: len(self.readings) >= number or self.ended)
        return len(self.readings) >= number

    async def stop(self) -> None:
        with suppress(ProcessLookupError):  # also what it started: a shell, a browser
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._reading


async def until(check: Callable[[], bool], seconds: float = WAIT_S) -> bool:
    """Whether it becomes true in this time."""
    try:
        async with asyncio.timeout(seconds):
            while not check():  # noqa: ASYNC110 - lines of another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


class Site:
    """The server, its Redis and the relay; each reading has another temperature."""

    def __init__(self, server: ServerProcess, redis: RedisServer, relay: Relay) -> None:
        self.server, self.redis, self.relay = server, redis, relay
        self._temperatures = count(1)
        self.posted: list[int] = []
        self.away_s: list[float] = []

    async def post(self, number: int) -> None:
        """Post readings one by one."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            for _ in range(number):
                tenths = next(self._temperatures) % 1000
                body = {"device_id": "matrix", "temp_tenths": tenths, "sensor_ok": True}
                await client.post(f"{self.server.url}/api/sensor_data", json=body)
                self.posted.append(tenths)

    async def restart(self, *commands: str) -> None:
        """SIGTERM, a command of Redis in between, and a start on the same port."""
        began = time.monotonic()
        await asyncio.to_thread(self.server.terminate)
        for command in commands:
            self.redis.command(command)
        await asyncio.to_thread(self.server.start)
        self.away_s.append(time.monotonic() - began)

    def outcome(self, client: Client) -> str:
        """What the client got of the readings posted since this case began."""
        seen = client.readings
        lost = [one for one in self.posted if one not in seen]
        came_back = any(line.startswith("hello") for line in client.lines[-4:])
        if lost and client.ended and not came_back:
            return "ends"
        if lost:
            return f"no: {len(lost)} lost"
        return "each once" if seen == self.posted else "no: twice or out of order"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
