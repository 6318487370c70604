"""Errors: their form, and the answers to paths and methods that a route does not have."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in


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
