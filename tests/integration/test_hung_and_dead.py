"""Server processes that hang, that systemd watches, and that can open no more files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.processes.child import ASK_S, UNANSWERED_MAX
from tests.support.crew import Crew, complete, dealt
from tests.support.stream import StreamClient, caller, eventually, figures
from tools.process import REPOSITORY, ServerProcess
from tools.redis_server import RedisServer

REPLACED_S = ASK_S * UNANSWERED_MAX + 20
LIMIT = 260


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.setblocking(False)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    states = []
    with contextlib.suppress(BlockingIOError):
        while True:
            states.append(sock.recv(4096).decode())
    return states


def speaks_to_systemd(pid: int) -> bool:
    return b"NOTIFY_SOCKET" in Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_frozen_process_is_replaced_and_its_share_is_served_again(
    tmp_path: Path, redis: RedisServer
) -> None:
    with Crew(tmp_path / "data", redis) as crew:
        before = await complete(crew)
        victim = min(before)
        os.kill(victim, signal.SIGSTOP)
        await eventually(lambda: victim not in crew.children, "it is gone", REPLACED_S)
        after = await complete(crew, {victim})

        async def all_serve() -> bool:
            """Whether 60 connections are answered in time, and each process has its share."""
            with contextlib.suppress(TimeoutError):
                return min((await dealt(crew, 60, after)).values()) > 5
            return False

        await eventually(all_serve, "the new process has its share", REPLACED_S)
        assert crew.lines_with(f"server process {victim} has not answered for 10 s") == 1
        ended = f"server process {victim} ended (SIGKILL)"
        await eventually(lambda: crew.lines_with(ended) == 1, "the end is logged")
        assert before - after == {victim}
        assert crew.terminate() == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_systemd_hears_of_start_and_stop_and_misses_a_server_that_hangs(
    tmp_path: Path, redis: RedisServer, processes: int
) -> None:
    with listening(tmp_path / "notify") as systemd:
        server = ServerProcess(
            tmp_path / "data",
            BAS_PROCESSES=str(processes),
            REDIS_URL=redis.url,
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="400000",
            TMPDIR=str(tmp_path),
        )
        states: list[str] = []

        def pats() -> int:
            states.extend(heard(systemd))
            return states.count("WATCHDOG=1")

        with server:
            await eventually(lambda: pats() >= 3, "three pats")
            assert states[0] == "READY=1"
            assert states.count("READY=1") == 1
            assert not any(map(speaks_to_systemd, server.children))
            os.kill(server.pid, signal.SIGSTOP)
            before = pats()
            await asyncio.sleep(1)  # more than two limits: nothing happens that could be awaited
            assert pats() <= before + 1
            os.kill(server.pid, signal.SIGCONT)
            await eventually(lambda: pats() > before + 1, "pats again")
            assert server.terminate() == 0
            pats()
            assert states.count("STOPPING=1") == 1


async def test_a_server_that_can_open_no_file_says_so_and_recovers_by_itself(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path / "data", BAS_AUTH_ENABLED="0") as server:
        async with caller(server.url) as client:
            await client.get("/healthz")  # this connection stays
            used = len(os.listdir(f"/proc/{server.pid}/fd"))
            before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used, before[1]))

            async def exhausted() -> bool:
                return (await figures(client))["bas_files_exhausted"] == 1

            await eventually(exhausted, "the process notices")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)

            async def recovered() -> bool:
                return (await figures(client))["bas_files_exhausted"] == 0

            await eventually(recovered, "the process recovers")
        assert server.output.count("no file can be opened (Too many open files)") == 1
        assert server.output.count("files can be opened again, after") == 1


async def test_connections_leave_files_for_the_store_and_refusals_are_one_line(
    tmp_path: Path,
) -> None:
    limited = f"--nofile={LIMIT}:{LIMIT}", sys.executable, str(REPOSITORY / "bas_server.py")
    server = ServerProcess(
        tmp_path / "data", python="prlimit", program=limited, BAS_AUTH_ENABLED="0"
    )
    with server:
        stream = await StreamClient.open(server.port)
        many = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(LIMIT)]
        await eventually(lambda: "connections are refused because" in server.output, "refusals")
        used = len(os.listdir(f"/proc/{server.pid}/fd"))
        assert used < LIMIT - 20
        for each in many:
            each.close()

        async def accepted() -> bool:
            with contextlib.suppress(OSError):
                async with caller(server.url) as client:
                    assert (await figures(client))["bas_connections_refused_total"] > 0
            return "connections are accepted again" in server.output

        await eventually(accepted, "the end of the refusals", 60)
        assert server.output.count("connections are refused because") == 1
        assert "no file can be opened" not in server.output
        await stream.close()
