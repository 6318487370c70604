"""Runs clients of the live stream through drops, ends and refusals, and prints a table of it.

Each case has a new client, behind a relay that can cut, refuse and answer by itself. The server has
3,000 zones (a snapshot of 1 MB) and a Redis, so that it keeps its history over a restart.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import httpx

from tools.process import ServerProcess
from tools.redis_server import RedisServer

HERE = Path(__file__).parent
WAIT_S, SETTLE_S, ZONES = 25.0, 5.0, 3000
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
        gone = asyncio.create_task(reader.read())
        gone.add_done_callback(lambda _: asks.transport.abort())
        try:
            while piece := await answers.read(65536):
                writer.write(piece)
                await writer.drain()
        finally:
            self._writers -= {writer, asks}
            asks.close()
            gone.cancel()


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
            )
        )

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().strip())

    @property
    def readings(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("reading")]

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
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
        await asyncio.to_thread(self.server.terminate)
        for command in commands:
            self.redis.command(command)
        await asyncio.to_thread(self.server.start)

    def outcome(self, client: Client) -> str:
        """What the client got of the readings posted since this case began."""
        seen = client.readings
        lost = [one for one in self.posted if one not in seen]
        if lost and not any(line.startswith("hello") for line in client.lines[-4:]):
            ended = [line for line in client.lines if line.startswith("ended")]
            if ended:
                return "ends: the caller starts it again"
        if lost:
            return f"no: {len(lost)} lost"
        return "each once" if seen == self.posted else "no: twice or out of order"


async def drop(site: Site, client: Client) -> str:
    await site.post(3)
    await until(lambda: len(client.readings) >= 3)
    site.relay.mode = "refuse"
    site.relay.cut()
    await site.post(3)
    site.relay.mode = "pass"
    await until(lambda: len(client.readings) >= 6)
    await site.post(3)
    await until(lambda: len(client.readings) >= 9, SETTLE_S)
    return site.outcome(client)


async def bye(site: Site, client: Client) -> str:
    await site.post(3)
    await until(lambda: len(client.readings) >= 3)
    await site.restart()
    await site.post(3)
    await until(lambda: len(client.readings) >= 6)
    return site.outcome(client)


async def reset(site: Site, client: Client) -> str:
    await site.post(3)
    await until(lambda: len(client.readings) >= 3)
    await site.restart("FLUSHALL")
    if await until(lambda: "hello reset" in client.lines):
        return "`reset`, snapshot"
    if "hello fresh" in client.lines[1:]:
        return "fresh: sends no id"
    ended = any(line.startswith("ended") for line in client.lines)
    return "ends: the caller starts it again" if ended else "no"


async def outage(site: Site, client: Client) -> str:
    await site.post(3)
    await until(lambda: len(client.readings) >= 3)
    os.kill(site.redis.pid, signal.SIGSTOP)
    await site.post(3)
    await until(lambda: len(client.readings) >= 6)
    os.kill(site.redis.pid, signal.SIGCONT)
    # Until the history has the three, and the stream has their new ids.
    await asyncio.sleep(8)
    site.relay.cut()
    await site.post(3)
    await until(lambda: len(client.readings) >= 9)
    await asyncio.sleep(1)
    return site.outcome(client)


async def refused(site: Site, client: Client, code: str) -> str:
    await site.post(1)
    await until(lambda: len(client.readings) >= 1)
    site.relay.mode = code
    asked = len(site.relay.requests)
    site.relay.cut()
    await asyncio.sleep(6)
    asked = len(site.relay.requests) - asked
    site.relay.mode = "pass"
    await site.post(3)
    if await until(lambda: len(client.readings) >= 4):
        return f"asks again ({asked} in 6 s)"
    return "stops" if asked else "ends: the caller starts it again"


Case = Callable[[Site, Client], Awaitable[str]]
CASES: dict[str, Case] = {
    "drop": drop,
    "`bye`": bye,
    "`reset`": reset,
    "outage of Redis": outage,
    "401": lambda site, client: refused(site, client, "401"),
    "503": lambda site, client: refused(site, client, "503"),
}


async def one_case(site: Site, case: str, command: Sequence[str], folder: Path, path: str) -> str:
    """The answer of one case, with a new client."""
    site.relay.mode, site.posted = "pass", []
    client = await Client.start(command, folder, path)
    try:
        if not await until(lambda: any(line.startswith("hello") for line in client.lines)):
            return f"does not start: {client.lines[-1:]}"
        await asyncio.sleep(0.5)
        return await CASES[case](site, client)
    finally:
        await client.stop()


def form(requests: Sequence[bytes]) -> str:
    """How the client sent the id of its last event."""
    heads = [head.lower() for head in requests]
    if any(b"last-event-id:" in head for head in heads):
        return "header"
    return "query" if any(b"lasteventid=" in head for head in heads) else "none"


def clients(folder: Path, versions: dict[str, str]) -> dict[str, tuple[list[str], Path, str]]:
    """Command, folder and PYTHONPATH of each client, by name and version."""
    found: dict[str, tuple[list[str], Path, str]] = {}
    node = shutil.which("node") or "node"
    for name, version in versions.items():
        kind, _, package = name.partition(" ")
        if kind == "npm":
            shutil.copy(HERE / "clients.mjs", folder / "npm")
            found[f"{name} {version}"] = ([node, "clients.mjs", package], folder / "npm", "")
        else:
            program = [sys.executable, str(HERE / "clients.py"), package]
            found[f"{name} {version}"] = (program, folder, str(folder / package))
    return found


async def main(folder: Path, versions: dict[str, str]) -> None:
    """Print the table, a row for each client."""
    rows = []
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        data = Path(tempfile.mkdtemp(dir=folder))
        port = free_port()
        server = stack.enter_context(
            ServerProcess(data, BAS_PORT=str(port), REDIS_URL=redis.url, BAS_AUTH_ENABLED="0")
        )
        relay = Relay(port)
        await stack.enter_async_context(await relay.start())
        site = Site(server, redis, relay)
        many = [
            {"device_id": f"zone-{number}", "temp_tenths": 200, "sensor_ok": True}
            for number in range(ZONES)
        ]
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            for start in range(0, ZONES, 1000):
                part = many[start : start + 1000]
                await client.post(f"{server.url}/api/sensor_data/batch", json=part)
        url = f"http://127.0.0.1:{relay.port}/api/sse/telemetry"
        for name, (command, its_folder, path) in clients(folder, versions).items():
            relay.requests.clear()
            row = [await one_case(site, case, [*command, url], its_folder, path) for case in CASES]
            rows.append([name, *row, form(relay.requests)])
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(["client", *CASES, "sends its last id in"], rows))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


if __name__ == "__main__":
    pairs = dict(argument.rsplit("=", 1) for argument in sys.argv[2:])
    asyncio.run(main(Path(sys.argv[1]), pairs))
