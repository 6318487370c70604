"""Idle and slow connections and many streams crowd a server: every post is answered."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.support.forms import amount, is_long
from tests.support.stream import figures
from tools.process import REPOSITORY, ServerProcess

# A server that may open this many files accepts 150 connections less.
FILES = amount(400, 4000)
IDLE = amount(400, 5000)
SLOW = amount(20, 500)
STREAMS, STREAMS_MAX = amount(30, 3000), amount(10, 200)
DEVICES, ROUNDS = amount(15, 1000), 3
AT_ONCE = 50
SLOW_BODY = (
    b"POST /api/sensor_data/batch HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 250000\r\n\r\n[" + b" " * 100_000
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(port: int, count: int, first: bytes = b"") -> list[Connection]:
    """So many connections, each with these first bytes; some may be closed already."""
    made: list[Connection] = []
    for _ in range(count):
        try:
            connection = await asyncio.open_connection("127.0.0.1", port)
            connection[1].write(first)
            made.append(connection)
        except OSError:
            continue
    return made


async def stream_status(port: int, session: str) -> tuple[int, Connection]:
    """Ask for a stream; its status, and the connection, which stays open."""
    connection = await asyncio.open_connection("127.0.0.1", port)
    connection[1].write(
        b"GET /api/sse/telemetry HTTP/1.1\r\nHost: localhost\r\nX-Session-ID: %b\r\n\r\n"
        % session.encode()
    )
    line = await connection[0].readline()
    return int(line.split()[1]), connection


async def posted(port: int, device_id: str, gate: asyncio.Semaphore) -> tuple[int, float]:
    """Post as the firmware does, on a new connection: the status (0: none), and the seconds."""
    body = json.dumps({"temp_tenths": 235, "sensor_ok": True, "device_id": device_id}).encode()
    head = (
        "POST /api/sensor_data HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    async with gate:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
        except OSError:
            answer = b""
    return int(answer.split()[1]) if answer else 0, time.monotonic() - began


async def all_post(port: int) -> tuple[Counter[int], float]:
    """Each device posts in each round: the statuses, and the 99th percentile in seconds."""
    gate = asyncio.Semaphore(AT_ONCE)
    found: list[tuple[int, float]] = []
    for _ in range(ROUNDS):
        posts = (posted(port, f"device-{n}", gate) for n in range(DEVICES))
        found += await asyncio.gather(*posts)
    times = sorted(seconds for _, seconds in found)
    return Counter(status for status, _ in found), times[len(times) * 99 // 100]


async def test_no_post_is_refused_while_a_crowd_holds_connections_streams_and_bodies(
    tmp_path: Path,
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limited = f"--nofile={FILES}:{FILES}", sys.executable, str(REPOSITORY / "bas_server.py")
    settings = {"BAS_SSE_STREAMS_PER_ACCOUNT": str(STREAMS_MAX), "BAS_BODY_BYTES_MAX": "1000000"}
    server = ServerProcess(tmp_path, python="prlimit", program=limited, **settings)
    with server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            account = {"username": "admin", "password": server.password}
            answer = await client.post("/auth/login", json=account)
            session = answer.cookies["bas_session_id"]
            quiet, quiet_s = await all_post(server.port)
            opened = [await stream_status(server.port, session) for _ in range(STREAMS)]
            statuses = Counter(status for status, _ in opened)
            # A stream whose client reads too slowly is let go, and makes room for another one.
            assert statuses.keys() == {200, 429}
            assert (await figures(client))["bas_streams_open"] <= STREAMS_MAX
            for status, (_, writer) in opened:
                if status != 200:
                    writer.close()
            slow = await connected(server.port, SLOW, SLOW_BODY)
            idle = await connected(server.port, IDLE)
            crowded, crowded_s = await all_post(server.port)
            counted = await figures(client)
            for _, (_, writer) in opened:
                writer.close()
            for _, writer in slow + idle:
                writer.close()
    assert (quiet, crowded) == ({200: DEVICES * ROUNDS}, {200: DEVICES * ROUNDS})
    assert counted["bas_connections_refused_total"] > 0
    assert counted["bas_bodies_refused_total"] > 0
    print(f"p99 of a post: {quiet_s * 1000:.1f} ms alone, {crowded_s * 1000:.1f} ms in the crowd")
    # In the short form there are too few posts to compare.
    assert not is_long() or crowded_s <= 2 * quiet_s
