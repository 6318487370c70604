"""SIGTERM on a busy server: each stream gets a time to reconnect, and it stops within 5 s."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import httpx
import pytest

from tests.support.stream import (
    WAIT_S,
    StreamClient,
    caller,
    eventually,
    figures,
    post_reading,
    stalled_reader,
)
from tools.process import REPOSITORY, ServerProcess

STREAMS = 50
GONE_S = 5.0
OPEN = {"BAS_AUTH_ENABLED": "0"}
LONG_NAME = "🌡" * 124
# More than 6 MB of events in total: a socket buffers 4 MB at most, the server a little more.
ZONES, ROUNDS = 100, 100
VENVS = Path.home() / ".cache" / "bas-tests"


def python_of(version: str) -> str:
    """A Python of this version with the pinned packages; skips the test if there is none."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = [shutil.which(f"python{version}")]
    found += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
    working = [python for python in found if python and _works(python)]
    if not working:
        reason = f"no Python {version} here: shutdown is NOT tested on it"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        warnings.warn(reason, UserWarning, stacklevel=1)
        pytest.skip(reason)
    return str(_venv(working[0], version))


def _works(python: str) -> bool:
    """Whether it runs: the shim of a pyenv version that is not selected fails."""
    return subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode == 0


def _venv(python: str, version: str) -> Path:
    """The Python of a virtualenv with requirements.txt, created once per content of that file."""
    requirements = REPOSITORY / "requirements.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = VENVS / f"{version}-{digest}"
    done, own = folder / "complete", folder / "bin" / "python"
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            # This pip installs for the other Python: one of its own takes as long as the packages.
            make = [python, "-m", "venv", "--clear", "--without-pip", folder]
            pip = [sys.executable, "-m", "pip", "--python", str(own), "install", "--no-compile"]
            quiet = ["--quiet", "--disable-pip-version-check"]
            for command in (make, [*pip, *quiet, "-r", requirements]):
                subprocess.run(command, check=True, timeout=300)
            done.touch()
    return own


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest) -> str:
    """Each supported Python; since 3.12 asyncio waits for open connections when it stops."""
    return python_of(request.param)


def connect(port: int, first_bytes: bytes) -> socket.socket:
    """A connection on which these bytes were sent."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    sock.sendall(first_bytes)
    return sock


async def fill(server: ServerProcess) -> None:
    """Publish more than fits into all buffers between the server and a client that never reads."""
    async with caller(server.url) as client:
        for zone in range(ZONES):
            await post_reading(client, f"{LONG_NAME}{zone:04}", 230)
        for round_ in range(ROUNDS):
            body = {"setpoint_tenths": 200 + round_ % 2}
            assert (await client.post("/api/set_setpoint", json=body)).status_code == 200


def post_of(body: bytes) -> bytes:
    """The head of a device's post."""
    return (
        b"POST /api/sensor_data HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    )


def read_to_the_end(sock: socket.socket) -> bytes:
    """The bytes that arrive until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            received += piece
    return received


async def draining(server: ServerProcess) -> None:
    """Wait until /readyz says that the server is draining."""

    async def says_so() -> bool:
        async with caller(server.url) as client:
            answer = await client.get("/readyz")
        if answer.status_code == 200:
            return False
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        return True

    await eventually(says_so, "/readyz says draining")


@pytest.mark.alone
async def test_sigterm_sends_bye_to_every_stream_and_stops_the_server_within_5_s(
    python: str, tmp_path: Path
) -> None:
    """Everything is open that could delay the shutdown: a stream that is not read, an incomplete
    request, a request that is completed later, and idle connections."""
    body = json.dumps({"device_id": "in-flight", "temp_tenths": 230, "sensor_ok": True}).encode()
    # With a smaller queue the server would close the stalled stream before the shutdown.
    settings = OPEN | {"BAS_SSE_QUEUE_MAX": "100000"}
    with (
        ServerProcess(tmp_path, python=python, **settings) as server,
        contextlib.ExitStack() as sockets,
    ):
        sockets.enter_context(stalled_reader(server.port))
        await fill(server)
        sockets.enter_context(connect(server.port, b""))
        sockets.enter_context(connect(server.port, b"POST /api/sensor_data HTTP/1.1\r\nHost: loc"))
        sockets.enter_context(connect(server.port, post_of(body) + body[:5]))
        idle = sockets.enter_context(
            connect(server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        )
        assert b"200 OK" in idle.recv(4096)
        in_flight = sockets.enter_context(connect(server.port, post_of(body) + body[:5]))
        streams = [await StreamClient.open(server.port, "snapshot=0") for _ in range(STREAMS)]
        for stream in streams:
            assert [(await stream.frame()).event for _ in range(3)] == [None, None, "hello"]
        async with caller(server.url) as client:
            assert (await figures(client))["bas_streams_open"] == STREAMS + 1
            for number in range(20):
                await post_reading(client, "last-words", number)

        began = time.monotonic()
        server.signal(signal.SIGTERM)
        await draining(server)
        in_flight.sendall(body[5:])
        answer = await asyncio.to_thread(read_to_the_end, in_flight)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"cool_active"' in answer
        code = await asyncio.to_thread(server.wait)
        took_s = time.monotonic() - began
        assert code == 0, server.output
        assert took_s < GONE_S

        retries = set()
        for stream in streams:
            *events, bye = await stream.rest()
            assert not stream.cut
            assert [frame.json["temp_tenths"] for frame in events] == list(range(20))
            assert bye.event == "bye"
            retries.add(bye.retry)
            await stream.close()
        assert len(retries) == STREAMS
        assert None not in retries
        assert "Traceback" not in server.output


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_an_idle_server_stops_at_once_with_exit_code_0(
    python: str, tmp_path: Path, number: signal.Signals
) -> None:
    with ServerProcess(tmp_path, python=python, **OPEN) as server:
        async with await StreamClient.open(server.port) as stream:
            await stream.opening()
            began = time.monotonic()
            server.signal(number)
            (bye,) = await stream.rest()
            assert bye.event == "bye"
            assert await asyncio.to_thread(server.wait) == 0
            assert time.monotonic() - began < 2
        assert "Traceback" not in server.output


async def test_a_second_signal_does_not_disturb_the_shutdown(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, **OPEN) as server:
        async with await StreamClient.open(server.port) as stream:
            await stream.opening()
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGINT)
            assert [frame.event for frame in await stream.rest()] == ["bye"]
            assert await asyncio.to_thread(server.wait) == 0


async def test_readings_acknowledged_during_the_shutdown_are_stored(tmp_path: Path) -> None:
    """A client posts until its connection is refused; every answered reading is in the store."""
    answered: list[int] = []

    async def post_until_refused(url: str) -> None:
        async with caller(url) as client:
            for number in range(100_000):
                try:
                    await post_reading(client, "tireless", number % 1000)
                except httpx.TransportError:
                    return
                answered.append(number % 1000)

    with ServerProcess(tmp_path, **OPEN) as server:
        posting = asyncio.create_task(post_until_refused(server.url))
        await eventually(lambda: len(answered) >= 20, "the server is at work")
        assert await asyncio.to_thread(server.terminate) == 0
        async with asyncio.timeout(WAIT_S):
            await posting
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:
            rows = (await client.get("/api/telemetry?limit=1000")).json()
    # Readings of the same millisecond have no order. One more may be stored without an answer.
    rows.sort(key=lambda row: (row["timestamp"], row["temp_tenths"]))
    stored = [row["temp_tenths"] for row in rows]
    assert stored[: len(answered)] == answered[-1000:]
    assert len(stored) - len(answered) <= 1
