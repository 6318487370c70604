"""GET /api/sse/telemetry as a route: permissions, headers, query and start."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from tests.support.http import Caller, exchange, logged_in, reading, served
from tests.support.serving import serving

NO_ALARMS = {"alarms": [], "alarm_count": 0}

PATH = "/api/sse/telemetry"
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


async def start(container, name="reader", query=b"", frames=1, **headers):
    """The start of a stream; the client disconnects after this number of frames."""
    sent = []
    if name is not None:
        caller = await logged_in(container, name)
        sent = [(key.lower().encode(), value.encode()) for key, value in caller.headers.items()]
    sent += [(key.encode(), value.encode()) for key, value in headers.items()]
    return await exchange(container.app, path=PATH, query=query, headers=sent, frames=frames)


def events(answer):
    """The named events of a stream's text, in order, as (name, data)."""
    found = []
    for block in answer.body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            found.append((lines.get("event"), json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("name", ["reader", "operator", "admin"])
async def test_every_role_may_open_a_stream_which_has_the_promised_headers(container, name):
    answer = await start(container, name)
    assert answer.status == 200
    assert {key: answer.headers[key] for key in STREAM_HEADERS} == STREAM_HEADERS
    assert answer.headers["X-Frame-Options"] == "DENY"


async def test_a_stream_without_a_session_is_refused(container):
    answer = await start(container, None)
    assert (answer.status, answer.json()["code"]) == (401, "INVALID_SESSION_ID")


async def test_with_log_in_off_a_stream_needs_no_session(config, clock):
    async with served(config, clock, auth_mode="disabled") as container:
        assert (await start(container, None)).status == 200


async def test_head_returns_the_headers_and_opens_no_stream(container):
    reader = await logged_in(container, "reader")
    answer = await reader.open("HEAD", PATH)
    assert (answer.status, answer.body) == (200, b"")
    assert {key: answer.headers[key] for key in STREAM_HEADERS} == STREAM_HEADERS
    assert container.sse.hub.subscriber_count() == 0


async def test_a_stream_starts_with_a_comment_retry_hello_and_snapshot(container, clock):
    await Caller(container.app).post("/api/sensor_data", reading(250, device_id="lab"))
    answer = await start(container, frames=4)
    first, second = answer.body.decode().split("\n\n")[:2]
    assert first.startswith(":")
    assert second.removeprefix("retry: ").isdecimal()
    (hello, greeting), (snapshot, state) = events(answer)
    assert (hello, snapshot) == ("hello", "snapshot")
    assert greeting == {"resume": "fresh", "ts": clock.now_ms(), "heartbeat_s": 20}
    status = (await Caller(container.app).get("/api/status?device_id=lab")).json()
    assert state == {"zones": [status], **NO_ALARMS}


@pytest.mark.parametrize(
    "query", [b"last_event_id=%b", b"lastEventId=%b", b"lastEventId=x&last_event_id=%b"]
)
async def test_a_client_that_cannot_set_a_header_sends_its_last_id_in_the_query(container, query):
    caller = Caller(container.app)
    # An id that the stream knows comes with its first event.
    first = await start(container, query=b"snapshot=0", frames=3)
    event_id = first.body.split(b"id: ")[1].split(b"\n")[0]
    await caller.post("/api/sensor_data", reading(250, device_id="lab"))
    answer = await start(container, query=query % event_id + b"&snapshot=0", frames=4)
    (_, greeting), (name, row) = events(answer)
    assert (greeting["resume"], name, row["device_id"]) == ("recovered", "telemetry", "lab")


async def test_a_stream_whose_client_disconnected_is_not_counted(container):
    await start(container)
    assert container.sse.hub.subscriber_count() == 0


async def test_a_stream_whose_client_disconnects_with_its_request_is_not_counted(config, clock):
    """Quart learns of the disconnect before there is a stream that could."""
    async with (
        served(config, clock, auth_mode="disabled") as container,
        serving(container.app, container.posts) as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")  # to its end
        writer.close()
        assert container.sse.hub.subscriber_count() == 0


async def test_the_snapshot_contains_only_the_requested_devices_of_the_own_tenant(container):
    device = Caller(container.app)
    for device_id in ("one", "two", "three"):
        await device.post("/api/sensor_data", reading(device_id=device_id))
    answer = await start(container, query=b"device_id=one&device_id=three", frames=4)
    (_, _), (_, state) = events(answer)
    assert [zone["device_id"] for zone in state["zones"]] == ["one", "three"]
    (_, _), (_, theirs) = events(await start(container, "stranger", frames=4))
    assert theirs == {"zones": [], **NO_ALARMS}


@pytest.mark.parametrize("text", ["x", "1-1", "\x7f", "é", "9" * 500, "%00", "../..", "a.b.c"])
async def test_an_unknown_event_id_is_answered_with_reset(container, text):
    answer = await start(container, frames=3, **{"last-event-id": text})
    assert answer.status == 200
    assert events(answer)[0][1]["resume"] == "reset"


@pytest.mark.parametrize("query", [b"snapshot=x", b"names=2", b"snapshot=", b"names=%ff"])
async def test_an_invalid_flag_is_refused(container, query):
    answer = await start(container, query=query)
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_too_many_devices_are_refused(container):
    query = b"&".join(b"device_id=%d" % number for number in range(1001))
    answer = await start(container, query=query)
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_a_stream_beyond_the_limit_gets_503(config, clock):
    async with served(config, clock, sse_max_streams=1) as container:
        reader = await logged_in(container, "reader")
        async with container.app.test_client(use_cookies=False).request(
            PATH, headers=reader.headers
        ) as open_stream:
            await open_stream.receive()
            answer = await reader.get(PATH)
            await open_stream.disconnect()
        assert (answer.status, answer.json()["code"]) == (503, "TOO_MANY_STREAMS")
        assert int(answer.headers["Retry-After"]) > 0


HERE, THERE = "198.51.100.7", "203.0.113.9"


async def opened(resources, container, caller, address):
    """Open a stream of this caller, which stays open."""
    client = container.app.test_client(use_cookies=False)
    scope = {"client": (address, 40_000)}
    connection = client.request(PATH, headers=caller.headers, scope_base=scope)
    await resources.enter_async_context(connection)
    await connection.receive()
    resources.push_async_callback(connection.disconnect)


@pytest.mark.parametrize(
    ("limit", "others"),
    [("tenant", []), ("account", [("operator", HERE)]), ("address", [("reader", THERE)])],
)
async def test_too_many_streams_of_one_are_refused_with_429_and_those_of_others_are_not(
    config, clock, limit, others
):
    settings = {f"sse_streams_per_{limit}": 1}
    async with served(config, clock, **settings) as container, AsyncExitStack() as resources:
        reader = await logged_in(container, "reader", address=HERE)
        await opened(resources, container, reader, HERE)
        for name, address in others:
            await opened(resources, container, await logged_in(container, name), address)
        answer = await reader.get(PATH)
        assert (answer.status, answer.json()["code"]) == (429, "TOO_MANY_STREAMS")
        assert int(answer.headers["Retry-After"]) > 0
        metrics = container.base.metrics.exposition().decode()
        assert f'bas_streams_refused_total{{limit="{limit}"}} 1.0' in metrics
        await resources.aclose()
        await opened(resources, container, reader, HERE)  # one that ended makes room


async def test_this_machine_may_open_more_streams_than_one_address(config, clock):
    async with (
        served(config, clock, sse_streams_per_address=1) as container,
        AsyncExitStack() as resources,
    ):
        reader = await logged_in(container, "reader", address="127.0.0.1")
        for _ in range(2):
            await opened(resources, container, reader, "127.0.0.1")
