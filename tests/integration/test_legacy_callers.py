"""Synchronous views, the old application and scripts on a server, under load and as it stops."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bas_server import open_bridge
from server.config.config import ServerConfig
from server.services.ports.documents import StoreUnavailable
from tests.support.stream import StreamClient, caller, eventually
from tools.process import REPOSITORY, ServerProcess

SITE = ("-m", "tests.support.legacy_site")
APP = "tests.support.legacy_app:app"
VIEWS = (
    "recent",
    "window",
    "page",
    "statistics",
    "reading",
    "devices",
    "user",
    "locked",
    "audit",
    "publish",
)
STREAMS = 100
# How long the hub may delay an event, and how long this test needs to read 100 streams.
FLUSH_S, READING_S = 0.02, 0.1
# How long a busy machine and many new connections may block the loop. A slow call on the loop
# would block it for at least 0.8 s.
LOOP_S = 0.6
# Less than a call that never comes back takes.
ENDED_S = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    settings = {"BAS_AUTH_ENABLED": "0", "BAS_LEGACY_WSGI": APP, "PYTHONPATH": str(REPOSITORY)}
    with ServerProcess(tmp_path, program=SITE, **settings) as running:
        yield running


@asynccontextmanager
async def own_delay() -> AsyncIterator[list[float]]:
    """Records the delays of this test's event loop while the block runs."""
    delays = [0.0]

    async def measure() -> None:
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            delays.append(time.monotonic() - due)

    task = asyncio.create_task(measure())
    try:
        yield delays
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def view(client: httpx.AsyncClient, name: str, seconds: float) -> httpx.Response:
    path = f"/old/{name}?device_id=attic&seconds={seconds}"
    if name == "reading":
        return await client.post(path, json={"temp_tenths": 215, "sensor_ok": True})
    return await client.get(path)


async def lateness(stream: StreamClient, count: int) -> list[float]:
    """The delay of each of the next events since it was sent."""
    late: list[float] = []
    for _ in range(count):
        (frame,) = await stream.live(1, 30)
        late.append(time.monotonic() - frame.json["sent"])
    return late


def client_of(server: ServerProcess) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits, trust_env=False)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["views", "application"])
async def test_forty_slow_calls_are_answered_and_delay_no_stream(
    server: ServerProcess, kind: str, record_property: Any
) -> None:
    events, pause_s = 150, 0.02
    async with client_of(server) as client:
        streams = await asyncio.gather(*(StreamClient.open(server.port) for _ in range(STREAMS)))
        await asyncio.gather(*(stream.opening() for stream in streams))
        await client.get("/probe")
        if kind == "views":
            # Four of these calls also publish an event each.
            load = [view(client, name, 2) for name in VIEWS * 4]
            expected = events + 4
        else:
            load = [client.get("/legacy/slow?seconds=2") for _ in range(40)]
            expected = events
        async with own_delay() as own:
            publishing = client.get(f"/old/publish?count={events}&pause={pause_s}")
            calls = asyncio.gather(*load)
            waiting = asyncio.gather(*(lateness(stream, expected) for stream in streams))
            published, answers, late = await asyncio.gather(publishing, calls, waiting)
        loop_s = (await client.get("/probe")).json()["worst_s"]
        await asyncio.gather(*(stream.close() for stream in streams))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert published.json()["deliveries"] >= events * STREAMS
    worst = max(max(one) for one in late)
    for name, value in (("worst_s", worst), ("loop_s", loop_s), ("own_s", max(own))):
        record_property(name, round(value, 4))
    print(f"{kind}: latest event {worst:.3f} s, server's loop {loop_s:.3f} s, own {max(own):.3f} s")
    assert worst < FLUSH_S + loop_s + max(own) + READING_S
    assert loop_s < LOOP_S


@pytest.mark.alone
async def test_two_hundred_slow_calls_delay_neither_the_loop_nor_healthz(
    server: ServerProcess,
) -> None:
    async with client_of(server) as client, caller(server.url) as other:
        async with own_delay() as own:
            calls = asyncio.gather(*(view(client, "locked", 0.8) for _ in range(200)))
            slowest = 0.0
            while not calls.done():
                began = time.monotonic()
                assert (await other.get("/healthz")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.05)
            answers = await calls
        about = (await client.get("/probe")).json()
    assert {answer.status_code for answer in answers} == {200}
    assert about["threads"] == {"view": 32, "wsgi": 0}
    print(f"healthz {slowest:.3f} s, loop {about['worst_s']:.3f} s, own {max(own):.3f} s")
    assert slowest < LOOP_S + max(own)
    assert about["worst_s"] < LOOP_S


async def test_every_view_and_the_application_answer_from_the_same_store(
    server: ServerProcess,
) -> None:
    async with client_of(server) as client:
        for _ in range(3):
            assert (await view(client, "reading", 0)).json() == {"stored": True}
        assert [row["temp_tenths"] for row in (await view(client, "recent", 0)).json()] == [215] * 3
        assert len((await view(client, "window", 0)).json()) == 3
        page = (await view(client, "page", 0)).json()
        assert (len(page["data"]), page["has_more"]) == (2, True)
        assert (await view(client, "statistics", 0)).json()["total_records"] == 3
        assert [one["device_id"] for one in (await view(client, "devices", 0)).json()] == ["attic"]
        assert (await view(client, "user", 0)).json()["role"] == "admin"
        assert (await view(client, "locked", 0)).json() == {"locked": False}
        assert (await view(client, "audit", 0)).json() == {"logged": True, "events": 1}
        assert len((await client.get("/api/telemetry?device_id=attic")).json()) == 3
        async with await StreamClient.open(server.port) as stream:
            await stream.opening()
            assert (await client.get("/legacy/publish")).json() == {"deliveries": 1}
            assert (await stream.live(1))[0].json == {"from": "legacy"}


async def test_each_header_occurs_once_in_answers_of_the_old_and_the_new_application(
    server: ServerProcess,
) -> None:
    async with client_of(server) as client:
        old = await client.get("/legacy/headers")
        new = await client.get("/api/status")
        page = await client.get("/legacy/page")
    for answer in (old, new):
        assert len(answer.headers.get_list("date")) == 1
        assert len(answer.headers.get_list("x-frame-options")) == 1
    assert old.headers["date"] != "yesterday"
    assert old.headers["x-frame-options"] == "SAMEORIGIN"
    assert old.headers.get_list("set-cookie") == ["first=1; Path=/", "second=2; Path=/"]
    assert "content-security-policy" not in page.headers


async def test_a_client_sees_that_an_answer_of_the_application_broke_off(
    server: ServerProcess,
) -> None:
    async with client_of(server) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/legacy/half")
        assert (await client.get("/legacy/echo")).status_code == 200


async def test_an_endless_answer_is_paced_by_its_client_and_ends_when_the_client_disconnects(
    server: ServerProcess,
) -> None:
    async with caller(server.url) as client:

        async def taken() -> int:
            return int((await client.get("/probe")).json()["taken"])

        async def has_stopped() -> bool:
            before = await taken()
            await asyncio.sleep(0.2)
            return 0 < before == await taken()

        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"GET /legacy/endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 OK")
            await eventually(has_stopped, "nothing more is made than buffers hold")

        async def closed() -> bool:
            return bool((await client.get("/probe")).json()["closed"])

        await eventually(closed, "the application's iterator is closed")


async def test_a_busy_server_stops_in_time_and_leaves_no_thread(server: ServerProcess) -> None:
    async with client_of(server) as client, await StreamClient.open(server.port) as stream:
        await stream.opening()
        slow = [asyncio.create_task(view(client, "locked", 0.3)) for _ in range(40)]
        slow += [asyncio.create_task(client.get("/legacy/slow?seconds=0.3")) for _ in range(40)]
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"GET /legacy/endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.to_thread(sock.recv, 4096)
            began = time.monotonic()
            assert await asyncio.to_thread(server.terminate) == 0
            assert time.monotonic() - began < ENDED_S
        await asyncio.gather(*slow, return_exceptions=True)
    assert json.loads(server.lines[-1]) == {"threads left": []}


async def test_a_call_that_never_returns_does_not_keep_the_server_from_stopping(
    server: ServerProcess,
) -> None:
    async with client_of(server) as client:
        call = asyncio.create_task(view(client, "locked", 60))

        async def begun() -> bool:
            return bool((await client.get("/probe")).json()["threads"]["view"])

        await eventually(begun, "the view has begun")
        began = time.monotonic()
        assert await asyncio.to_thread(server.terminate) == 0
        assert time.monotonic() - began < ENDED_S
        await asyncio.gather(call, return_exceptions=True)
    assert "1 view calls did not end in time" in server.output


def test_a_server_exits_and_names_the_variable_if_the_application_cannot_be_imported(
    tmp_path: Path,
) -> None:
    server = ServerProcess(tmp_path, BAS_LEGACY_WSGI="no_such_module:app")
    server.launch()
    assert server.wait() == 1
    assert "bas_server.py: BAS_LEGACY_WSGI=no_such_module:app cannot be loaded" in server.output
    assert "serving" not in server.output


def test_a_script_writes_ten_thousand_readings_and_reads_them_back(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path)
    count, began = 10_000, time.monotonic()
    with open_bridge(config) as services:

        def write(number: int) -> bool:
            data = {"timestamp": 1_700_000_000_000 + number, "temp_tenths": number % 1000}
            return services.telemetry.add_telemetry("default", f"device-{number % 4}", data)

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(write, range(count)))
        written_s = time.monotonic() - began
        assert services.telemetry.get_device_count("default") == 4
    with open_bridge(config) as services:
        found: list[int] = []
        for device in range(4):
            page: dict[str, Any] = {"has_more": True, "last_doc_id": None}
            while page["has_more"]:
                page = services.telemetry.query_recent_paginated(
                    "default", f"device-{device}", 1000, page["last_doc_id"]
                )
                found += [row["timestamp_ms"] - 1_700_000_000_000 for row in page["data"]]
    assert sorted(found) == list(range(count))
    print(f"written in {written_s:.1f} s, read in {time.monotonic() - began - written_s:.1f} s")
    assert not [one for one in threading.enumerate() if one.name == "bas-loop"]


def test_a_script_that_cannot_open_its_store_gets_an_error_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with (
        pytest.raises(StoreUnavailable, match="cannot be opened"),
        open_bridge(ServerConfig(data_dir=tmp_path / "data")),
    ):
        pass
    assert not [one for one in threading.enumerate() if one.name == "bas-loop"]
