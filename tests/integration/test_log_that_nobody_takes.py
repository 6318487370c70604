"""A server whose log is a full pipe that nobody reads answers, steers and stops as ever."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.stream import caller, eventually, post_reading
from tools.daemon import free_port
from tools.process import REPOSITORY, START_S, clean_environment

CHANGES = 100
PIPE_BYTES = 4096
ANSWERED_S = 2.0


class Unread:
    """A server whose standard error is a pipe of 4 KB; nobody reads it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        own = {
            "BAS_DATA_DIR": str(folder),
            "BAS_HOST": "127.0.0.1",
            "BAS_PORT": str(self.port),
            "BAS_AUTH_ENABLED": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "bas_server.py")],
            stdout=subprocess.DEVNULL,
            stderr=writing,
            env=clean_environment(**own),
        )
        os.close(writing)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.reading)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Unread]:
    one = Unread(tmp_path / "data")
    yield one
    one.close()


async def until_it_serves(server: Unread) -> None:
    async def answers() -> bool:
        with contextlib.suppress(httpx.ConnectError):
            async with caller(server.url) as client:
                return (await client.get("/healthz")).status_code == 200
        return False

    await eventually(answers, "the server serves", START_S)


async def fill_the_pipe(server: Unread) -> None:
    """Every change of a setpoint writes a line of more than 100 bytes."""
    async with caller(server.url) as client:
        await post_reading(client, "hall", 200)
        for number in range(CHANGES):
            began = time.monotonic()
            body = {"device_id": "hall", "setpoint_tenths": 180 + number}
            assert (await client.post("/api/set_setpoint", json=body)).status_code == 200
            assert time.monotonic() - began < ANSWERED_S
        began = time.monotonic()
        await post_reading(client, "hall", 210)
        assert time.monotonic() - began < ANSWERED_S


async def test_every_request_is_answered_and_no_line_is_lost_that_fits(server: Unread) -> None:
    await until_it_serves(server)
    await fill_the_pipe(server)
    os.set_blocking(server.reading, False)
    got = b""

    def all_came() -> bool:
        nonlocal got
        with contextlib.suppress(BlockingIOError):
            got += os.read(server.reading, 65536)
        return got.count(b": setpoint ") == CHANGES

    await eventually(all_came, "all lines")
    assert b"setpoint 27.9 \xc2\xb0C" in got
    assert b"dropped" not in got
    assert server.stop() == 0


async def test_the_server_stops_although_nobody_reads_its_last_lines(server: Unread) -> None:
    await until_it_serves(server)
    await fill_the_pipe(server)
    assert server.stop() == 0
