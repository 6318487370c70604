"""GET /api/telemetry/export.csv."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest

from server.routes import export as export_module
from server.services.ports.documents import StoreUnavailable
from server.services.ports.readings import NewRow, Reading
from tests.support.http import Caller, logged_in

EXPORT = "/api/telemetry/export.csv"
HEADER = "time_local,time_utc,device_id,temp_c,setpoint_c,deadband_c,cool,heat,state,sensor_ok"
# 2026-10-24T23:30:00.500Z: in Berlin the clock is set back at 1:00Z.
BEFORE_WINTER = 1_792_884_600_500
HOUR = 3_600_000
PIECE_BYTES = 2000 * 88
# What the kernel may keep of a file that is not read yet.
SOCKETS_TAKE = 16_000_000


@pytest.fixture
def config(config):
    return dataclasses.replace(config, timezone="Europe/Berlin")


@pytest.fixture
async def reader(container):
    return await logged_in(container, "reader")


def stored(time_ms, temp=200, device_id="lab", **more):
    fields = {
        "tenant_id": "default",
        "device_id": device_id,
        "timestamp_ms": time_ms,
        "temp_tenths": temp,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": False,
        "heat_active": True,
        "state": "IDLE_WITH_LEDS",
        "sensor_ok": True,
        "received_ms": time_ms,
    }
    return Reading(**(fields | more))


@pytest.fixture
def store(container):
    """Stores readings."""

    async def store(*readings):
        rows = [NewRow(f"{n}-{one.timestamp_ms}", one) for n, one in enumerate(readings)]
        for first in range(0, len(rows), 500):
            await container.base.stores.telemetry.write([], rows[first : first + 500])

    return store


async def rows(reader, query):
    answer = await reader.get(f"{EXPORT}?{query}")
    assert answer.status == 200, answer.body
    return list(csv.DictReader(io.StringIO(answer.body.decode())))


async def test_a_file_has_a_line_for_each_reading_oldest_first(reader, store):
    await store(
        stored(BEFORE_WINTER, 235),
        stored(BEFORE_WINTER + HOUR, -5, cool_active=True, state="COOLING"),
        stored(BEFORE_WINTER + 2 * HOUR, None, sensor_ok=False, heat_active=False, state="FAULT"),
        stored(BEFORE_WINTER + 3 * HOUR, 230, setpoint_tenths=1000, deadband_tenths=0),
    )
    answer = await reader.get(f"{EXPORT}?device_id=lab")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="readings-lab.csv"'
    assert answer.body.decode().split("\n") == [
        HEADER,
        "2026-10-25 01:30:00.500,2026-10-24T23:30:00.500Z,lab,23.5,23.0,1.0,0,1,IDLE_WITH_LEDS,1",
        "2026-10-25 02:30:00.500,2026-10-25T00:30:00.500Z,lab,-0.5,23.0,1.0,1,1,COOLING,1",
        "2026-10-25 02:30:00.500,2026-10-25T01:30:00.500Z,lab,,23.0,1.0,0,0,FAULT,0",
        "2026-10-25 03:30:00.500,2026-10-25T02:30:00.500Z,lab,23.0,100.0,0.0,0,1,IDLE_WITH_LEDS,1",
        "",
    ]


async def test_a_file_has_packed_and_new_readings_and_each_once(container, reader, store, clock):
    start = clock.now_ms() - 24 * HOUR
    times = [start + n * 60_000 for n in range(1000)]
    await store(*map(stored, times[:700]))
    async for _ in container.base.compaction.pack(0):
        pass
    await store(*map(stored, times[700:]), stored(times[3] + 1))
    found = await rows(reader, "device_id=lab")
    assert len(found) == 1001
    assert [row["time_utc"] for row in found] == sorted({row["time_utc"] for row in found})


async def test_a_file_has_the_readings_of_its_device_tenant_and_time(container, reader, store):
    await store(
        *(stored(BEFORE_WINTER + n, n) for n in range(5)),
        stored(BEFORE_WINTER + 2, 77, "other"),
        stored(BEFORE_WINTER + 2, 78, tenant_id="elsewhere"),
    )
    query = f"device_id=lab&start={BEFORE_WINTER + 1}&end={BEFORE_WINTER + 3}"
    assert [row["temp_c"] for row in await rows(reader, query)] == ["0.1", "0.2", "0.3"]
    stranger = await logged_in(container, "stranger")
    assert [row["temp_c"] for row in await rows(stranger, query)] == ["7.8"]
    assert await rows(reader, "device_id=nowhere") == []


@pytest.mark.parametrize(
    ("device_id", "cell"),
    [
        ("007", "007"),
        ("=1+1", '"\'=1+1"'),
        ("+1", '"\'+1"'),
        ("-1", '"\'-1"'),
        ("@a", '"\'@a"'),
        ("a,b", '"a,b"'),
        ('=a"b', '"\'=a""b"'),
        ('"', '""""'),
        ("dach-süd", "dach-süd"),
    ],
)
async def test_an_id_that_a_spreadsheet_would_calculate_is_quoted(reader, store, device_id, cell):
    await store(stored(BEFORE_WINTER, device_id=device_id))
    answer = await reader.get(EXPORT, query_string={"device_id": device_id})
    assert f"Z,{cell},20.0," in answer.body.decode()


async def test_a_state_that_a_spreadsheet_would_calculate_is_quoted(reader, store):
    await store(stored(BEFORE_WINTER, state='=HYPERLINK("x")'))
    (row,) = await rows(reader, "device_id=lab")
    assert row["state"] == '\'=HYPERLINK("x")'


async def test_the_name_of_a_file_has_only_plain_characters(reader):
    answer = await reader.get(EXPORT, query_string={"device_id": '../ö"\\; x'})
    assert answer.headers["Content-Disposition"] == 'attachment; filename="readings-..______x.csv"'


async def test_head_answers_with_the_headers_alone(reader, store):
    await store(stored(BEFORE_WINTER))
    answer = await reader.open("HEAD", f"{EXPORT}?device_id=lab")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"


@pytest.mark.parametrize(
    "query",
    ["", "device_id=", "device_id=x&start=-1", "device_id=x&end=y", "device_id=x&start=2&end=1"],
)
async def test_an_invalid_export_is_refused(reader, query):
    answer = await reader.get(f"{EXPORT}?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_an_export_needs_a_session(container):
    answer = await Caller(container.app).get(f"{EXPORT}?device_id=lab")
    assert answer.status == 401


@pytest.fixture
def pieces(container, monkeypatch):
    """The spans that the store was asked to export; `fail` has the errors that it raises then.

    Its answers are made longer: `repeat` says how often each is repeated.
    """
    history = container.base.stores.telemetry.history
    export, asked = history.export, SimpleNamespace(spans=[], fail=[], repeat=1)

    async def counted(tenant_id, device_id, span, encode):
        asked.spans.append(span)
        if len(asked.spans) > 1 and asked.fail:
            raise asked.fail.pop(0)
        found = await export(tenant_id, device_id, span, encode)
        return found._replace(body=found.body * asked.repeat)

    monkeypatch.setattr(history, "export", counted)
    return asked


@pytest.fixture
async def long_history(store, pieces):
    """Readings in 500 pieces of an export, each of PIECE_BYTES; returns their number."""
    await store(*(stored(BEFORE_WINTER + n * 2 * HOUR) for n in range(500)))
    pieces.repeat = 2000
    return 500


@asynccontextmanager
async def asking(port, reader, query="device_id=lab"):
    """A connection that has asked for a file, with little room for what it does not read yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    incoming, outgoing = await asyncio.open_connection(sock=sock, limit=4096)
    head = f"GET {EXPORT}?{query} HTTP/1.1", "Host: localhost", f"X-Session-ID: {reader.session}"
    outgoing.write("\r\n".join((*head, "User-Agent: test browser", "", "")).encode())
    try:
        yield incoming, outgoing
    finally:
        outgoing.close()


async def test_a_file_is_made_no_faster_than_its_client_takes_it(
    port, reader, pieces, long_history
):
    async with asking(port, reader) as (incoming, _):
        for megabytes in (1, 30):
            await incoming.readexactly(megabytes * 1_000_000 - 1)
            assert len(pieces.spans) * PIECE_BYTES < megabytes * 1_000_000 + SOCKETS_TAKE
    assert len(pieces.spans) < long_history


async def free_again(reader):
    """Wait until another file may be made."""
    async with asyncio.timeout(60):
        while True:
            answer = await reader.get(f"{EXPORT}?device_id=lab&end=0")
            if answer.status == 200:
                return
            assert answer.json()["code"] == "TOO_MANY_EXPORTS"
            await asyncio.sleep(0.02)


async def test_a_client_that_goes_away_ends_the_reading(
    port, reader, pieces, long_history, monkeypatch
):
    monkeypatch.setattr(export_module, "EXPORTS_MAX", 1)
    async with asking(port, reader) as (incoming, outgoing):
        await incoming.readuntil(b"time_local")
        outgoing.transport.abort()
        await free_again(reader)
    assert len(pieces.spans) < long_history


async def test_a_client_that_takes_nothing_is_disconnected(
    port, reader, pieces, long_history, monkeypatch
):
    monkeypatch.setattr(export_module, "EXPORTS_MAX", 1)
    monkeypatch.setattr(export_module, "STALLED_S", 0.2)
    async with asking(port, reader) as (incoming, _):
        await incoming.readuntil(b"time_local")
        await free_again(reader)
        received = await incoming.read(-1)
    assert not received.endswith(b"0\r\n\r\n")
    assert len(pieces.spans) < long_history


async def test_a_store_that_fails_for_a_moment_does_not_spoil_a_file(
    reader, store, pieces, monkeypatch
):
    monkeypatch.setattr(export_module, "RETRY_S", 0)
    await store(*(stored(BEFORE_WINTER + n * 2 * HOUR) for n in range(3)))
    pieces.fail += [StoreUnavailable()] * 5
    assert len(await rows(reader, "device_id=lab")) == 3


async def test_a_file_that_cannot_be_ended_does_not_look_complete(
    port, reader, store, pieces, monkeypatch
):
    monkeypatch.setattr(export_module, "RETRY_S", 0)
    await store(*(stored(BEFORE_WINTER + n * 2 * HOUR) for n in range(3)))
    pieces.fail += [StoreUnavailable()] * 1000
    async with asking(port, reader) as (incoming, _):
        async with asyncio.timeout(60):
            answer = await incoming.read(-1)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"IDLE_WITH_LEDS") == 1
    assert not answer.endswith(b"0\r\n\r\n")


async def test_an_export_of_a_store_that_is_away_is_refused(reader, pieces):
    pieces.fail += [StoreUnavailable()]
    pieces.spans.append(None)
    answer = await reader.get(f"{EXPORT}?device_id=lab")
    assert (answer.status, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")


async def test_only_a_few_files_are_made_at_a_time(port, reader, pieces, long_history):
    async with AsyncExitStack() as open_ones:
        for _ in range(export_module.EXPORTS_MAX):
            incoming, _ = await open_ones.enter_async_context(asking(port, reader))
            await incoming.readuntil(b"time_local")
        answer = await reader.get(f"{EXPORT}?device_id=lab")
        assert (answer.status, answer.json()["code"]) == (503, "TOO_MANY_EXPORTS")
        assert "again later" in answer.json()["message"]
    await free_again(reader)
