"""The live stream of a real server process, seen by its clients."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import httpx_sse
import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from tests.support.stream import (
    WAIT_S,
    StreamClient,
    caller,
    eventually,
    figures,
    log_in,
    post_reading,
)
from tools.process import ServerProcess

PASSWORD = "correct horse"
ROW_KEYS = {
    "timestamp",
    "temp_tenths",
    "setpoint_tenths",
    "deadband_tenths",
    "cool_active",
    "heat_active",
    "state",
    "sensor_ok",
    "device_id",
}


class Site(NamedTuple):
    """A running server, and a session of one user in each of two tenants."""

    server: ServerProcess
    session: str
    elsewhere: str

    @property
    def port(self) -> int:
        return self.server.port


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("stream")

    async def create_users() -> None:
        async with open_base(ServerConfig(data_dir=folder)) as base:
            await base.admin.create_user("operator", PASSWORD, "operator", "default")
            await base.admin.create_user("stranger", PASSWORD, "operator", "elsewhere")

    asyncio.run(create_users())
    with ServerProcess(folder, BAS_SSE_HEARTBEAT_S="1") as server:
        here = asyncio.run(log_in(server.url, "operator", PASSWORD))
        yield Site(server, here, asyncio.run(log_in(server.url, "stranger", PASSWORD)))


def test_a_stream_begins_at_once_with_a_comment_and_a_retry_field(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as sock:
        sock.sendall(
            b"GET /api/sse/telemetry HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bas-tests\r\n"
            b"Cookie: bas_session_id=" + site.session.encode() + b"\r\n\r\n"
        )
        received = b""
        while not re.search(rb"retry: \d+\n\n", received):
            piece = sock.recv(4096)
            assert piece, received
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert re.match(rb"[0-9a-f]+\r\n: stream\n\nretry: \d+\n\n", body)


async def test_a_stream_opens_with_hello_and_a_snapshot(site: Site) -> None:
    async with caller(site.server.url) as device:
        await post_reading(device, "snapshot-zone", 231)
    async with await StreamClient.open(site.port, session=site.session) as stream:
        frames = await stream.opening()
    hello = frames["hello"].json
    assert hello["resume"] == "fresh"
    assert hello["heartbeat_s"] == 1
    assert abs(hello["ts"] - _now_ms(stream)) < 60_000
    zones = {zone["device_id"]: zone for zone in frames["snapshot"].json["zones"]}
    assert zones["snapshot-zone"]["temp_tenths"] == 231
    assert zones["snapshot-zone"]["state"] == "IDLE_WITH_LEDS"


def _now_ms(stream: StreamClient) -> float:
    """The server's time from its Date header, to the second."""
    return parsedate_to_datetime(stream.headers["date"]).timestamp() * 1000


async def test_the_headers_of_a_stream_are_those_of_the_contract(site: Site) -> None:
    async with await StreamClient.open(site.port, session=site.session) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.headers["x-frame-options"] == "DENY"
        assert "content-security-policy" in stream.headers
        assert "content-length" not in stream.headers


def test_a_head_request_is_answered_with_the_headers_alone(site: Site) -> None:
    session = site.session.encode()
    request = b"%b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bas-tests\r\nX-Session-ID: %b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as sock:
        # The server sends the second answer only after the end of the first.
        sock.sendall(request % (b"HEAD /api/sse/telemetry", session))
        sock.sendall(request % (b"GET /healthz", session))
        received = b""
        while b'"alive"' not in received:
            piece = sock.recv(4096)
            assert piece, received
            received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"text/event-stream" in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("session", [None, "short", "x" * 43])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stream_without_a_valid_session_is_refused(
    site: Site, session: str | None, method: str
) -> None:
    async with await StreamClient.open(site.port, session=session, method=method) as stream:
        assert stream.status == 401
        assert stream.headers["content-type"] == "application/json"
        await stream.rest()
        code = b"SESSION_INVALID" if session == "x" * 43 else b"INVALID_SESSION_ID"
        assert method == "HEAD" or code in stream.body


async def test_a_posted_reading_arrives_as_it_was_stored(site: Site) -> None:
    async with (
        caller(site.server.url, site.session) as operator,
        await StreamClient.open(site.port, session=site.session) as stream,
    ):
        await stream.opening()
        await post_reading(operator, "zone-ä", 251)
        (event,) = await stream.live(1)
        stored = (await operator.get("/api/telemetry?limit=1")).json()
    assert event.event == "telemetry"
    assert [event.json] == stored
    assert set(event.json) == ROW_KEYS
    assert (event.json["device_id"], event.json["temp_tenths"]) == ("zone-ä", 251)
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", event.id or "")


async def test_a_setpoint_change_arrives_on_the_stream(site: Site) -> None:
    async with (
        caller(site.server.url, site.session) as operator,
        await StreamClient.open(site.port, "device_id=setpoint-zone", session=site.session) as one,
    ):
        await post_reading(operator, "setpoint-zone", 230)
        await one.opening()
        body = {"device_id": "setpoint-zone", "setpoint_tenths": 210, "deadband_tenths": 5}
        assert (await operator.post("/api/set_setpoint", json=body)).status_code == 200
        events = await one.live(1)
        while events[-1].event != "setpoint":
            events += await one.live(1)
    said = events[-1].json
    assert abs(said.pop("timestamp") - _now_ms(one)) < 60_000
    assert said == body | {"updated_by": "operator"}


async def test_a_client_resumes_by_header_or_query_and_the_header_takes_precedence(
    site: Site,
) -> None:
    async with (
        caller(site.server.url) as device,
        await StreamClient.open(site.port, session=site.session) as stream,
    ):
        await stream.opening()
        await post_reading(device, "resumed", 200)
        (first,) = await stream.live(1)
        for temp_tenths in (201, 202, 203):
            await post_reading(device, "resumed", temp_tenths)
        expected = await stream.live(3)
    assert first.id is not None
    for query, header, resume in [
        ("", first.id, "recovered"),
        (f"last_event_id={first.id}", None, "recovered"),
        (f"last_event_id={first.id}", "", "recovered"),
        ("last_event_id=nonsense", first.id, "recovered"),
        (f"last_event_id={first.id}", "nonsense", "reset"),
        ("last_event_id=", None, "fresh"),
    ]:
        async with await StreamClient.open(
            site.port, query, session=site.session, last_event_id=header
        ) as again:
            frames = await again.opening()
            assert frames["hello"].json["resume"] == resume, (query, header)
            if resume == "recovered":
                assert await again.live(3) == expected


@pytest.mark.parametrize(
    "last_event_id",
    ["x", "%00", "%0a", "a" * 4000, "12345678-99", "%F0%9F%8C%A1", "%ff", "-1", "1700000000000-0"],
)
async def test_an_invalid_last_event_id_is_answered_with_a_reset_and_a_snapshot(
    site: Site, last_event_id: str
) -> None:
    query = f"last_event_id={last_event_id}"
    async with await StreamClient.open(site.port, query, session=site.session) as stream:
        assert stream.status == 200
        frames = await stream.opening()
        assert frames["hello"].json["resume"] == "reset"
        assert "zones" in frames["snapshot"].json


async def test_a_client_can_ask_for_a_stream_without_a_snapshot_and_without_event_names(
    site: Site,
) -> None:
    query = "snapshot=0&names=0&device_id=bare"
    async with (
        caller(site.server.url) as device,
        await StreamClient.open(site.port, query, session=site.session) as stream,
    ):
        assert [(await stream.frame()).event for _ in range(3)] == [None, None, None]
        await post_reading(device, "bare", 222)
        frame = await stream.frame()
        while "temp_tenths" not in frame.json:
            frame = await stream.frame()
        assert frame.event is None
        assert frame.json["temp_tenths"] == 222


async def test_a_filtered_stream_has_only_its_devices_in_the_snapshot_and_the_events(
    site: Site,
) -> None:
    query = "device_id=left&device_id=right"
    async with caller(site.server.url) as device:
        for name in ("left", "right", "middle"):
            await post_reading(device, name, 230)
        async with await StreamClient.open(site.port, query, session=site.session) as stream:
            frames = await stream.opening()
            for name in ("middle", "left", "middle", "right"):
                await post_reading(device, name, 231)
            live = await stream.live(2)
    assert [zone["device_id"] for zone in frames["snapshot"].json["zones"]] == ["left", "right"]
    assert [frame.json["device_id"] for frame in live] == ["left", "right"]


async def test_heartbeats_have_the_id_of_the_last_event(site: Site) -> None:
    async with await StreamClient.open(site.port, session=site.session) as stream:
        opening = await stream.opening()
        frames = [await stream.frame(4), await stream.frame(4)]
    assert [frame.event for frame in frames] == ["heartbeat", "heartbeat"]
    assert {frame.id for frame in frames} == {opening["hello"].id}
    assert frames[1].json["ts"] - frames[0].json["ts"] >= 1000


async def test_two_tenants_never_see_each_others_events(site: Site) -> None:
    async with (
        caller(site.server.url, site.session) as here,
        caller(site.server.url, site.elsewhere) as there,
        await StreamClient.open(site.port, session=site.session) as our,
        await StreamClient.open(site.port, session=site.elsewhere) as their,
    ):
        await our.opening()
        assert (await their.opening())["snapshot"].json == {
            "zones": [],
            "alarms": [],
            "alarm_count": 0,
        }
        for number in range(5):
            await post_reading(here, "shared-name", 300 + number)
            await post_reading(there, "shared-name", 400 + number)
        mine, theirs = await our.live(5), await their.live(5)
        foreign_id = mine[0].id
        assert [frame.json["temp_tenths"] for frame in mine] == [300, 301, 302, 303, 304]
        assert [frame.json["temp_tenths"] for frame in theirs] == [400, 401, 402, 403, 404]
    async with await StreamClient.open(
        site.port, session=site.elsewhere, last_event_id=foreign_id
    ) as stream:
        assert (await stream.opening())["hello"].json["resume"] == "reset"


async def test_the_sse_client_of_httpx_reads_the_stream(site: Site) -> None:
    async with caller(site.server.url, site.session) as client:
        events = []
        async with (
            asyncio.timeout(WAIT_S),
            httpx_sse.aconnect_sse(client, "GET", "/api/sse/telemetry") as source,
        ):
            async for event in source.aiter_sse():
                events.append(event)
                if event.event == "snapshot":
                    async with caller(site.server.url) as device:
                        await post_reading(device, "stock", 235)
                if event.event == "telemetry":
                    break
    assert [event.event for event in events] == ["message", "hello", "snapshot", "telemetry"]
    assert (events[0].data, events[0].retry is not None) == ("", True)
    assert events[-1].json()["device_id"] == "stock"


async def test_a_stream_over_the_limit_is_refused_until_another_stream_closes(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path, BAS_AUTH_ENABLED="0", BAS_SSE_MAX_STREAMS="3") as server:
        streams = [await StreamClient.open(server.port) for _ in range(3)]
        for stream in streams:
            await stream.opening()
        async with await StreamClient.open(server.port) as refused:
            assert refused.status == 503
            await refused.rest()
            assert b'"TOO_MANY_STREAMS"' in refused.body
            assert int(refused.headers["retry-after"]) >= 1
        await streams[0].close()

        async def admitted() -> bool:
            async with await StreamClient.open(server.port) as again:
                return again.status == 200

        await eventually(admitted, "there is room again")
        for stream in streams[1:]:
            await stream.close()


async def test_the_metrics_of_streams_and_events_add_up(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, BAS_AUTH_ENABLED="0") as server:
        async with caller(server.url) as client:
            first = [await StreamClient.open(server.port) for _ in range(5)]
            for stream in first:
                await stream.opening()
            for number in range(30):
                await post_reading(client, "zone", 200 + number)
            for stream in first:
                assert len(await stream.live(30)) == 30
            now = await figures(client)
            assert now["bas_streams_open"] == now["bas_streams_opened_total"] == 5
            assert now["bas_readings_stored_total"] == now["bas_events_published_total"] == 30
            assert now["bas_events_replayed_total"] == 0
            tenth_id = first[0].last_id.rsplit("-", 1)[0] + "-10"
            async with await StreamClient.open(server.port, last_event_id=tenth_id) as again:
                assert len(await again.live(20)) == 20
            for stream in first:
                await stream.close()

            async def forgotten() -> bool:
                return (await figures(client))["bas_streams_open"] == 0

            await eventually(forgotten, "no stream is open")
            then = await figures(client)
            assert then["bas_streams_opened_total"] == 6
            assert then['bas_streams_closed_total{reason="client"}'] == 6
            assert then["bas_events_replayed_total"] == 20
            assert then['bas_stream_resumes_total{kind="fresh"}'] == 5
            assert then['bas_stream_resumes_total{kind="recovered"}'] == 1
            assert then["bas_events_dropped_total"] == 0
