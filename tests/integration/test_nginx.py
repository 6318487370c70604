"""infra/nginx.conf in a real nginx, in front of two real server processes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.test_firmware import GIVES_UP_S, Firmware
from tests.support.nginx import Nginx, browser, need_nginx, stream, tls
from tests.support.stream import (
    LIVE,
    WAIT_S,
    caller,
    eventually,
    figures,
    post_reading,
)
from tools.daemon import free_port
from tools.process import ServerProcess
from tools.redis_server import RedisServer

OPEN = {"BAS_AUTH_ENABLED": "0"}
PROXIED = {"BAS_TRUSTED_PROXIES": "127.0.0.1"}
NAMED = {"BAS_ALLOWED_HOSTS": "bas.example"}
READING = {"temp_tenths": 300, "sensor_ok": True}


class BrokenServers:
    """Two ports that accept requests and never answer: they close the connection or stay silent."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self._open: list[socket.socket] = []
        self.requests = 0

    @property
    def ports(self) -> list[int]:
        return [listener.getsockname()[1] for listener in self._listeners]

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(65536)
                self.requests += 1
                self._open.append(connection)
                if not self._silent:
                    connection.close()

    def __enter__(self) -> BrokenServers:
        for listener in self._listeners:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._listeners, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Two independent server processes without log-in."""
    need_nginx()
    folders = [tmp_path_factory.mktemp("data") for _ in range(2)]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                ServerProcess(folder, **OPEN, **PROXIED, **{"BAS_SSE_HEARTBEAT_S": "3"})
            )
            for folder in folders
        ]


@pytest.fixture(scope="module")
def front(pair: list[ServerProcess]) -> Iterator[Nginx]:
    with Nginx(*(server.port for server in pair)) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Nginx]]:
    """A server with log-in, behind an nginx whose second port has no server."""
    need_nginx()
    with (
        ServerProcess(tmp_path_factory.mktemp("data"), **PROXIED, **NAMED) as server,
        Nginx(server.port, free_port()) as nginx,
    ):
        yield server, nginx


def log_in(client: httpx.Client, server: ServerProcess) -> httpx.Response:
    credentials = {"username": "admin", "password": server.password}
    answer = client.post("/auth/login", json=credentials)
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_stream_over_http2_delivers_each_event_at_once(front, pair):
    async with stream(front) as opened:
        for temp in (201, 202, 203):
            began = time.monotonic()
            for server in pair:  # the stream is on one of them
                async with caller(server.url) as client:
                    await post_reading(client, "attic", temp)
            frame = await opened.until("telemetry")
            assert time.monotonic() - began < 15
            assert frame.json["temp_tenths"] == temp


async def test_a_stream_without_events_is_not_closed_by_the_other_timeouts(pair):
    short = {r"((?:proxy_read|send|client_\w+)_timeout) \d+s": r"\1 1s"}
    with Nginx(*(server.port for server in pair), settings=short) as nginx:
        async with stream(nginx) as opened:
            assert await opened.until("heartbeat")  # after three seconds


async def test_streams_are_spread_over_the_processes(front, pair):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(stream(front))
        for server in pair:
            async with caller(server.url) as client:
                assert (await figures(client))["bas_streams_open"] >= 2


@pytest.mark.parametrize("forged", ["203.0.113.7", "203.0.113.7, 127.0.0.1", "127.0.0.1"])
@pytest.mark.parametrize("address", ["127.0.0.2", "127.0.0.1"])
def test_the_server_gets_the_callers_address_and_ignores_a_forged_one(guarded, address, forged):
    server, nginx = guarded
    with browser(nginx, address, **{"X-Forwarded-For": forged}) as client:
        log_in(client, server)
        entries = client.get("/api/audit/recent").json()
    assert entries[0]["address"] == address


def test_the_cookie_is_secure_over_https_whatever_the_caller_claims(guarded):
    server, nginx = guarded
    with browser(nginx, **{"X-Forwarded-Proto": "http"}) as client:
        answer = log_in(client, server)
    assert "; Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"]


def test_only_a_page_of_the_same_host_may_send_changes(guarded):
    server, nginx = guarded
    with browser(nginx) as client:
        log_in(client, server)
        for origin, status in ((nginx.url, 200), ("https://elsewhere.example", 403)):
            answer = client.post("/api/set_setpoint", json={}, headers={"Origin": origin})
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("name", "status"), [("bas.example", 200), ("evil.example", 421)])
def test_a_host_name_that_is_not_allowed_is_refused(guarded, name, status):
    _, nginx = guarded
    with browser(nginx) as client:
        answer = client.get("/", headers={"Host": name})
    assert answer.status_code == status
    assert status == 200 or answer.json()["message"] == f"add {name} to BAS_ALLOWED_HOSTS"


def test_the_firmware_gets_its_commands_through_port_80(front):
    pico = Firmware(front.http_port)
    assert pico.post(300)["cool_active"] is True
    head = pico.answer.partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert len(re.findall(rb"\ncontent-length: \d+", head)) == 1
    assert b"transfer-encoding" not in head
    assert b"content-encoding" not in head
    assert b"\nconnection: close" in head


def test_port_80_serves_only_devices_and_redirects_all_other_requests_to_https(front):
    with httpx.Client(base_url=f"http://127.0.0.1:{front.http_port}", trust_env=False) as client:
        for method, path in (
            ("GET", "/"),
            ("POST", "/auth/login"),
            ("GET", "/api/sse/telemetry?a=b"),
        ):
            answer = client.request(method, path)
            assert answer.status_code == 308
            assert answer.headers["Location"] == f"https://127.0.0.1{path}"


def test_a_body_that_is_too_large_is_refused_by_the_server_in_json(front):
    with browser(front) as client:
        answer = client.post("/api/sensor_data", content=b" " * 300_000)
    assert (answer.status_code, set(answer.json()) >= {"error", "code"}) == (413, True)


def test_metrics_are_not_available_through_nginx(front):
    with browser(front) as client:
        assert client.get("/metrics").status_code == 404


def test_one_address_cannot_take_all_connections(pair):
    few = {"limit_conn addresses 5000": "limit_conn addresses 2"}
    with Nginx(*(server.port for server in pair), settings=few) as nginx:
        with contextlib.ExitStack() as stack:
            statuses = []
            for address in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"):
                client = stack.enter_context(browser(nginx, address))
                opened = stack.enter_context(client.stream("GET", "/api/sse/telemetry"))
                statuses.append(opened.status_code)
        assert statuses == [200, 200, 503, 200]


@pytest.mark.parametrize(("silent", "status"), [(False, 502), (True, 504)])
async def test_a_reading_is_never_sent_twice_and_its_failure_is_reported_in_time(silent, status):
    need_nginx()
    with BrokenServers(silent) as servers, Nginx(*servers.ports) as nginx:
        ports = (f"http://127.0.0.1:{nginx.http_port}", nginx.url)
        async with httpx.AsyncClient(verify=tls(nginx), timeout=WAIT_S, trust_env=False) as client:
            began = time.monotonic()
            posts = [client.post(f"{port}/api/sensor_data", json=READING) for port in ports]
            answers = await asyncio.gather(*posts)
        assert time.monotonic() - began < GIVES_UP_S
        assert [answer.status_code for answer in answers] == [status] * 2
        assert servers.requests == 2


def test_a_failed_get_is_retried_at_the_other_process():
    need_nginx()
    with BrokenServers(silent=False) as servers, Nginx(*servers.ports) as nginx:
        with browser(nginx) as client:
            assert client.get("/api/status").status_code == 502
        assert servers.requests == 2


async def test_requests_and_streams_continue_when_a_process_is_killed(tmp_path):
    need_nginx()
    with contextlib.ExitStack() as processes:
        first, second = (
            processes.enter_context(ServerProcess(tmp_path / name, **OPEN, **PROXIED))
            for name in ("first", "second")
        )
        nginx = processes.enter_context(Nginx(first.port, second.port))
        with browser(nginx) as client:
            for kill in (None, first):
                if kill:
                    kill.kill()
                for _ in range(20):
                    assert client.post("/api/sensor_data", json=READING).status_code == 200
                    assert client.get("/api/status").status_code == 200
        async with stream(nginx) as opened, caller(second.url) as direct:
            await post_reading(direct, "attic", 222)
            assert (await opened.until("telemetry")).json["temp_tenths"] == 222


async def test_a_reading_reaches_every_stream_at_every_process(tmp_path: Path, redis: RedisServer):
    need_nginx()
    shared = {**OPEN, **PROXIED, "REDIS_URL": redis.url}
    with contextlib.ExitStack() as processes:
        servers = [processes.enter_context(ServerProcess(tmp_path, **shared)) for _ in range(2)]
        nginx = processes.enter_context(Nginx(*(server.port for server in servers)))
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(stream(nginx)) for _ in range(6)]
            direct = [await stack.enter_async_context(caller(server.url)) for server in servers]

            async def all_are_used() -> bool:
                return all([(await figures(c))["bas_streams_open"] for c in direct])

            await eventually(all_are_used, "each process has a stream")
            sent = list(range(200, 220))
            with browser(nginx) as client:
                for temp in sent:
                    body = READING | {"temp_tenths": temp}
                    assert client.post("/api/sensor_data", json=body).status_code == 200
            for opened in streams:
                got = [(await opened.until(*LIVE)).json["temp_tenths"] for _ in sent]
                assert got == sent
