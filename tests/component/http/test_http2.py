"""HTTP/2 on the TLS port: requests, streams, bodies, and what a hostile client may cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import httpx
import pytest

from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.http import http2_connection, http2_stream
from server.http.tls import ServerTls
from tests.conftest import PASSWORD
from tests.support.certificates import identity, trusting
from tests.support.serving import serving
from tests.support.stream import eventually

BOUND_S = 60.0
READING = b'{"temp_tenths":235,"sensor_ok":true}'
JSON = [("content-type", "application/json")]


@pytest.fixture
def own(tmp_path):
    return identity(tmp_path / "tls")


@pytest.fixture
async def port(container, own):
    tls = ServerTls(ServerConfig(**own.settings()), SystemClock())
    drain = container.sse.hub.drain
    async with serving(container.app, container.posts, tls=tls, drain=drain) as number:
        yield number


@contextlib.asynccontextmanager
async def browser(port, own):
    """A client of HTTP/2 with one connection."""
    async with httpx.AsyncClient(
        base_url=f"https://localhost:{port}",
        http1=False,
        http2=True,
        verify=trusting(own),
        timeout=BOUND_S,
        trust_env=False,
        limits=httpx.Limits(max_connections=1),
    ) as client:
        yield client


class Peer:
    """A client that sends the frames that a test asks for, and collects the server's events."""

    def __init__(self, reader, writer):
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.events = []
        self.is_closed = False
        self._reader, self._writer = reader, writer
        self._statuses = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, port, own):
        tls = trusting(own)
        tls.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        peer = cls(reader, writer)
        peer.h2.initiate_connection()
        task = asyncio.create_task(peer._read())
        try:
            yield peer
        finally:
            task.cancel()
            writer.transport.abort()
            await asyncio.wait({task})

    async def _read(self):
        with contextlib.suppress(ConnectionError, OSError):
            while data := await self._reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.events.append(event)
                    if isinstance(event, h2.events.ResponseReceived):
                        self._statuses[event.stream_id] = dict(event.headers)[b":status"]
                self.flush()
        self.is_closed = True

    def body(self, stream):
        parts = [one for one in self.of(h2.events.DataReceived) if one.stream_id == stream]
        return b"".join(one.data for one in parts)

    async def is_read(self, stream):
        """Wait until the application reads the stream's body."""
        widened = h2.events.WindowUpdated
        await eventually(lambda: any(e.stream_id == stream for e in self.of(widened)), "a window")

    def flush(self):
        self._writer.write(self.h2.data_to_send())

    def ask(self, method, path, *more, body=None, is_all=True):
        """Send a request; without `is_all` it stays open."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "https")]
        head += [(":authority", "localhost"), *more]
        self.h2.send_headers(stream, head, end_stream=is_all and body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=is_all)
        self.flush()
        return stream

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def statuses(self):
        return self._statuses

    async def answered(self, *streams):
        await eventually(lambda: set(streams) <= self.statuses().keys(), "the answers came")


def goaways(peer):
    return [one.error_code for one in peer.of(h2.events.ConnectionTerminated)]


async def test_a_browser_logs_in_and_reads_over_http2(port, own):
    async with browser(port, own) as client:
        page = await client.get("/")
        assert (page.status_code, page.http_version) == (200, "HTTP/2")
        assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        who = {"username": "operator", "password": PASSWORD}
        entered = await client.post("/auth/login", json=who)
        assert entered.status_code == 200
        assert "Secure" in entered.headers["Set-Cookie"]
        assert (await client.get("/auth/status")).json()["user"]["username"] == "operator"
        head = await client.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.get("/no/such/page")).status_code == 404
        wrong = {"Host": "evil.example"}
        assert (await client.get("/", headers=wrong)).status_code == 421


async def test_a_device_may_post_over_http2(port, own):
    async with browser(port, own) as client:
        answers = await asyncio.gather(
            *(
                client.post("/api/sensor_data", content=READING, headers=dict(JSON))
                for _ in range(30)
            )
        )
        assert {one.status_code for one in answers} == {200}
        assert answers[0].json()["setpoint_tenths"] == 230
        bad = await client.post("/api/sensor_data", content=b"{", headers=dict(JSON))
        assert (bad.status_code, bad.json()["code"]) == (400, "INVALID_JSON")


async def test_a_live_stream_outlives_a_thousand_requests_on_its_connection(port, own):
    async with browser(port, own) as client:
        await client.post("/auth/login", json={"username": "operator", "password": PASSWORD})
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    async with Peer.open(port, own) as peer:
        live = peer.ask("GET", "/api/sse/telemetry", ("cookie", cookie))
        await eventually(lambda: b"event: snapshot" in peer.body(live), "the stream is open")
        for _ in range(21):
            await peer.answered(*(peer.ask("GET", "/healthz") for _ in range(50)))
        reading = b'{"temp_tenths":777,"sensor_ok":true,"device_id":"late"}'
        await peer.answered(peer.ask("POST", "/api/sensor_data", *JSON, body=reading))
        await eventually(lambda: b"777" in peer.body(live), "the reading is in the stream")
        assert len(peer.statuses()) == 21 * 50 + 2
        assert set(peer.statuses().values()) == {b"200"}


async def test_large_bodies_in_parallel_all_arrive(port, own):
    row = {"temp_tenths": 235, "sensor_ok": True, "device_id": "attic", "note": "x" * 250}
    rows = json.dumps([row] * 600).encode()
    assert 100_000 < len(rows) < 256 * 1024
    async with browser(port, own) as client:
        answers = await asyncio.gather(
            *(
                client.post("/api/sensor_data/batch", content=rows, headers=dict(JSON))
                for _ in range(20)
            )
        )
    assert {one.status_code for one in answers} == {200}


async def test_a_body_that_is_too_large_gets_413_and_the_connection_goes_on(port, own):
    async with Peer.open(port, own) as peer:
        big = peer.ask("POST", "/api/sensor_data/batch", *JSON, is_all=False)
        await peer.is_read(big)
        sent = 0
        while big not in peer.statuses():
            room = min(peer.h2.local_flow_control_window(big), 8000)
            if room and not peer.of(h2.events.StreamReset):
                peer.h2.send_data(big, b" " * room)
                peer.flush()
                sent += room
            await asyncio.sleep(0)
        assert peer.statuses()[big] == b"413"
        assert sent < 400_000
        small = peer.ask("GET", "/healthz")
        await peer.answered(small)
        assert peer.statuses()[small] == b"200"


async def test_a_hundred_unfinished_posts_start_few_requests_and_end_in_time(
    container, port, own, monkeypatch, caplog
):
    monkeypatch.setattr(http2_connection, "BODY_S", 1.0)
    caplog.set_level(logging.INFO)
    async with Peer.open(port, own) as peer:
        for _ in range(100):
            peer.ask("POST", "/api/sensor_data", *JSON, body=b"{" * 40, is_all=False)
        resets = lambda: peer.of(h2.events.StreamReset)  # noqa: E731
        await eventually(lambda: len(resets()) == 92, "those that were not started are reset")
        running = [one for one in asyncio.all_tasks() if one.get_name() == "http2"]
        assert len(running) == http2_connection.READ_AT_ONCE
        assert not peer.is_closed
        assert caplog.messages == []


async def test_more_streams_than_a_hundred_end_the_connection(port, own):
    async with Peer.open(port, own) as peer:
        await eventually(lambda: peer.of(h2.events.SettingsAcknowledged), "settings")
        peer.h2.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        peer.h2.remote_settings.acknowledge()
        for _ in range(150):
            peer.ask("POST", "/api/sensor_data", *JSON, is_all=False)
        await eventually(lambda: peer.is_closed, "the connection is closed")


async def test_a_client_that_resets_its_requests_again_and_again_is_sent_away_with_one_line(
    port, own, caplog
):
    caplog.set_level(logging.INFO)
    async with Peer.open(port, own) as peer:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            for number in range(600):
                stream = peer.ask("GET", "/")
                peer.h2.reset_stream(stream)
                peer.flush()
                if number % 20 == 0:
                    await asyncio.sleep(0)
        await eventually(lambda: peer.is_closed, "the connection is closed")
        assert goaways(peer) in ([], [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM])
    # The event loop of the test has lines about the client's own connection.
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("server")]
    assert len(lines) == 1
    assert "too much over HTTP/2" in lines[0]
    async with browser(port, own) as client:
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("kind", ["ping", "settings", "priority", "empty data"])
async def test_frames_without_a_use_have_a_limit(port, own, kind):
    async with Peer.open(port, own) as peer:
        stream = peer.ask("POST", "/api/sensor_data", *JSON, is_all=False)
        with contextlib.suppress(h2.exceptions.ProtocolError):
            for number in range(500):
                if kind == "ping":
                    peer.h2.ping(b"12345678")
                elif kind == "settings":
                    peer.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: number})
                elif kind == "priority":
                    peer.h2.prioritize(2 * number + 3, weight=9)
                else:
                    peer.h2.send_data(stream, b"")
            peer.flush()
        await eventually(lambda: peer.is_closed, "the connection is closed")
        assert goaways(peer) == [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM]


async def test_a_head_that_is_too_large_ends_the_connection_and_nothing_else(port, own, caplog):
    async with Peer.open(port, own) as peer:
        peer.ask("GET", "/", *((f"x-{number}", "y" * 1000) for number in range(15)))
        peer.ask("GET", "/", *((f"x-{number}", "y" * 1000) for number in range(30)))
        await eventually(lambda: peer.is_closed, "the connection is closed")
    assert not [record for record in caplog.records if record.exc_info]
    async with browser(port, own) as client:
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("path", ["/\xff", "/%ff%00", "/a b"])
async def test_a_strange_path_gets_an_answer_of_400_or_404(port, own, path):
    async with Peer.open(port, own) as peer:
        stream = peer.ask("GET", path)
        await peer.answered(stream)
        assert peer.statuses()[stream] in {b"400", b"404"}


async def test_a_client_that_takes_no_answer_loses_its_request_in_time(port, own, monkeypatch):
    monkeypatch.setattr(http2_stream, "STALL_S", 0.5)
    async with Peer.open(port, own) as peer:
        peer.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        peer.flush()
        await eventually(lambda: peer.of(h2.events.SettingsAcknowledged), "settings")
        peer.ask("GET", "/openapi.json")
        await eventually(lambda: peer.of(h2.events.StreamReset), "the stream is reset")
        assert not peer.is_closed


async def test_a_stop_lets_running_requests_finish_refuses_others_and_says_goodbye(container, own):
    tls = ServerTls(ServerConfig(**own.settings()), SystemClock())
    stop = asyncio.Event()
    async with (
        serving(
            container.app, container.posts, tls=tls, drain=container.sse.hub.drain, stop=stop
        ) as port,
        Peer.open(port, own) as peer,
    ):
        first = peer.ask("GET", "/healthz")
        await peer.answered(first)
        late = peer.ask("POST", "/api/sensor_data", *JSON, body=READING[:5], is_all=False)
        await peer.is_read(late)
        stop.set()

        def is_refused():
            peer.ask("GET", "/healthz")
            return peer.of(h2.events.StreamReset)

        await eventually(is_refused, "new requests are refused")
        assert {one.error_code for one in peer.of(h2.events.StreamReset)} == {
            h2.errors.ErrorCodes.REFUSED_STREAM
        }
        peer.h2.send_data(late, READING[5:], end_stream=True)
        peer.flush()
        await eventually(lambda: peer.is_closed, "the connection is closed")
        assert peer.statuses()[late] == b"200"
        assert goaways(peer)[:1] == [h2.errors.ErrorCodes.NO_ERROR]
