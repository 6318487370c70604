"""Plain `def` views on a blueprint: their requests, their answers, and their threads."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from quart import Blueprint

from server.common.metrics import Metrics
from server.sync_api import flask_views
from server.sync_api.flask_views import IteratorBody, Response, request
from server.sync_api.threads import Threads
from tests.support.http import Caller, exchange, logged_in, served
from tests.support.stream import eventually


class Shop:
    """The state that the views and a test share."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = 0
        self.closed = threading.Event()


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.gate.set()


@pytest.fixture
async def extended(config, clock, shop):
    """A server with a few sync views and two threads for them."""
    async with served(config, clock, sync_threads=2) as container:
        bp = Blueprint("legacy", __name__)
        guard, services = container.base.auth.guard, container.services

        @bp.route("/api/echo/<name>", methods=["GET", "POST"])
        def echo(name):
            return {
                "name": name,
                "method": request.method,
                "path": request.path,
                "args": request.args.get("q"),
                "header": request.headers.get("X-Test"),
                "cookie": request.cookies.get("flavour"),
                "address": request.remote_addr,
                "json": request.get_json(silent=True),
                "size": len(request.data),
                "thread": threading.current_thread().name,
            }

        @bp.post("/api/strict")
        @guard.require_auth("operator")
        def strict(principal):
            body = request.get_json()
            known = services.telemetry.add_telemetry(principal.tenant_id, "old", body)
            return {"stored": known, "by": principal.username}, 201

        @bp.get("/api/gate")
        def gate():
            shop.begun += 1
            shop.gate.wait(60)
            return "through"

        @bp.get("/api/pieces")
        def pieces():
            def make():
                try:
                    for number in range(3):
                        yield f"{number} {threading.current_thread().name[:5]}\n"
                finally:
                    shop.closed.set()

            return make(), 200, {"Content-Type": "text/plain"}

        @bp.get("/api/endless")
        def endless():
            def make():
                try:
                    while True:
                        yield b"data: x\n\n"
                finally:
                    shop.closed.set()

            return Response(make(), mimetype="text/event-stream")

        @bp.get("/api/broken")
        def broken():
            raise KeyError("a bug")

        @bp.get("/api/exhausted")
        def exhausted():
            return next(iter([]))

        @bp.get("/api/exit")
        def leave():
            raise SystemExit(3)

        container.app.register_blueprint(bp)
        yield container


async def test_a_view_gets_its_request_as_under_flask(extended):
    headers = {"X-Test": "yes", "Cookie": "flavour=mint"}
    answer = await Caller(extended.app).get("/api/echo/lab?q=1", headers=headers)
    seen = answer.json()
    assert seen.pop("thread").startswith("view-")
    assert seen == {
        "name": "lab",
        "method": "GET",
        "path": "/api/echo/lab",
        "args": "1",
        "header": "yes",
        "cookie": "mint",
        "address": "192.0.2.10",
        "json": None,
        "size": 0,
    }
    posted = (await Caller(extended.app).post("/api/echo/lab", {"a": [1]})).json()
    assert (posted["json"], posted["method"], posted["size"]) == (
        {"a": [1]},
        "POST",
        len('{"a": [1]}'),
    )


async def test_a_guarded_view_stores_through_a_face(extended):
    caller = await logged_in(extended, "operator")
    answer = await caller.post("/api/strict", {"temp_tenths": 218})
    assert (answer.status, answer.json()) == (201, {"stored": True, "by": "operator"})
    readings = await extended.base.stores.telemetry.query_recent("default", "old")
    assert [reading.temp_tenths for reading in readings] == [218]
    assert (await (await logged_in(extended, "reader")).post("/api/strict", {})).status == 403


async def test_a_body_that_is_no_json_is_refused_with_the_server_s_own_errors(extended):
    caller = await logged_in(extended, "operator")
    answer = await caller.post_text("/api/strict", "{")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON")
    answer = await caller.open("POST", "/api/strict", data=b"a=1")
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    huge = await caller.post_text("/api/strict", "x" * 300_000)
    assert huge.status == 413
    deep = await caller.post_text("/api/strict", "[" * 100_000)
    assert deep.status == 400


async def test_a_bug_in_a_view_gets_500_without_its_text(extended):
    answer = await Caller(extended.app).get("/api/broken")
    assert (answer.status, answer.json()["code"]) == (500, "INTERNAL")
    assert b"a bug" not in answer.body


@pytest.mark.parametrize("path", ["/api/exhausted", "/api/exit"])
async def test_a_view_that_raises_stop_iteration_or_system_exit_gets_500(extended, path):
    answer = await Caller(extended.app).get(path)
    assert (answer.status, answer.json()["code"]) == (500, "INTERNAL")
    assert (await Caller(extended.app).get("/api/echo/a")).status == 200


async def test_an_answer_may_be_generated_piece_by_piece_in_threads(extended, shop):
    answer = await Caller(extended.app).get("/api/pieces")
    assert answer.body == b"0 view-\n1 view-\n2 view-\n"
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert await asyncio.to_thread(shop.closed.wait, 60)


async def test_a_head_request_to_an_endless_answer_ends_at_once(extended):
    answer = await exchange(extended.app, "HEAD", "/api/endless")
    assert (answer.status, answer.body) == (200, b"")


async def test_an_endless_answer_ends_when_its_client_disconnects(extended, shop):
    answer = await exchange(extended.app, "GET", "/api/endless", frames=3)
    assert answer.body.startswith(b"data: x\n\n" * 3)
    assert await asyncio.to_thread(shop.closed.wait, 60)
    assert (await Caller(extended.app).get("/api/echo/lab")).status == 200


async def test_a_view_call_beyond_the_limit_gets_503_while_async_routes_are_answered(
    extended, shop
):
    caller = Caller(extended.app)
    calls = [asyncio.create_task(caller.get("/api/gate")) for _ in range(18)]
    await eventually(lambda: shop.begun == 2, "both threads are taken")
    await eventually(lambda: extended.services.view_threads._pending == 18, "all wait")
    refused = await caller.get("/api/gate")
    assert (refused.status, refused.json()["code"]) == (503, "BUSY")
    assert refused.headers["Retry-After"] == "2"
    assert (await caller.get("/healthz")).status == 200
    assert (await caller.get("/")).status == 200
    shop.gate.set()
    answers = await asyncio.gather(*calls)
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"through")}
    exposition = extended.base.metrics.exposition().decode()
    assert 'bas_sync_refusals_total{pool="view"} 1.0' in exposition


async def test_a_server_that_shuts_down_ends_calls_into_the_loop_and_leaves_no_thread(
    config, clock
):
    ended: list[str] = []
    begun = threading.Event()
    async with served(config, clock) as container:

        async def never() -> None:
            begun.set()
            await asyncio.Event().wait()

        def call() -> None:
            try:
                container.services.bridge.call(never, timeout=60)
            except Exception as error:
                ended.append(type(error).__name__)
                raise

        job = asyncio.create_task(container.services.view_threads.run(call))
        assert await asyncio.to_thread(begun.wait, 60)
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 30
    with pytest.raises(Exception, match="shutting down"):
        await job
    assert ended == ["BridgeClosed"]
    assert not [one for one in threading.enumerate() if one.name.startswith("view-")]


async def test_a_server_without_sync_callers_starts_no_threads_for_them(container):
    caller = await logged_in(container, "admin")
    for path in ("/", "/auth/login", "/static/style.css", "/api/telemetry", "/api/nothing"):
        await caller.get(path)
    assert container.services.view_threads._threads == []
    assert container.services.wsgi_threads._threads == []


async def test_a_client_that_reads_a_large_piece_slowly_is_not_cut_off(monkeypatch):
    monkeypatch.setattr(flask_views, "STALL_S", 0.4)
    threads, cut, taken = Threads("test", 1, Metrics()), [], 0
    async with IteratorBody(threads, iter([b"x" * 1_000_000]), lambda: cut.append(1)) as pieces:
        async for piece in pieces:
            await asyncio.sleep(len(piece) / 1_000_000)  # the whole answer takes a second
            taken += len(piece)
    threads.stop()
    await threads.join(5)
    assert (taken, cut) == (1_000_000, [])
