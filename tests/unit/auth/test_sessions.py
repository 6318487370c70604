"""Sessions: how many, how long, and to which browser they belong."""

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


async def test_without_a_session_a_protected_route_says_so(container):
    answer = await Caller(container.app).get("/api/telemetry")
    assert (answer.status, answer.json()) == (401, INVALID_ID)


@pytest.mark.parametrize("secret", ["", "x", "123456789"])
async def test_a_session_id_of_less_than_ten_characters_is_none(container, secret):
    answer = await Caller(container.app).get("/api/telemetry", headers={"X-Session-ID": secret})
    assert (answer.status, answer.json()) == (401, INVALID_ID)


@pytest.mark.parametrize("secret", ["1234567890", "é" * 20, "'; DROP TABLE sessions; --"])
async def test_an_unknown_session_is_invalid(container, secret):
    answer = await Caller(container.app).get("/api/telemetry", headers={"X-Session-ID": secret})
    assert (answer.status, answer.json()) == (401, INVALID)


async def test_a_session_ends_after_its_time_however_much_it_is_used(container, clock):
    caller = await logged_in(container, "reader")
    for _ in range(3):
        clock.advance(599)
        assert (await caller.get("/api/telemetry")).status == 200
    clock.advance(3)
    answer = await caller.get("/api/telemetry")
    assert (answer.status, answer.json()) == (401, INVALID)


async def test_a_session_outlives_a_restart(config, clock):
    async with served(config, clock) as container:
        caller = await logged_in(container, "reader")
    async with served(config, clock) as container:
        again = Caller(container.app, headers=caller.headers)
        assert await alive(again) == [True]


async def test_one_session_too_many_ends_the_oldest(container, clock):
    callers = []
    for _ in range(5):
        callers.append(await logged_in(container, "reader"))
        clock.advance(1)
    assert await alive(*callers) == [False, False, True, True, True]


async def test_the_number_of_sessions_is_a_setting_and_counts_for_each_user(config, clock):
    async with served(config, clock, max_concurrent_sessions=1) as container:
        first = await logged_in(container, "reader")
        other = await logged_in(container, "operator")
        clock.advance(1)
        second = await logged_in(container, "reader")
        assert await alive(first, other, second) == [False, True, True]


async def test_log_ins_at_once_leave_no_more_sessions_than_allowed(container):
    callers = await asyncio.gather(*(logged_in(container, "reader") for _ in range(5)))
    assert sum(await alive(*callers)) <= 3


async def test_expired_sessions_do_not_hide_the_live_ones(container, clock):
    # Retention, or Firestore's within a day, may leave many behind.
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


async def test_another_browser_is_refused_and_the_owners_session_survives(container):
    owner = await logged_in(container, "reader")
    thief = Caller(container.app, headers=owner.headers | {"User-Agent": "another browser"})
    answer = await thief.get("/api/telemetry")
    assert (answer.status, answer.json()) == (401, INVALID)
    assert await alive(owner) == [True]


async def test_a_request_without_user_agent_is_another_browser(container):
    owner = await logged_in(container, "reader")
    thief = Caller(container.app, headers=owner.headers | {"User-Agent": ""})
    assert await alive(thief) == [False]


@pytest.mark.parametrize("path", ["/api/telemetry", "/auth/status", "/api/status"])
async def test_another_browser_is_audited_wherever_it_tries(container, path):
    owner = await logged_in(container, "reader")
    thief = Caller(
        container.app, "203.0.113.66", headers=owner.headers | {"User-Agent": "another browser"}
    )
    await thief.get(path)
    (entry,) = await audited(container, "ACCESS_DENIED")
    assert (entry.username, entry.address) == ("reader", "203.0.113.66")
    assert (entry.success, entry.details["code"]) == (False, "SESSION_INVALID")


async def test_a_session_is_not_bound_to_address_or_languages(container):
    owner = await logged_in(container, "reader")
    moved = Caller(container.app, "203.0.113.5", headers=owner.headers | {"Accept-Language": "de"})
    assert await alive(moved) == [True]


async def test_the_header_wins_over_the_cookie(container):
    reader, operator = [await logged_in(container, name) for name in ("reader", "operator")]
    answer = await operator.get(
        "/auth/status", headers={"Cookie": f"bas_session_id={reader.session}"}
    )
    assert answer.json()["user"]["username"] == "operator"


async def test_a_new_password_ends_every_session(container):
    callers = [await logged_in(container, "reader") for _ in range(2)]
    assert await container.base.admin.set_password("reader", "another password") == 2
    assert await alive(*callers) == [False, False]
    assert (await Caller(container.app).log_in("reader", PASSWORD)).status == 401
    assert (await Caller(container.app).log_in("reader", "another password")).status == 200


async def test_a_role_counts_from_the_moment_it_is_changed(container):
    caller = await logged_in(container, "operator")
    await container.base.stores.users.update_user("operator", {"role": "read-only"})
    answer = await caller.post("/api/set_setpoint", {"setpoint_tenths": 210})
    assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.sqlite_only("it reads the files of SQLite")
async def test_the_store_keeps_no_session_id_that_could_be_used(container, config):
    caller = await logged_in(container, "reader")
    files = [path for path in config.data_dir.iterdir() if path.is_file()]
    assert files
    for path in files:
        assert caller.session.encode() not in path.read_bytes()
        assert PASSWORD.encode() not in path.read_bytes()
