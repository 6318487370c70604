"""Requests that a page of another site makes a browser send are refused (ASVS 5.0.0, V3.5)."""

from __future__ import annotations

import pytest

from tests.component.security.access_table import ROWS
from tests.component.security.principals import ADMIN, OWN_KEY, all_principals
from tests.support.http import Caller, logged_in, served
from tests.support.kept import kept

SET = "/api/set_setpoint"
# Every route that may change something.
UNSAFE = [row for row in ROWS if row.method not in {"GET", "HEAD", "OPTIONS"}]
# What a form may send without asking the server first.
FORMS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]


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


@pytest.mark.parametrize("mode", ["user_password", "shadow", "disabled"])
async def test_every_change_from_a_foreign_origin_is_refused_in_every_mode(config, clock, mode):
    """ASVS 5.0.0 V3.5.1: requests are validated to originate from the application itself."""
    async with served(config, clock, auth_mode=mode) as container:
        principals = await all_principals(container, clock)
        before = await kept(container)
        for row in UNSAFE:
            for who in (ADMIN, OWN_KEY):
                headers = principals[who] | {"Origin": "https://evil.example"}
                caller = Caller(container.app, headers=headers)
                answer = await caller.post_text(row.url or row.path, row.body.replace("@", "250"))
                code = answer.json()["code"]
                assert (answer.status, code) == (403, "CSRF_REFUSED"), (str(row), who)
        assert await kept(container) == before


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
async def test_a_page_of_this_server_may_post(browser, host, origin):
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


async def test_a_request_without_an_origin_is_not_from_a_browser_and_is_accepted(browser):
    assert (await browser.post(SET, {"setpoint_tenths": 210})).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_read_from_another_origin_is_answered_since_the_page_cannot_see_it(browser, origin):
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = await browser.open(method, "/api/telemetry", headers={"Origin": origin})
        assert answer.status == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("content_type", FORMS)
async def test_every_change_by_a_form_with_a_session_cookie_is_refused(
    container, clock, content_type
):
    """ASVS 5.0.0 V3.5.2: no request without a CORS preflight reaches sensitive functionality."""
    principals = await all_principals(container, clock)
    before = await kept(container)
    for row in UNSAFE:
        headers = principals[ADMIN] | {"Content-Type": content_type}
        answer = await Caller(container.app).open(
            row.method,
            row.url or row.path,
            data=row.body.replace("@", "250") or "x=1",
            headers=headers,
        )
        code = answer.json()["code"]
        assert (answer.status, code) == (415, "UNSUPPORTED_MEDIA_TYPE"), str(row)
    assert await kept(container) == before


async def test_an_empty_form_with_a_session_cookie_is_refused(browser):
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}
    answer = await browser.open("POST", "/auth/logout", headers=headers)
    assert answer.status == 415
    assert (await browser.get("/auth/status")).status == 200


async def test_a_logout_without_a_body_works_with_a_cookie(browser):
    assert (await browser.post("/auth/logout")).status == 200
    assert (await browser.get("/auth/status")).status == 401


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_the_origin_is_checked_for_every_method_that_could_change_something(browser, method):
    answer = await browser.open(method, SET, headers={"Origin": "https://evil.example"})
    assert answer.status in {403, 405}
