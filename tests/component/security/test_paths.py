"""No path leads out of the static folder, to another host or into the head of an answer."""

from __future__ import annotations

import re

import pytest

from tests.support.http import served
from tests.support.serving import ask, serving

# Bytes of the request line, as no client library would send them.
LEADING_OUT = [
    "/static/../app.py",
    "/static/../../bas_server.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/app.py",
    "/static/%2e%2e%2fapp.py",
    "/static/..%5capp.py",
    "/static/..\\app.py",
    "/static/....//app.py",
    "/static/%252e%252e%252fapp.py",
    "/static/api.js/../../app.py",
    "/static/./../templates/dashboard.html",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/file:///etc/passwd",
    "/static/%00",
    "/static/api.js%00.png",
    "/static/" + "x" * 5000,
    "/static/" + "../" * 50 + "etc/passwd",
    "/static/" + "a/" * 2000,
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/static/%c0%ae%c0%ae/app.py",
    "/static/%ff",
]
NOT_SERVED = [
    "/static",
    "/static/",
    "/static/.",
    "/static/..",
    "/.git/config",
    "/static/.git/config",
    "/.env",
    "/server/app.py",
    "/templates/dashboard.html",
    "/bas_server.py",
    "/data/bas.db",
    "/docs/contract.md",
]
LEADING_AWAY = [
    "//evil.example",
    "//evil.example/",
    "//evil.example/static//api.js",
    "/static//evil.example",
    "/static///evil.example/x",
    "/\\evil.example",
    "/static//\\evil.example",
    "/static//%5cevil.example",
    "/%2f/evil.example",
    "/static//@evil.example",
    "http://evil.example/static//api.js",
]
SPLITTING = [
    "/static//%0d%0aSet-Cookie:%20bas_session_id=stolen-by-the-attacker",
    "/static//x%0aX-Injected:%20yes",
    "/%0d%0aX-Injected:%20yes",
    "/api/status?device_id=%0d%0aX-Injected:%20yes",
    "/api/telemetry/export.csv?device_id=%22;%20filename=evil.exe%0d%0aX-Injected:%20yes",
    "/static//x%e2%80%a8X-Injected:%20yes",
    "/static//x%c4%8d%c4%8aX-Injected:%20yes",  # letters whose low bytes are CR and LF
]


async def get(port, target, headers=""):
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    (answer,) = await ask(port, request.encode("latin-1"))
    return answer


@pytest.fixture(params=["", "tests.support.legacy_app:app"], ids=["alone", "legacy"])
async def either_port(config, clock, request):
    """A server alone, and one beside an old application that gets all other paths."""
    async with (
        served(config, clock, legacy_wsgi=request.param, sync_threads=2) as container,
        serving(container.app, container.posts) as port,
    ):
        yield port


async def test_no_path_leads_out_of_the_static_folder(either_port):
    """ASVS 5.0.0 V5.3.2, V1.1.1, V13.4.7: decoded once, and only files of this folder."""
    for target in LEADING_OUT:
        answer = await get(either_port, target)
        assert answer.status in {308, 400, 404, 414}, target
        for leaked in (b"root:", b"create_app", b"{{ ", b"open_container"):
            assert leaked not in answer.body, target


async def test_neither_folders_nor_files_of_the_checkout_are_served(either_port):
    """ASVS 5.0.0 V13.4.1, V13.4.3, V13.4.7: no source control, no listing, no other files."""
    for target in NOT_SERVED:
        answer = await get(either_port, target)
        assert answer.status in {308, 404}, target
        assert b"dashboard.js" not in answer.body, target


async def test_a_redirect_never_leads_to_another_host(either_port):
    """ASVS 5.0.0 V3.7.2: no automatic redirect to a host that the server does not control."""
    for target in LEADING_AWAY:
        answer = await get(either_port, target)
        assert answer.status in {308, 400, 404, 421}, target
        location = answer.headers.get("Location", "")
        assert re.fullmatch(r"(http://localhost/.*)?", location), (target, location)


async def test_no_path_or_query_adds_a_line_to_the_head_of_an_answer(either_port):
    """ASVS 5.0.0 V1.2.1: nothing in a request changes the structure of the answer's head."""
    for target in SPLITTING:
        answer = await get(either_port, target)
        assert answer.status in {308, 400, 401, 404}, target
        assert "X-Injected" not in answer.headers, target
        assert "stolen" not in answer.headers.get("Set-Cookie", ""), target
        assert all("\r" not in text and "\n" not in text for text in answer.headers.values())


@pytest.mark.parametrize(
    "sent",
    [
        "Origin: http://localhost\r\nX-BAS-Tenant: default\x85X-Injected: yes",
        "X-Session-ID: abcdefghijk\x0bX-Injected: yes",
        'Cookie: bas_session_id="abc\\012X-Injected: yes"',
        "Last-Event-ID: 1\x85X-Injected: yes",
        "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example",
        "X-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics\r\nX-HTTP-Method-Override: DELETE",
    ],
)
async def test_no_header_of_a_request_comes_back_in_the_head_of_the_answer(port, sent):
    """ASVS 5.0.0 V1.2.1, V4.1.3: neither as a header of its own, nor as another host or path."""
    for target in ("/api/status", "/auth/status", "/static//x", "/api/telemetry"):
        answer = await get(port, target, f"{sent}\r\n")
        assert answer.status in {200, 308, 400, 401, 403}, target
        assert "X-Injected" not in answer.headers
        assert "evil" not in str(answer.headers)
        assert b"bas_readings" not in answer.body
