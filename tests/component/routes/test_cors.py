"""BAS_CORS_ORIGINS: pages of listed origins may call this server, all others may not."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, reading, served, stored

LISTED, OTHER = "https://panel.example", "https://evil.example"
ALLOW_ORIGIN = "Access-Control-Allow-Origin"


@pytest.fixture
async def container(config, clock):
    async with served(config, clock, cors_origins=(LISTED, "http://10.0.0.5:3000")) as container:
        yield container


@pytest.fixture
def page(container):
    return Caller(container.app)


def preflight(origin, method="POST", headers="content-type, x-session-id"):
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


async def test_a_device_s_post_without_an_origin_has_the_same_headers_as_any_other_post(page):
    plain = await page.post("/api/sensor_data", reading())
    by_quart = await page.post("/api/sensor_data", reading(), headers={"X-Firmware": "7"})
    assert plain.headers["Vary"] == "Origin"
    kept, by_quart_kept = (
        sorted(item for item in one.headers.items() if item[0].lower() != "x-request-id")
        for one in (plain, by_quart)
    )
    assert kept == by_quart_kept


@pytest.mark.parametrize("origin", [LISTED, "http://10.0.0.5:3000"])
@pytest.mark.parametrize("path", ["/api/sensor_data", "/api/set_setpoint", "/auth/login"])
async def test_a_preflight_of_a_listed_origin_is_granted(page, origin, path):
    answer = await page.open("OPTIONS", path, headers=preflight(origin))
    assert answer.status == 200
    assert answer.headers[ALLOW_ORIGIN] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    granted = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {name.strip() for name in granted.split(",")} >= {"content-type", "x-session-id"}
    assert "Origin" in answer.headers["Vary"]


async def test_a_request_of_a_listed_origin_is_executed_and_may_be_read(page, container):
    answer = await page.post("/api/sensor_data", reading(), headers={"Origin": LISTED})
    assert answer.status == 200
    assert answer.headers[ALLOW_ORIGIN] == LISTED
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert len(await stored(container)) == 1


async def test_a_page_of_a_listed_origin_may_read_an_error(page):
    for path, status in (("/api/telemetry", 401), ("/api/nothing", 404)):
        answer = await page.get(path, headers={"Origin": LISTED})
        assert (answer.status, answer.headers[ALLOW_ORIGIN]) == (status, LISTED)


async def test_a_listed_origin_may_use_a_session_cookie(page):
    secret = (await page.log_in("operator")).cookie().value
    del page.headers["X-Session-ID"]
    headers = {"Cookie": f"bas_session_id={secret}", "Origin": LISTED}
    answer = await page.post("/api/set_setpoint", {"setpoint_tenths": 210}, headers=headers)
    assert (answer.status, answer.headers[ALLOW_ORIGIN]) == (200, LISTED)


@pytest.mark.parametrize(
    "origin", [OTHER, "null", LISTED + ".evil.example", "http://panel.example", LISTED + ":444"]
)
async def test_another_origin_is_granted_nothing(page, container, origin):
    answer = await page.open("OPTIONS", "/api/sensor_data", headers=preflight(origin))
    assert ALLOW_ORIGIN not in answer.headers
    answer = await page.get("/api/status", headers={"Origin": origin})
    assert ALLOW_ORIGIN not in answer.headers
    answer = await page.post("/api/sensor_data", reading(), headers={"Origin": origin})
    assert (answer.status, answer.json()["code"]) == (403, "CSRF_REFUSED")
    assert ALLOW_ORIGIN not in answer.headers
    assert await stored(container) == []


async def test_without_the_setting_no_origin_is_granted_anything(config, clock):
    async with served(config, clock, cors_origins=()) as plain:
        page = Caller(plain.app)
        answer = await page.open("OPTIONS", "/api/sensor_data", headers=preflight(LISTED))
        assert ALLOW_ORIGIN not in answer.headers
        answer = await page.post("/api/sensor_data", reading(), headers={"Origin": LISTED})
        assert answer.status == 403


async def test_a_listed_origin_gets_the_security_headers_too(page):
    answer = await page.get("/api/status", headers={"Origin": LISTED})
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
