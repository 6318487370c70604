"""A server of several processes, devices that post to it, and what /proc says about it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from tests.support.stream import WAIT_S, caller, eventually
from tools.process import ServerProcess
from tools.redis_server import RedisServer

PROCESSES = 3
POSTERS = 4
# The firmware in the field waits this long for an answer.
PATIENCE_S = 5.0


class Crew(ServerProcess):
    """A server of several processes, without log-in unless `settings` say otherwise."""

    def __init__(
        self, data_dir: Path, redis: RedisServer, *arguments: str, **settings: str
    ) -> None:
        own = {
            "BAS_PROCESSES": str(PROCESSES),
            "REDIS_URL": redis.url,
            "BAS_AUTH_ENABLED": "0",
            # A child process reads this file when it starts: a broken one makes the start fail.
            "BAS_AUTH_CONFIG": str(data_dir.parent / "auth_config.json"),
            # A killed supervisor leaves files behind: pytest removes them with this folder.
            "TMPDIR": str(data_dir.parent),
        }
        self.file = data_dir.parent / "auth_config.json"
        self.let_starts_succeed()
        super().__init__(data_dir, *arguments, **own | settings)

    def let_starts_fail(self) -> None:
        self.file.write_text("no JSON")

    def let_starts_succeed(self) -> None:
        self.file.write_text("{}")

    def lines_with(self, words: str) -> int:
        return sum(words in line for line in self.lines)


class Load:
    """Devices that post readings as the firmware does, each time on a new connection."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = False
        self.answered: list[tuple[str, int]] = []
        self.failures: list[str] = []

    async def _post_on(self, poster: int) -> None:
        for number in itertools.count():
            if self._over:
                return
            reading = f"load-{poster}-{number // 1000}", number % 1000
            try:
                async with asyncio.timeout(PATIENCE_S):
                    answer = await self._post(*reading)
            except (OSError, TimeoutError) as error:
                self.failures.append(repr(error))
                continue
            if answer.startswith(b"HTTP/1.1 200 OK\r\n"):
                self.answered.append(reading)
            else:
                self.failures.append(repr(answer))

    async def _post(self, device_id: str, temp_tenths: int) -> bytes:
        reading = {"device_id": device_id, "temp_tenths": temp_tenths, "sensor_ok": True}
        body = json.dumps(reading).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        try:
            writer.write(
                b"POST /api/sensor_data HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            return await reader.read()
        finally:
            writer.close()

    async def more(self, count: int = 100) -> None:
        """Wait until the server has answered `count` more posts."""
        goal = len(self.answered) + count
        await eventually(lambda: len(self.answered) >= goal, f"{count} more posts", 2 * WAIT_S)

    async def lost(self) -> set[tuple[str, int]]:
        """The readings that the server answered but that are not in the store."""
        stored = set()
        async with caller(self._server.url) as client:
            for device_id in {device_id for device_id, _ in self.answered}:
                path = f"/api/telemetry?limit=1000&device_id={device_id}"
                rows = (await client.get(path)).json()
                stored |= {(device_id, row["temp_tenths"]) for row in rows}
        return set(self.answered) - stored

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Load]:
        """Post while the block runs; the block starts after the first answers."""
        async with asyncio.TaskGroup() as group:
            for poster in range(POSTERS):
                group.create_task(self._post_on(poster))
            try:
                await self.more()
                yield self
            finally:
                self._over = True


def alive(pid: int) -> bool:
    """Whether this process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(path).startswith("socket:")
    return count


async def complete(crew: Crew, without: Collection[int] = ()) -> set[int]:
    """Wait for the full number of children, none of them in `without`; returns their ids."""

    def check() -> bool:
        return len(crew.children) == PROCESSES and crew.children.isdisjoint(without)

    await eventually(check, f"{PROCESSES} children", 2 * WAIT_S)
    return crew.children


async def answered(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and check that a request on it is answered in time."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    return reader, writer


async def dealt(crew: Crew, count: int, pids: set[int]) -> dict[int, int]:
    """Open `count` connections; returns how many of them each process accepted."""
    before = {pid: sockets(pid) for pid in pids}
    connections = [await answered(crew.port) for _ in range(count)]
    gains = {pid: sockets(pid) - before[pid] for pid in pids}
    for _, writer in connections:
        writer.close()
    return gains
