"""require_auth on views of every kind, as an extension would write them."""

from __future__ import annotations

import threading

import pytest
from quart import Blueprint, Response

from tests.support.http import Caller, logged_in


@pytest.fixture
async def extended(container):
    """The app with a few views of an extension."""
    bp = Blueprint("extension", __name__)
    guard = container.base.auth.guard

    @bp.get("/api/sync")
    @guard.require_auth("operator")
    def sync(principal):
        return {"user": principal.username, "thread": threading.current_thread().name}

    @bp.get("/api/sync/<name>")
    @guard.require_auth()
    def sync_with_argument(name, principal):
        return {"user": principal.username, "name": name}

    @bp.get("/api/async")
    @guard.require_auth("admin")
    async def asynchronous(principal):
        return {"tenant": principal.tenant_id, "role": principal.role}

    @bp.get("/api/response")
    @guard.require_auth()
    def response(principal):
        return Response(principal.username, status=202)

    container.app.register_blueprint(bp)
    return container


async def test_a_sync_view_gets_its_user_and_runs_outside_the_event_loop(extended):
    answer = await (await logged_in(extended, "operator")).get("/api/sync")
    assert answer.status == 200
    assert answer.json()["user"] == "operator"
    assert answer.json()["thread"] != threading.main_thread().name


async def test_a_sync_view_is_closed_to_other_callers(extended):
    assert (await Caller(extended.app).get("/api/sync")).status == 401
    assert (await (await logged_in(extended, "reader")).get("/api/sync")).status == 403


async def test_a_sync_view_keeps_its_arguments(extended):
    answer = await (await logged_in(extended, "reader")).get("/api/sync/lab")
    assert answer.json() == {"user": "reader", "name": "lab"}


async def test_an_async_view_gets_its_user(extended):
    answer = await (await logged_in(extended, "admin")).get("/api/async")
    assert answer.json() == {"tenant": "default", "role": "admin"}
    assert (await (await logged_in(extended, "operator")).get("/api/async")).status == 403


async def test_a_view_may_return_a_response_object(extended):
    answer = await (await logged_in(extended, "reader")).get("/api/response")
    assert (answer.status, answer.body) == (202, b"reader")
    assert answer.headers["X-Frame-Options"] == "DENY"
