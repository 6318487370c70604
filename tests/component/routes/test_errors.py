"""Errors: their form, and the answers to paths and methods that a route does not have."""

from __future__ import annotations

import re

import pytest

from tests.support.http import Caller, logged_in, lose_store


@pytest.fixture
def anyone(container):
    return Caller(container.app)


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api/", "/auth/nothing", "/auth/", "/api/status/", "/api/a%2F%00b"]
)
async def test_an_unknown_path_of_api_or_auth_gets_404_in_json(anyone, path):
    answer = await anyone.get(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"error": "Not Found", "code": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/status", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/api/sensor_data", {"POST", "OPTIONS"}),
        ("HEAD", "/api/sensor_data", {"POST", "OPTIONS"}),
        ("PUT", "/auth/status", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/auth/logout", {"POST", "OPTIONS"}),
        ("PATCH", "/auth/login", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("BREW", "/api/telemetry", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_gets_405_in_json_with_the_allowed_methods(
    anyone, method, path, allowed
):
    answer = await anyone.open(method, path)
    assert answer.status == 405
    assert answer.json() == {"error": "Method Not Allowed", "code": "METHOD_NOT_ALLOWED"}
    assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_an_unknown_page_gets_404_in_html(anyone):
    answer = await anyone.get("/nothing")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_a_page_for_admins_is_refused_in_words_or_asks_for_a_log_in(container, anyone):
    operator = await logged_in(container, "operator")
    refused = await operator.get("/admin/audit?action=%22%3E%3Cb%3E")
    assert refused.status == 403
    page = refused.body.decode()
    assert "operator role cannot perform this action" in page
    assert re.findall('href="(/[^"]*)">', page)[-2:] == [
        "/",
        "/auth/login?next=%2Fadmin%2Faudit%3Faction%3D%2522%253E%253Cb%253E",
    ]
    stranger = await anyone.get("/admin/audit")
    assert stranger.headers["Location"] == "/auth/login?next=%2Fadmin%2Faudit"
    await operator.post("/auth/logout")
    ended = await operator.get("/admin/users", headers={"X-Session-ID": operator.session})
    assert ended.headers["Location"] == "/auth/login?next=%2Fadmin%2Fusers&reason=ended"


async def test_a_page_that_the_server_cannot_show_now_offers_another_attempt(container):
    admin = await logged_in(container, "admin")
    await lose_store(container)
    answer = await admin.get("/admin/system")
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    assert '<a href="">Try again</a>' in answer.body.decode()


@pytest.mark.parametrize("path", ["/api/status", "/api/config", "/api/health", "/", "/auth/login"])
async def test_head_has_the_same_status_and_headers_as_get(anyone, path):
    got, head = await anyone.get(path), await anyone.open("HEAD", path)
    assert head.status == got.status
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


async def test_options_returns_the_allowed_methods_and_changes_nothing(anyone):
    answer = await anyone.open("OPTIONS", "/api/sensor_data")
    assert answer.status == 200
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert (await anyone.get("/api/status")).json()["device_id"] is None


async def test_options_on_a_protected_route_needs_no_session(anyone):
    assert (await anyone.open("OPTIONS", "/api/set_setpoint")).status == 200


async def test_an_error_contains_only_error_code_and_message(container, anyone):
    reader = await logged_in(container, "reader")
    for answer in (
        await anyone.get("/api/telemetry"),
        await reader.post("/api/set_setpoint", {}),
        await reader.get("/api/telemetry?limit=0"),
        await anyone.post("/api/sensor_data", {"device_id": 7}),
    ):
        assert set(answer.json()) == {"error", "code", "message"}
        assert all(isinstance(text, str) and text for text in answer.json().values())
