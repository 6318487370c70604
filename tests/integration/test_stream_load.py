"""Many streams, and one that is not read, on a real server: no client misses an event."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.stream import (
    StreamClient,
    caller,
    eventually,
    figures,
    post_reading,
    stalled_reader,
)
from tools.process import ServerProcess

STREAMS, DEVICES, READINGS_EACH = 100, 6, 50
# Enough to fill every buffer between the server and a client that does not read.
ZONES, ROUNDS_MAX = 150, 200
# The longest allowed name makes the largest events: 512 bytes each.
LONG_NAME = "🌡" * 124
LAST_CHUNK = b"\r\n0\r\n\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, BAS_AUTH_ENABLED="0") as running:
        yield running


async def test_a_hundred_streams_get_every_reading_of_many_connections_once_in_order(
    server: ServerProcess,
) -> None:
    streams = await asyncio.gather(*(StreamClient.open(server.port) for _ in range(STREAMS)))
    await asyncio.gather(*(stream.opening() for stream in streams))
    total = DEVICES * READINGS_EACH

    async def post_all(device_id: str) -> None:
        async with caller(server.url) as device:
            for number in range(READINGS_EACH):
                await post_reading(device, device_id, number)

    posting = asyncio.gather(*(post_all(f"device-{n}") for n in range(DEVICES)))
    received = await asyncio.gather(*(stream.live(total, 120) for stream in streams))
    await posting
    async with caller(server.url) as client:
        await post_reading(client, "the-last", 0)
        last = await asyncio.gather(*(stream.live(1) for stream in streams))
    # The next event is the one that was posted last, so no stream got a duplicate at the end.
    assert {frames[0].json["device_id"] for frames in last} == {"the-last"}
    expected = {f"device-{n}": list(range(READINGS_EACH)) for n in range(DEVICES)}
    order = [frame.id for frame in received[0]]
    assert [int(str(event_id).rsplit("-", 1)[1]) for event_id in order] == list(range(1, total + 1))
    for frames in received:
        assert [frame.id for frame in frames] == order
        by_device: dict[str, list[int]] = {name: [] for name in expected}
        for frame in frames:
            by_device[frame.json["device_id"]].append(frame.json["temp_tenths"])
        assert by_device == expected
    await asyncio.gather(*(stream.close() for stream in streams))


async def test_the_server_closes_a_stream_that_is_not_read_and_the_others_get_every_event(
    server: ServerProcess,
) -> None:
    async with (
        caller(server.url) as client,
        await StreamClient.open(server.port, "snapshot=0") as reader,
    ):
        for _ in range(3):
            await reader.frame()
        for zone in range(ZONES):
            await post_reading(client, f"{LONG_NAME}{zone:04}", 230)
        seen = [frame.id for frame in await reader.live(ZONES)]
        with stalled_reader(server.port) as stalled:
            await eventually(lambda: _open_streams(client, 2), "both streams are open")
            for round_ in range(ROUNDS_MAX):
                body = {"setpoint_tenths": 200 + round_ % 2}
                assert (await client.post("/api/set_setpoint", json=body)).status_code == 200
                seen += [frame.id for frame in await reader.live(ZONES)]
                if (await figures(client))['bas_streams_closed_total{reason="slow"}']:
                    break
            assert (await figures(client))['bas_streams_closed_total{reason="slow"}'] == 1
            positions = [int(str(event_id).rsplit("-", 1)[1]) for event_id in seen]
            assert positions == list(range(1, len(seen) + 1))
            received = await asyncio.to_thread(read_to_the_end, stalled)
            assert not received.endswith(LAST_CHUNK)
        # The client had received some events; a reconnect replays the rest, each once.
        ids = re.findall(rb"\nid: (\S+)\ndata: [^\n]+\n\n", received)
        query = f"last_event_id={ids[-1].decode()}"
        async with await StreamClient.open(server.port, query) as again:
            assert (await again.opening())["hello"].json["resume"] == "recovered"
            missed = seen[seen.index(ids[-1].decode()) + 1 :]
            assert [frame.id for frame in await again.live(len(missed))] == missed


def read_to_the_end(sock: socket.socket) -> bytes:
    """The bytes that were in flight when the connection was cut."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            received += piece
    return received


async def _open_streams(client: httpx.AsyncClient, count: int) -> bool:
    return (await figures(client))["bas_streams_open"] == count


async def test_a_client_of_http_1_0_gets_events_without_chunks(server: ServerProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/sse/telemetry HTTP/1.0\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(60), caller(server.url) as client:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        await reader.readuntil(b"event: snapshot")
        await reader.readuntil(b"\n\n")
        for number in range(3):
            await post_reading(client, "lab", number)
            block = await reader.readuntil(b"\n\n")
            assert block.startswith(b"event: telemetry\nid: ")
            assert b"\r" not in block
    writer.close()
