"""Two machines in network namespaces: own clocks, own boots, one cable to the services each.

It needs root, `ip` and libfaketime. The services stay on 127.0.0.1 of the test's namespace; relays
offer them on the cables.
"""

from __future__ import annotations

import asyncio
import glob
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from tools.process import REPOSITORY, ServerProcess

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), "")
PORT = 8080
# Each call of the clock goes through libfaketime, which reads its file: a start is slow.
START_S = 300.0


def lacking() -> str:
    """What this computer lacks for machines; "" if nothing."""
    if os.geteuid() or not shutil.which("ip"):
        return "root and iproute2"
    if not FAKETIME:
        return "libfaketime"
    made = f"bas-probe-{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", made], capture_output=True, check=False).returncode:
        return "the right to make network namespaces"
    _ip("netns", "delete", made)
    return ""


class Machine:
    """One machine with a server of two processes; `address` is where devices reach it."""

    def __init__(self, number: int, folder: Path) -> None:
        self._net = 100 + number
        self._space = f"bas-{secrets.token_hex(3)}"
        self.services, self.address = f"10.213.{self._net}.1", f"10.213.{self._net + 50}.2"
        self._folder = folder
        self._time = folder / "faketime"
        self._boot = folder / "boot_id"
        self.server: ServerProcess | None = None

    def plug(self) -> None:
        """Make the namespace and its two cables: to the services, and to the devices."""
        self._folder.mkdir(parents=True)
        self._boot.write_text(f"{secrets.token_hex(4)}-0000-0000-0000-{secrets.token_hex(6)}\n")
        self.set_clock(0)
        _ip("netns", "add", self._space)
        _ip("-n", self._space, "link", "set", "lo", "up")
        for name, net in ((self._cable("s"), self._net), (self._cable("d"), self._net + 50)):
            _ip("link", "add", name, "type", "veth", "peer", "eth", "netns", self._space)
            _ip("-n", self._space, "link", "set", "eth", "name", f"eth{net}")
            _ip("address", "add", f"10.213.{net}.1/24", "dev", name)
            _ip("-n", self._space, "address", "add", f"10.213.{net}.2/24", "dev", f"eth{net}")
            _ip("-n", self._space, "link", "set", f"eth{net}", "up")
            _ip("link", "set", name, "up")

    def unplug(self) -> None:
        """End the server, keep its log in the folder, and remove the namespace with its cables."""
        if self.server is not None:
            if self.server.is_running:
                self.server.kill()
            (self._folder / "server.log").write_text(self.server.output)
        _ip("netns", "delete", self._space)

    def set_clock(self, ahead_s: float) -> None:
        """Set the machine's clock so far ahead of the right time."""
        self._time.write_text(f"{ahead_s:+g}\n")

    def cut(self) -> None:
        """Pull the cable to the services; devices still reach the machine."""
        _ip("-n", self._space, "link", "set", f"eth{self._net}", "down")

    def mend(self) -> None:
        _ip("-n", self._space, "link", "set", f"eth{self._net}", "up")

    async def start(self, **settings: str) -> None:
        """Start the server, and wait until it serves."""
        boot = "/proc/sys/kernel/random/boot_id"
        shell = f'mount --bind {self._boot} {boot} && exec "$0" "$@"'
        enter = ("ip", "netns", "exec", self._space, "sh", "-c", shell)
        clock = {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(self._time),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.server = ServerProcess(
            self._folder / "data",
            BAS_HOST="0.0.0.0",
            BAS_PORT=str(PORT),
            **settings | clock,
        )
        self.server._arguments = [*enter, *self.server._arguments]
        serving = self.server.launch()
        await asyncio.to_thread(serving.wait, START_S)
        if not self.server.port:
            raise AssertionError(self.server.output)

    @property
    def children(self) -> list[int]:
        """The processes of the server that serve."""
        assert self.server is not None
        return sorted(self.server.children)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}"

    def _cable(self, kind: str) -> str:
        return f"{self._space}-{kind}"


@asynccontextmanager
async def two_machines(folder: Path, ports: list[int]) -> AsyncIterator[list[Machine]]:
    """Two machines that reach these ports of this computer at their `services` address."""
    async with AsyncExitStack() as stack:
        machines = [Machine(number, folder / f"machine-{number}") for number in (1, 2)]
        for machine in machines:
            stack.callback(machine.unplug)
            machine.plug()
            for port in ports:
                await stack.enter_async_context(_relay(machine.services, port))
        yield machines


@asynccontextmanager
async def _relay(host: str, port: int) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        # asyncio logs an error for a connection whose task ends cancelled.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(pass_on(reader, other_writer), pass_on(other_reader, writer))

    server = await asyncio.start_server(connect, host, port)
    try:
        yield
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, cwd=REPOSITORY)
