"""Requests that another site's page makes a browser send are refused."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading, served, stored

SET = "/api/set_setpoint"


@pytest.fixture
async def container(config, clock):
    async with served(config, clock, allowed_hosts=("bas.example",)) as container:
        yield container


@pytest.fixture
async def browser(container):
    """An operator's browser, which sends its session as a cookie."""
    caller = await logged_in(container, "operator")
    caller.headers["Cookie"] = f"bas_session_id={caller.headers.pop('X-Session-ID')}"
    return caller


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://localhost:8081",
        "http://localhost.evil.example",
        "http://evil.example/localhost",
        "http://localhost@evil.example",
        "file://",
        "http://",
        "http://[",
        "http://localhost:99999",
        "ftp://localhost",
        "chrome-extension://abcdef",
        "é",
        "x" * 5000,
    ],
)
async def test_a_foreign_origin_is_refused(browser, origin):
    answer = await browser.post(SET, {"setpoint_tenths": 210}, headers={"Origin": origin})
    assert (answer.status, answer.json()["code"]) == (403, "CSRF_REFUSED")
    assert (await browser.get("/api/config")).json()["setpoint_tenths"] == 230


@pytest.mark.parametrize("path", ["/api/sensor_data", "/auth/login", "/auth/logout"])
async def test_a_foreign_origin_is_refused_on_public_routes_too(container, path):
    caller = Caller(container.app)
    answer = await caller.post(path, reading(), headers={"Origin": "https://evil.example"})
    assert (answer.status, answer.json()["code"]) == (403, "CSRF_REFUSED")
    assert await stored(container) == []


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost", "http://localhost:80"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost"),
        ("bas.example:8443", "https://bas.example:8443"),
        ("bas.example:443", "https://bas.example"),
        ("BAS.example", "http://bas.example"),
        ("192.168.1.5:8080", "http://192.168.1.5:8080"),
        ("[::1]", "http://[::1]"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[fe80::1]:80", "http://[fe80::1]"),
        ("[FE80::1]:8080", "http://[fe80::1]:8080"),
    ],
)
async def test_the_servers_own_page_may_post(browser, host, origin):
    headers = {"Host": host, "Origin": origin}
    assert (await browser.post(SET, {"setpoint_tenths": 210}, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost"),
        ("localhost", "http://localhost:8080"),
        ("localhost", "http://localhost:443"),
        ("[::1]:8080", "http://[::1]"),
        ("[::1]:8080", "http://[::1:8080]"),
        ("[::1]", "http://[::2]"),
        ("bas.example", "http://other.example"),
    ],
)
async def test_another_port_or_host_is_another_origin(browser, host, origin):
    headers = {"Host": host, "Origin": origin}
    assert (await browser.post(SET, {"setpoint_tenths": 210}, headers=headers)).status == 403


async def test_without_an_origin_a_request_is_no_browsers_and_passes(browser):
    assert (await browser.post(SET, {"setpoint_tenths": 210})).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_reading_is_not_refused_since_no_page_can_see_the_answer(browser, origin):
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = await browser.open(method, "/api/telemetry", headers={"Origin": origin})
        assert answer.status == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", [SET, "/auth/logout", "/auth/login", "/api/devices/register"])
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
async def test_with_a_session_cookie_a_form_is_refused(browser, path, content_type):
    headers = {"Content-Type": content_type}
    answer = await browser.open("POST", path, data='{"setpoint_tenths": 210}', headers=headers)
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert (await browser.get("/auth/status")).status == 200
    assert (await browser.get("/api/config")).json()["setpoint_tenths"] == 230


async def test_a_form_without_any_field_is_refused_too(browser):
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}
    answer = await browser.open("POST", "/auth/logout", headers=headers)
    assert answer.status == 415
    assert (await browser.get("/auth/status")).status == 200


async def test_logout_without_a_body_works_with_a_cookie(browser):
    assert (await browser.post("/auth/logout")).status == 200
    assert (await browser.get("/auth/status")).status == 401


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_the_origin_is_looked_at_for_every_method_that_could_change_something(
    browser, method
):
    answer = await browser.open(method, SET, headers={"Origin": "https://evil.example"})
    assert answer.status in {403, 405}
