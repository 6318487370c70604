"""Below a path prefix pages, API, stream and cookies work, whether the proxy strips it or not."""

from __future__ import annotations

import re

import pytest

from server.config.config import ConfigError, ServerConfig
from tests.conftest import PASSWORD
from tests.support.http import Caller, exchange, logged_in, served

PROXY = "10.0.0.1"
LOG_IN = {"username": "operator", "password": PASSWORD}


@pytest.fixture
async def container(config, clock):
    proxies = ServerConfig.from_env({"BAS_TRUSTED_PROXIES": PROXY}).trusted_proxies
    async with served(config, clock, root_path="/bas", trusted_proxies=proxies) as container:
        yield container


@pytest.fixture
def browser(container):
    return Caller(container.app)


@pytest.mark.parametrize("stripped", ["", "/bas"])
async def test_a_page_names_its_files_below_the_prefix_and_gets_them(browser, stripped):
    page = await browser.get(f"{stripped}/")
    assert page.status == 200
    files = re.findall(r'(?:src|href)="([^"]+/static/[^"]+)"', page.body.decode())
    assert files
    assert all(path.startswith("/bas/static/") for path in files)
    for path in files:
        file = await browser.get(path.removeprefix("/bas") if not stripped else path)
        assert file.status == 200
        assert "immutable" in file.headers["Cache-Control"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_session_s_cookies_go_to_the_prefix_alone(browser, scheme):
    answer = await browser.post("/bas/auth/login", LOG_IN, scheme=scheme)
    cookies = answer.headers.getlist("Set-Cookie")
    assert cookies
    for cookie in cookies:
        assert "; Path=/bas/" in cookie
        assert not cookie.startswith("__Host-")
    headers = {"Cookie": cookies[0].partition(";")[0]}
    status = await browser.get("/bas/auth/status", headers=headers, scheme=scheme)
    assert status.json()["user"]["username"] == "operator"


async def test_a_device_posts_with_the_prefix_and_without(browser):
    for path in ("/bas/api/sensor_data", "/api/sensor_data"):
        answer = await browser.post(path, {"temp_tenths": 235, "sensor_ok": True})
        assert (answer.status, answer.json()["setpoint_tenths"]) == (200, 230)


async def test_the_document_says_where_the_api_is(browser):
    for path in ("/bas/openapi.json", "/openapi.json"):
        assert (await browser.get(path)).json()["servers"] == [{"url": "/bas"}]


async def test_a_path_that_only_begins_like_the_prefix_is_not_below_it(browser):
    assert (await browser.get("/basement")).status == 404
    assert (await browser.get("/bas")).status == 200


async def test_a_trusted_proxy_names_the_prefix_and_a_stranger_cannot(container):
    headers = {"X-Forwarded-Prefix": "/house/"}
    theirs = await Caller(container.app, PROXY).get("/house/", headers=headers)
    assert 'href="/house/static/' in theirs.body.decode()
    page = await Caller(container.app).get("/", headers=headers)
    assert 'href="/bas/static/' in page.body.decode()


@pytest.mark.parametrize(
    "prefix", ["//elsewhere.example", "/a//b", "/..", '/"><b>', "bas", "/a/%2e"]
)
async def test_a_prefix_that_is_no_plain_path_is_refused(container, prefix):
    answer = await Caller(container.app, PROXY).get("/", headers={"X-Forwarded-Prefix": prefix})
    assert 'href="/bas/static/' in answer.body.decode()
    with pytest.raises(ConfigError, match="BAS_ROOT_PATH"):
        ServerConfig.from_env({"BAS_ROOT_PATH": prefix})


@pytest.mark.parametrize(
    "page", ["/", "/auth/login", "/zone", "/admin/users", "/alarms", "/docs", "/nothing"]
)
async def test_every_link_of_a_page_stays_below_the_prefix(browser, page):
    answer = await browser.get(f"/bas{page}", headers={"Accept": "text/html"})
    links = re.findall(r'(?:src|href|action)="([^"]+)"', answer.body.decode())
    assert links
    assert [one for one in links if one.startswith("/") and not one.startswith("/bas/")] == []


@pytest.mark.parametrize("prefix", ["", "/bas"])
async def test_the_stream_has_its_events_with_the_prefix_and_without(container, prefix):
    session = (await logged_in(container, "reader")).session.encode()
    stream = await exchange(
        container.app,
        path=f"{prefix}/api/sse/telemetry",
        headers=[(b"x-session-id", session)],
        frames=3,
    )
    assert b"event: hello" in stream.body
