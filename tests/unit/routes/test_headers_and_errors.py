"""What every answer carries, and the form of errors, on every kind of answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.http import Caller, logged_in, served

PROXY = "10.0.0.1"
HSTS = "max-age=31536000; includeSubDomains"
PROMISED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
}
REQUESTS = [
    ("GET", "/", 200),
    ("GET", "/auth/login", 200),
    ("GET", "/static/no-such-file.js", 404),
    ("GET", "/no/such/page", 404),
    ("GET", "/api/health", 200),
    ("HEAD", "/api/status", 200),
    ("OPTIONS", "/api/sensor_data", 200),
    ("GET", "/api/nothing", 404),
    ("GET", "/api/status?device_id=nowhere", 404),
    ("DELETE", "/api/status", 405),
    ("POST", "/", 405),
    ("POST", "/api/sensor_data", 400),
    ("GET", "/api/telemetry", 401),
    ("POST", "/api/set_setpoint", 401),
    ("GET", "/auth/status", 400),
    ("GET", "/openapi.json", 200),
    ("GET", "/metrics", 200),
]


@pytest.fixture
def anyone(container):
    return Caller(container.app)


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS)
async def test_every_answer_carries_the_security_headers(anyone, method, path, status):
    answer = await anyone.open(method, path)
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in PROMISED} == PROMISED


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS)
async def test_every_answer_allows_no_inline_script_and_no_other_host(anyone, method, path, status):
    policy = (await anyone.open(method, path)).headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["frame-ancestors"] == "'none'"
    assert rules["base-uri"] == "'none'"
    assert set(rules.values()) <= {"'self'", "'none'"}
    assert "'self'" in rules["script-src"]


def names_of_files(folder):
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


async def test_every_file_that_is_served_carries_the_security_headers(container, anyone):
    for name in names_of_files(Path(container.app.static_folder)):
        answer = await anyone.get(f"/static/{name}")
        assert answer.status == 200
        assert {name: answer.headers.get(name) for name in PROMISED} == PROMISED


async def test_too_large_and_unsupported_bodies_carry_the_security_headers(anyone):
    for data, kind, status in ((b"x" * 300_000, "application/json", 413), (b"x", "x/y", 415)):
        answer = await anyone.post("/api/sensor_data", data=data, headers={"Content-Type": kind})
        assert answer.status == status
        assert {name: answer.headers.get(name) for name in PROMISED} == PROMISED


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS)
async def test_strict_transport_security_is_sent_over_https_alone(anyone, method, path, status):
    assert "Strict-Transport-Security" not in (await anyone.open(method, path)).headers
    secure = await anyone.open(method, path, scheme="https")
    assert secure.headers["Strict-Transport-Security"] == HSTS


async def test_https_that_a_trusted_proxy_speaks_counts_as_https(config, clock):
    from_env = type(config).from_env({"BAS_TRUSTED_PROXIES": "10.0.0.0/8"})
    forwarded = {"X-Forwarded-Proto": "https"}
    async with served(config, clock, trusted_proxies=from_env.trusted_proxies) as container:
        told = await Caller(container.app, PROXY).get("/", headers=forwarded)
        lied = await Caller(container.app, "192.0.2.1").get("/", headers=forwarded)
    assert told.headers["Strict-Transport-Security"] == HSTS
    assert "Strict-Transport-Security" not in lied.headers


async def test_without_trusted_proxies_nobody_is_believed_to_speak_https(anyone):
    answer = await anyone.get("/", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api/", "/auth/nothing", "/auth/", "/api/status/", "/api/a%2F%00b"]
)
async def test_an_unknown_path_of_api_or_auth_is_404_in_json(anyone, path):
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
async def test_a_wrong_method_is_405_in_json_and_names_the_right_ones(
    anyone, method, path, allowed
):
    answer = await anyone.open(method, path)
    assert answer.status == 405
    assert answer.json() == {"error": "Method Not Allowed", "code": "METHOD_NOT_ALLOWED"}
    assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_an_unknown_page_is_404_in_html(anyone):
    answer = await anyone.get("/nothing")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2Fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"],
)
async def test_no_file_outside_the_static_folder_is_served(anyone, path):
    answer = await anyone.get(path)
    assert answer.status in {308, 404}  # 308 leads to the path without the doubled slash
    assert b"root:" not in answer.body
    assert b"create_app" not in answer.body


@pytest.mark.parametrize("path", ["/api/status", "/api/config", "/api/health", "/", "/auth/login"])
async def test_head_answers_as_get_does_with_its_length(anyone, path):
    got, head = await anyone.get(path), await anyone.open("HEAD", path)
    assert head.status == got.status
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


async def test_options_names_the_methods_and_changes_nothing(anyone):
    answer = await anyone.open("OPTIONS", "/api/sensor_data")
    assert answer.status == 200
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert (await anyone.get("/api/status")).json()["device_id"] is None


async def test_options_of_a_protected_route_needs_no_session(anyone):
    assert (await anyone.open("OPTIONS", "/api/set_setpoint")).status == 200


async def test_an_error_holds_nothing_but_error_code_and_message(container, anyone):
    reader = await logged_in(container, "reader")
    for answer in (
        await anyone.get("/api/telemetry"),
        await reader.post("/api/set_setpoint", {}),
        await reader.get("/api/telemetry?limit=0"),
        await anyone.post("/api/sensor_data", {"device_id": 7}),
    ):
        assert set(answer.json()) == {"error", "code", "message"}
        assert all(isinstance(text, str) and text for text in answer.json().values())
