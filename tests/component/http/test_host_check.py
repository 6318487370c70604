"""Only requests for this server's names are answered, as a defence against DNS rebinding."""

from __future__ import annotations

import logging
import socket

import pytest

from server.common import seldom
from server.config.config import ServerConfig
from server.http.app import SECURITY_HEADERS
from tests.support.http import Caller, exchange, reading, served, stored
from tests.support.serving import ask, request

LISTED = ServerConfig.from_env({"BAS_ALLOWED_HOSTS": "panel.example, .plant.example"}).allowed_hosts
EVIL = {"Host": "evil.example"}


@pytest.fixture
async def container(config, clock, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Machine-7.Works.Example")
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("it may wait for a name server"))
    origins = ("https://page.example",)
    async with served(config, clock, allowed_hosts=LISTED, cors_origins=origins) as container:
        yield container


@pytest.fixture
def page(container):
    return Caller(container.app)


VALID = (
    *("localhost", "LocalHost", "localhost.", "localhost:8080", "a.b.localhost", "bas.local"),
    *("BAS.local.:80", "127.0.0.1", "192.168.1.5:8080", "0.0.0.0", "8.8.8.8:", "127.0.0.1."),
    *("[::1]", "[::1]:8080", "[2001:DB8::7]:1", "[fe80::1%25eth0]", "[::ffff:10.0.0.1]"),
    *("machine-7", "MACHINE-7:8080", "machine-7.works.example", "machine-7.works.example."),
    *("panel.example", "Panel.Example.:443", "a.plant.example", "b.a.plant.example:8080"),
)
INVALID = (
    *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost"),
    *("local", "localdomain", "evil.local.example", "works.example", "machine-8"),
    *("x.panel.example", "panel.example.evil", "plant.example", "xplant.example", "panel"),
    *("page.example", "127.1", "0x7f.0.0.1", "2130706433", "::1", "[::1", "[evil.example]"),
    *("localhost:http", "localhost@evil.example", "localhost,evil.example", "localhost evil"),
    *("*", ".", "\xe9", "x" * 5000, "localhost." + "a" * 5000),
)


async def test_a_request_for_a_name_of_this_server_or_any_address_is_answered(page):
    answers = {host: await page.get("/api/status", headers={"Host": host}) for host in VALID}
    assert {host: answer.status for host, answer in answers.items() if answer.status != 200} == {}


async def test_a_request_for_any_other_name_is_refused_with_the_setting_to_change(page):
    for host in INVALID:
        answer = await page.get("/api/status", headers={"Host": host})
        refusal = answer.status, answer.json()["code"]
        assert refusal == (421, "MISDIRECTED_REQUEST"), host
        message = answer.json()["message"]
        assert message.startswith("add "), host
        assert message.endswith(" to BAS_ALLOWED_HOSTS"), host
        assert len(message) < 150, host


async def test_the_refusal_names_the_host_without_its_port(page):
    answer = await page.get("/", headers={"Host": "Plant.Example:8080"})
    assert answer.json() == {
        "error": "Misdirected request",
        "code": "MISDIRECTED_REQUEST",
        "message": "add plant.example to BAS_ALLOWED_HOSTS",
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


EVERYWHERE = (
    *(("GET", path) for path in ("/", "/auth/login", "/static/style.css", "/api/config")),
    *(("GET", path) for path in ("/api/telemetry", "/api/sse/telemetry", "/openapi.json")),
    *(("GET", path) for path in ("/metrics", "/healthz", "/readyz", "/nothing")),
    *(("POST", path) for path in ("/auth/login", "/api/set_setpoint", "/api/sensor_data/")),
    *(("GET", "/api/sensor_data"), ("OPTIONS", "/api/sensor_data"), ("HEAD", "/")),
)


async def test_the_name_is_checked_for_every_method_and_path(page):
    for method, path in EVERYWHERE:
        answer = await page.open(method, path, headers=EVIL)
        assert answer.status == 421, (method, path)


@pytest.mark.parametrize("headers", [{}, {"X-Firmware": "7"}])
async def test_a_device_s_post_may_use_any_name(container, port, in_quart, headers):
    sent = request(b'{"temp_tenths": 301, "sensor_ok": true}', EVIL | headers)
    batch = request(b'[{"temp_tenths": 302}]', EVIL | headers, target="/api/sensor_data/batch")
    last = request(b'{"temp_tenths": 303}', EVIL | headers | {"Connection": "close"})
    found = await ask(port, sent, batch, last)
    assert [answer.status for answer in found] == [200] * 3
    assert len(await stored(container)) == 3


async def test_an_http_1_0_post_of_a_device_needs_no_name(container, port):
    sent = request(b'{"temp_tenths": 301}', version="1.0").replace(b"Host: localhost\r\n", b"")
    (answer,) = await ask(port, sent)
    assert answer.status == 200


@pytest.mark.parametrize("host", [b"", b"Host: \r\n"])
async def test_without_a_name_only_the_health_checks_of_load_balancers_are_answered(port, host):
    for asked, status in (
        (b"GET /healthz", 200),
        (b"GET /readyz", 200),
        (b"OPTIONS /healthz", 200),
        (b"GET /", 421),
        (b"GET /metrics", 421),
        (b"GET /api/health", 421),
        (b"GET /healthz/", 421),
    ):
        (answer,) = await ask(port, asked + b" HTTP/1.0\r\n" + host + b"\r\n")
        assert answer.status == status, asked
        assert status == 200 or answer.json()["message"] == "send a Host header", asked


async def test_a_request_with_a_right_and_a_wrong_name_is_refused(container):
    answer = await exchange(container.app, headers=[(b"host", b"evil.example")])
    assert answer.status == 421


@pytest.mark.parametrize("origin", ["https://page.example", "http://evil.example"])
async def test_an_origin_header_does_not_make_a_name_valid(page, container, origin):
    headers = {"Host": origin.partition("://")[2], "Origin": origin}
    assert (await page.get("/api/status", headers=headers)).status == 421
    assert (await page.post("/auth/logout", headers=headers)).status == 421


async def test_a_name_in_a_proxy_s_headers_is_ignored(config, clock):
    proxies = ServerConfig.from_env({"BAS_TRUSTED_PROXIES": "10.0.0.1"}).trusted_proxies
    async with served(config, clock, trusted_proxies=proxies) as container:
        proxy = Caller(container.app, "10.0.0.1")
        forwarded = {"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
        assert (await proxy.get("/", headers=EVIL | forwarded)).status == 421
        assert (await proxy.get("/", headers={"X-Forwarded-Host": "evil.example"})).status == 200


async def test_the_check_also_protects_the_legacy_application(config, clock):
    app = "tests.support.legacy_app:app"
    async with served(config, clock, legacy_wsgi=app, sync_threads=4) as container:
        page = Caller(container.app)
        assert (await page.get("/legacy/page")).status == 200
        assert (await page.get("/legacy/page", headers=EVIL)).status == 421
        assert (await page.post("/legacy/echo", {}, headers=EVIL)).status == 421


async def test_the_name_that_the_server_listens_on_is_valid(config, clock):
    async with served(config, clock, host="BAS.works.example") as container:
        page = Caller(container.app)
        assert (await page.get("/", headers={"Host": "bas.works.example:8080"})).status == 200
        assert (await page.get("/", headers={"Host": "bas"})).status == 421


def logged(caplog):
    return [one.getMessage() for one in caplog.records if one.name == "server.http.host_check"]


async def test_a_wrong_name_is_logged_once_in_a_while_with_its_remedy(page, caplog):
    for host in ("evil.example", "EVIL.example:8080", "evil.example", "other.example"):
        await page.get("/", headers={"Host": host})
    assert len(logged(caplog)) == 2
    assert "from 192.0.2.10 for host evil.example was refused" in logged(caplog)[0]
    assert "add the name to BAS_ALLOWED_HOSTS" in logged(caplog)[0]
    assert caplog.records[0].levelno == logging.WARNING


async def test_made_up_names_fill_neither_log_nor_memory(page, caplog):
    for number in range(300):
        await page.get("/", headers={"Host": f"x{number}.example"})
    assert len(logged(caplog)) == seldom.NAMES_MAX


async def test_a_name_with_control_characters_cannot_forge_a_line_of_the_log(container, caplog):
    host = b"evil\x1b[2J\x9b\xff<script>" + b"x" * 5000
    app = container.app
    answer = await exchange(app, headers=[(b"host", host)])
    assert answer.status == 421
    (line,) = logged(caplog)
    assert line.isascii()
    assert line.isprintable()
    assert "<" not in line + answer.json()["message"]
    assert len(line) < 400


async def test_a_reading_after_a_refused_request_is_answered(page):
    assert (await page.get("/", headers=EVIL)).status == 421
    assert (await page.post("/api/sensor_data", reading())).status == 200
