"""The legacy application beside the new routes: its paths are served, its answers unchanged."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint

from server.http.app import SECURITY_HEADERS
from server.sync_api import wsgi
from server.sync_api.wsgi import BODY_MAX
from server.sync_api.wsgi_environ import make_environ
from server.sync_api.wsgi_loading import LegacyAppError, load
from tests.support import legacy_app
from tests.support.http import Caller, exchange, logged_in, served
from tests.support.stream import eventually

APP = "tests.support.legacy_app:app"


def request_to(path: str, method: str = "GET") -> dict[str, Any]:
    """The ASGI scope of a plain request."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }


@pytest.fixture
async def site(config, clock):
    async with served(config, clock, legacy_wsgi=APP, sync_threads=4) as container:
        yield container


async def test_the_legacy_application_gets_every_path_without_a_new_route(site):
    headers = {"X-Test": "yes", "Cookie": "flavour=mint"}
    answer = await Caller(site.app).get("/legacy/echo?q=1&q=%C3%BC", headers=headers)
    seen = answer.json()
    assert seen.pop("thread").startswith("wsgi-")
    assert seen == {
        "method": "GET",
        "path": "/legacy/echo",
        "args": {"q": ["1", "ü"]},
        "json": None,
        "size": 0,
        "cookies": {"flavour": "mint"},
        "header": "yes",
        "address": "192.0.2.10",
        "url": "http://localhost/legacy/echo?q=1&q=ü",
    }
    assert (await Caller(site.app).get("/legacy/Grüße/Öl")).body.decode() == "Grüße, Öl"


@pytest.mark.parametrize(
    ("path", "raw_path", "seen"),
    [
        ("/caf\ufffd", b"/caf%e9", "/caf\xe9"),
        ("/café", b"/caf%C3%A9", "/caf\xc3\xa9"),
        ("/a b", b"http://elsewhere/a%20b", "/a b"),
    ],
)
def test_the_legacy_application_gets_the_bytes_of_the_path(path, raw_path, seen):
    scope = request_to(path) | {"raw_path": raw_path}
    assert make_environ(scope, BytesIO())["PATH_INFO"] == seen


async def test_a_new_route_has_priority_over_a_legacy_one_of_the_same_path(site):
    caller = Caller(site.app)
    assert (await caller.get("/api/status")).json()["state"] == "IDLE"
    assert (await caller.get("/healthz")).status == 200
    assert (await caller.get("/")).headers["X-Frame-Options"] == "DENY"


async def test_a_route_that_was_moved_is_answered_by_the_new_server_and_the_others_as_before(site):
    caller = Caller(site.app)
    assert b"piece 4" in (await caller.get("/legacy/pieces")).body
    bp = Blueprint("moved", __name__)

    @bp.get("/legacy/pieces")
    @site.base.auth.guard.require_auth("read-only")
    def pieces(principal):
        return f"one piece for {principal.username}"

    site.app.register_blueprint(bp)
    assert (await caller.get("/legacy/pieces")).status == 401
    answer = await (await logged_in(site, "reader")).get("/legacy/pieces")
    assert answer.body == b"one piece for reader"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert (await caller.get("/legacy/page")).body == b"<script>inline()</script>"


async def test_an_error_answer_of_a_new_route_is_not_passed_on_to_the_legacy_application(site):
    admin = await logged_in(site, "admin")
    wrong_method = await admin.open("DELETE", "/api/status")
    assert (wrong_method.status, wrong_method.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert (await Caller(site.app).get("/api/telemetry")).json()["code"] == "INVALID_SESSION_ID"


async def test_a_path_that_neither_has_gets_the_legacy_application_s_404(site):
    answer = await Caller(site.app).get("/api/nothing")
    assert answer.status == 404
    assert b"<!doctype html>" in answer.body


async def test_static_files_of_both_are_served(site):
    caller = Caller(site.app)
    assert (await caller.get("/static/style.css")).headers["Content-Type"].startswith("text/css")
    assert (await caller.get("/static/old.css")).body == b"old {}"
    assert (await caller.get("/static/../bas.db")).status == 404


async def test_bodies_reach_the_legacy_application_complete_even_large_ones(site):
    caller = Caller(site.app)
    assert (await caller.post("/legacy/echo", {"a": [1]})).json()["json"] == {"a": [1]}
    for size in (0, 1, 300_000, BODY_MAX):
        data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        answer = await caller.open("POST", "/legacy/digest", data=data)
        assert answer.body.decode() == hashlib.sha256(data).hexdigest()


async def test_a_too_large_body_is_refused_before_it_reaches_the_legacy_application(site):
    data = b"x" * (BODY_MAX + 1)
    answer = await Caller(site.app).open("POST", "/legacy/digest", data=data)
    assert (answer.status, answer.json()["code"]) == (413, "TOO_LARGE")
    assert answer.headers["X-Frame-Options"] == "DENY"


async def test_a_request_whose_client_hangs_up_within_its_body_is_not_passed_on(site):
    message_types: list[str] = []
    messages = [{"type": "http.request", "body": b"half", "more_body": True}]

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        message_types.append(message["type"])

    scope = request_to("/legacy/digest", "POST")
    scope["headers"].append((b"content-length", b"10"))
    await site.app(scope, receive, send)
    assert message_types == []
    assert site.services.wsgi_threads._threads == []


async def test_a_body_that_never_arrives_takes_no_thread_and_times_out(site, monkeypatch):
    monkeypatch.setattr(wsgi, "BODY_S", 0.05)
    answers = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        answers.append(message)

    scope = request_to("/legacy/digest", "POST")
    await site.app(scope, receive, send)
    assert answers[0]["status"] == 408
    assert site.services.wsgi_threads._threads == []


async def test_the_headers_of_a_legacy_answer_are_sent_unchanged(site):
    answer = await Caller(site.app).get("/legacy/headers")
    assert answer.headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]
    assert answer.headers.getlist("Set-Cookie") == ["first=1; Path=/", "second=2; Path=/"]
    assert "Date" not in answer.headers  # the server adds it
    page = await Caller(site.app).get("/legacy/page")
    assert not set(SECURITY_HEADERS) & set(page.headers.keys())


async def test_no_check_of_the_new_server_applies_to_legacy_paths(site):
    headers = {"Origin": "https://elsewhere.example", "X-BAS-Tenant": "plant"}
    headers["Cookie"] = "bas_session_id=whatever"
    answer = await Caller(site.app).open("POST", "/legacy/echo", data=b"a=1", headers=headers)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/legacy/gone", 410, None),
        ("GET", "/legacy/moved", 302, None),
        ("GET", "/legacy/empty", 204, b""),
        ("HEAD", "/legacy/echo", 200, b""),
        ("HEAD", "/legacy/pieces", 200, b""),
        ("GET", "/legacy/pieces", 200, b"".join(b"piece %d\n" % n for n in range(5))),
        ("DELETE", "/legacy/echo", 405, None),
    ],
)
async def test_every_kind_of_legacy_answer_is_passed_on(site, method, path, status, body):
    answer = await Caller(site.app).open(method, path)
    assert answer.status == status
    assert body is None or answer.body == body


async def test_a_header_cannot_be_forged_by_one_with_an_underscore(site):
    sent = [
        (b"x_test", b"forged"),
        (b"proxy", b"http://evil"),
        (b"x-test", b"a"),
        (b"x-test", b"b"),
    ]
    answer = await exchange(site.app, "GET", "/legacy/echo", headers=sent)
    assert answer.json()["header"] == "a,b"
    cookies = [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
    answer = await exchange(site.app, "GET", "/legacy/echo", headers=cookies)
    assert answer.json()["cookies"] == {"a": "1", "b": "2"}


async def test_the_legacy_application_publishes_to_the_same_hub(site):
    stream = await asyncio.to_thread(site.services.sse.subscribe, "client-1")
    answer = await Caller(site.app).get("/legacy/publish")
    assert answer.json() == {"deliveries": 1}
    stream.close()


@pytest.mark.parametrize("name", ["broken", "leaving", "injecting"])
async def test_a_plain_wsgi_application_that_fails_gets_500(config, clock, name):
    async with served(config, clock, legacy_wsgi=f"tests.support.legacy_app:{name}") as site:
        answer = await Caller(site.app).get("/anything")
        assert (answer.status, answer.json()["code"]) == (500, "INTERNAL")
        assert b"a bug" not in answer.body


async def test_calls_beyond_the_limit_get_503(config, clock):
    async with served(config, clock, legacy_wsgi=APP, sync_threads=1) as site:
        caller = Caller(site.app)
        calls = [caller.get("/legacy/slow?seconds=0.1") for _ in range(12)]
        answers = await asyncio.gather(*calls)
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] * 9 + [503] * 3
    refused = next(answer for answer in answers if answer.status == 503)
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("BUSY", "2")


@pytest.mark.parametrize(
    "name",
    ["no_such_package:app", "tests.support.legacy_app:nothing", "tests.support.legacy_app:taken"],
)
def test_the_error_for_an_application_that_cannot_be_loaded_names_its_variable(name):
    with pytest.raises(LegacyAppError, match=f"BAS_LEGACY_WSGI={name}"):
        load(name)


@pytest.mark.parametrize("text", ["raise RuntimeError('broken')", "import sys; sys.exit(0)", "]"])
def test_any_failure_of_its_import_becomes_one_clear_error(tmp_path: Path, monkeypatch, text):
    (tmp_path / "failing_app.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("failing_app", None)
    with pytest.raises(LegacyAppError, match="BAS_LEGACY_WSGI=failing_app:app"):
        load("failing_app:app")


def test_load_returns_the_application_object():
    assert load(APP) is legacy_app.app


async def test_a_client_that_reads_nothing_is_cut_off_and_its_thread_is_free_again(
    site, monkeypatch
):
    monkeypatch.setattr(wsgi, "STALL_S", 0.05)
    legacy_app.closed.clear()
    cut = []

    class Transport:
        def abort(self):
            cut.append(1)

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    scope = {**request_to("/legacy/endless"), "state": {"transport": Transport()}}
    async with asyncio.timeout(60):
        await site.app(scope, receive, send)
    assert (cut, legacy_app.closed.is_set()) == ([1], True)
    assert site.services.wsgi_threads._pending == 0


async def test_a_client_that_reads_a_large_answer_slowly_gets_all_of_it(site, monkeypatch):
    monkeypatch.setattr(wsgi, "STALL_S", 0.4)
    received = bytearray()

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message):
        body = message.get("body", b"")
        await asyncio.sleep(len(body) / legacy_app.LARGE)  # the whole answer takes a second
        received.extend(body)

    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    async with asyncio.timeout(60):
        await site.app(request_to("/legacy/large"), receive, send)
    assert len(received) == legacy_app.LARGE


async def test_simultaneous_large_bodies_are_bounded_and_later_ones_are_accepted_again(
    site, monkeypatch
):
    monkeypatch.setattr(wsgi, "LARGE_MAX", 1)
    caller = Caller(site.app)
    held = asyncio.Event()

    async def receive():
        if messages:
            return messages.pop()
        await held.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(message)

    messages = [{"type": "http.request", "body": b"x" * 300_000, "more_body": True}]
    scope = request_to("/legacy/digest", "POST")
    first = asyncio.create_task(site.app(scope, receive, send))
    await eventually(lambda: not messages, "the first large body is being read")
    data = b"y" * 300_000
    refused = await caller.open("POST", "/legacy/digest", data=data)
    assert (refused.status, refused.json()["code"]) == (503, "BUSY")
    assert (await caller.open("POST", "/legacy/digest", data=b"small")).status == 200
    held.set()
    await first
    assert (await caller.open("POST", "/legacy/digest", data=data)).status == 200
