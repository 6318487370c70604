"""Sessions: their number, what ends them, and what they are bound to."""

from __future__ import annotations

import asyncio

import pytest

from server.services.firestore.models import Session
from tests.conftest import PASSWORD
from tests.support.http import Caller, audited, logged_in, served

INVALID_ID = {
    "error": "Invalid session ID",
    "message": "Please login again",
    "code": "INVALID_SESSION_ID",
}
INVALID = {
    "error": "Invalid or expired session",
    "message": "Please login again",
    "code": "SESSION_INVALID",
}


async def alive(*callers):
    return [(await caller.get("/api/telemetry")).status == 200 for caller in callers]


async def test_a_protected_route_without_a_session_answers_invalid_session_id(container):
    answer = await Caller(container.app).get("/api/telemetry")
    assert (answer.status, answer.json()) == (401, INVALID_ID)


@pytest.mark.parametrize("secret", ["", "x", "123456789"])
async def test_a_session_id_of_less_than_ten_characters_is_invalid(container, secret):
    answer = await Caller(container.app).get("/api/telemetry", headers={"X-Session-ID": secret})
    assert (answer.status, answer.json()) == (401, INVALID_ID)


@pytest.mark.parametrize("secret", ["1234567890", "é" * 20, "'; DROP TABLE sessions; --"])
async def test_an_unknown_session_is_invalid(container, secret):
    answer = await Caller(container.app).get("/api/telemetry", headers={"X-Session-ID": secret})
    assert (answer.status, answer.json()) == (401, INVALID)


async def test_a_program_s_session_ends_after_its_timeout_even_if_it_is_used(container, clock):
    caller = await logged_in(container, "reader")
    for _ in range(3):
        clock.advance(599)
        assert (await caller.get("/api/telemetry")).status == 200
    clock.advance(3)
    answer = await caller.get("/api/telemetry")
    assert (answer.status, answer.json()) == (401, INVALID)


async def test_a_session_is_kept_over_a_restart(config, clock):
    async with served(config, clock) as container:
        caller = await logged_in(container, "reader")
    async with served(config, clock) as container:
        again = Caller(container.app, headers=caller.headers)
        assert await alive(again) == [True]


async def test_a_session_beyond_the_limit_ends_the_oldest_one(container, clock):
    callers = []
    for _ in range(5):
        callers.append(await logged_in(container, "reader"))
        clock.advance(1)
    assert await alive(*callers) == [False, False, True, True, True]


async def test_the_limit_of_sessions_is_a_setting_and_applies_to_each_user(config, clock):
    async with served(config, clock, max_concurrent_sessions=1) as container:
        first = await logged_in(container, "reader")
        other = await logged_in(container, "operator")
        clock.advance(1)
        second = await logged_in(container, "reader")
        assert await alive(first, other, second) == [False, True, True]


async def test_simultaneous_log_ins_do_not_exceed_the_limit_of_sessions(container):
    callers = await asyncio.gather(*(logged_in(container, "reader") for _ in range(5)))
    assert sum(await alive(*callers)) <= 3


async def test_expired_sessions_do_not_hide_the_live_ones(container, clock):
    # Before retention, or Firestore itself, deletes them, many may remain.
    store = container.base.stores.sessions
    for number in range(210):
        await store.create_session(
            Session(
                user_id="reader",
                role="read-only",
                digest=f"old{number}",
                username="reader",
                tenant_id="default",
                user_agent_digest="",
                address="",
                created_at=clock.now_ms() - 10_000_000 + number,
                expires_at=clock.now_ms() - 1,
                expire_at=clock.now_ms() - 1,
            )
        )
    caller = await logged_in(container, "reader")
    assert await container.base.admin.set_password("reader", "another password") == 1
    assert await alive(caller) == [False]


@pytest.mark.parametrize("agent", ["another browser", "", "x" * 5000])
async def test_another_browser_is_not_refused(container, agent):
    """ASVS v5.0.0-16.3.3 covers what replaces the refusal: the change is audited."""
    owner = await logged_in(container, "reader")
    updated = Caller(container.app, headers=owner.headers | {"User-Agent": agent})
    assert await alive(updated, owner) == [True, True]


@pytest.mark.parametrize("path", ["/api/telemetry", "/auth/status", "/api/status"])
async def test_a_changed_browser_is_audited_once_for_each_session_on_every_route(container, path):
    """ASVS v5.0.0-16.3.3."""
    owner = await logged_in(container, "reader")
    headers = owner.headers | {"User-Agent": "another browser " * 100}
    changed = Caller(container.app, "203.0.113.66", headers=headers)
    await asyncio.gather(*(changed.get(path) for _ in range(5)))
    await Caller(container.app, headers=owner.headers | {"User-Agent": "a third one"}).get(path)
    await owner.get(path)
    (entry,) = await audited(container, "USER_AGENT_CHANGED")
    assert (entry.username, entry.address, entry.success) == ("reader", "203.0.113.66", True)
    assert entry.details["path"] == path
    assert entry.details["user_agent"] == ("another browser " * 100)[:200]
    again = await logged_in(container, "reader")
    await Caller(container.app, headers=again.headers | {"User-Agent": "a third one"}).get(path)
    assert len(await audited(container, "USER_AGENT_CHANGED")) == 2


async def test_a_changed_browser_is_audited_once_by_two_processes(config, clock):
    """ASVS v5.0.0-16.3.3."""
    async with served(config, clock) as one, served(config, clock) as other:
        owner = await logged_in(one, "reader")
        headers = owner.headers | {"User-Agent": "another browser"}
        changed = [Caller(server.app, headers=headers) for server in (one, other)]
        assert await alive(*changed) == [True, True]
        assert len(await audited(one, "USER_AGENT_CHANGED")) == 1


async def test_a_session_is_bound_neither_to_an_address_nor_to_languages(container):
    owner = await logged_in(container, "reader")
    moved = Caller(container.app, "203.0.113.5", headers=owner.headers | {"Accept-Language": "de"})
    assert await alive(moved) == [True]


async def test_the_session_header_has_priority_over_the_cookie(container):
    reader, operator = [await logged_in(container, name) for name in ("reader", "operator")]
    answer = await operator.get(
        "/auth/status", headers={"Cookie": f"bas_session_id={reader.session}"}
    )
    assert answer.json()["user"]["username"] == "operator"


@pytest.mark.parametrize("header", ["x", "no such session", "x" * 300, "ended"])
async def test_a_cookie_counts_beside_a_session_header_that_is_no_session(container, header):
    reader = await logged_in(container, "reader")
    if header == "ended":
        operator = await logged_in(container, "operator")
        await operator.post("/auth/logout")
        header = operator.session
    cookie = {"Cookie": f"bas_session_id={reader.session}", "X-Session-ID": header}
    answer = await Caller(container.app).get("/auth/status", headers=cookie)
    assert (answer.status, answer.json()["user"]["username"]) == (200, "reader")


async def test_a_new_password_ends_every_session_of_the_user(container):
    callers = [await logged_in(container, "reader") for _ in range(2)]
    assert await container.base.admin.set_password("reader", "another password") == 2
    assert await alive(*callers) == [False, False]
    assert (await Caller(container.app).log_in("reader", PASSWORD)).status == 401
    assert (await Caller(container.app).log_in("reader", "another password")).status == 200


async def test_a_changed_role_applies_to_existing_sessions_at_once(container):
    caller = await logged_in(container, "operator")
    await container.base.stores.users.update_user("operator", {"role": "read-only"})
    answer = await caller.post("/api/set_setpoint", {"setpoint_tenths": 210})
    assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.sqlite_only("it reads the files of SQLite")
async def test_the_store_contains_no_usable_session_id_or_password(container, config):
    caller = await logged_in(container, "reader")
    files = [path for path in config.data_dir.iterdir() if path.is_file()]
    assert files
    for path in files:
        assert caller.session.encode() not in path.read_bytes()
        assert PASSWORD.encode() not in path.read_bytes()
