"""GET /api/audit: the entries of a user, an action and a time, in pages."""

from __future__ import annotations

import re

import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from tests.support.http import ADDRESS, Caller, logged_in

PATH = "/api/audit"


@pytest.fixture
async def admin(container, clock):
    """An admin, and entries of three users, a second apart."""
    admin = await logged_in(container, "admin")
    for number in range(3):
        for name in ("operator", "reader"):
            clock.advance(1)
            caller = await logged_in(container, name)
            clock.advance(1)
            await caller.post("/api/set_setpoint", {"setpoint_tenths": 210 + number})
    return admin


async def found(caller, query):
    answer = await caller.get(f"{PATH}?{query}")
    assert answer.status == 200, answer.body
    return [(one["username"], one["action"]) for one in answer.json()["data"]]


async def test_a_page_has_the_entries_of_recent_and_says_whether_there_are_more(admin):
    page = (await admin.get(f"{PATH}?limit=4")).json()
    assert page["data"] == (await admin.get("/api/audit/recent?limit=4")).json()
    assert (page["has_more"], isinstance(page["last_doc_id"], str)) == (True, True)
    whole = (await admin.get(PATH)).json()
    assert (whole["has_more"], whole["last_doc_id"]) == (False, None)


async def test_pages_follow_each_other_without_a_gap_and_new_entries_do_not_move_them(
    container, admin
):
    whole = (await admin.get(PATH)).json()["data"]
    pages, cursor = [], ""
    while cursor is not None:
        page = (await admin.get(f"{PATH}?limit=3&start_after={cursor}")).json()
        pages += page["data"]
        cursor = page["last_doc_id"]
        await logged_in(container, "operator")
    assert pages == whole


async def test_entries_of_a_user_and_of_an_action_are_found_alone_and_together(admin):
    changes = [("operator", "SETPOINT_CHANGE")] * 3
    assert await found(admin, "action=SETPOINT_CHANGE") == changes
    assert await found(admin, "user=operator&action=SETPOINT_CHANGE") == changes
    assert await found(admin, "user=reader&action=SETPOINT_CHANGE") == []
    assert set(await found(admin, "user=reader")) == {
        ("reader", "LOGIN_SUCCESS"),
        ("reader", "ACCESS_DENIED"),
    }
    assert await found(admin, "user=nobody") == []


async def test_a_time_limits_the_entries_at_both_ends_inclusively(admin):
    entries = (await admin.get(PATH)).json()["data"]
    start, end = entries[5]["timestamp"], entries[2]["timestamp"]
    answer = await admin.get(f"{PATH}?start={start}&end={end}")
    assert answer.json()["data"] == entries[2:6]
    mine = [one for one in entries[2:6] if one["username"] == "operator"]
    answer = await admin.get(f"{PATH}?start={start}&end={end}&user=operator")
    assert answer.json()["data"] == mine != []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "INVALID_FIELD"),
        ("limit=1001", "INVALID_FIELD"),
        ("start=-1", "INVALID_FIELD"),
        ("start=2&end=1", "INVALID_FIELD"),
        ("start=now", "INVALID_FIELD"),
        ("start_after=x", "INVALID_CURSOR"),
        ("start_after=" + "x" * 1025, "INVALID_FIELD"),
        ("user=" + "x" * 257, "INVALID_FIELD"),
    ],
)
async def test_an_impossible_query_is_refused_and_says_why(admin, query, code):
    answer = await admin.get(f"{PATH}?{query}")
    assert (answer.status, answer.json()["code"]) == (400, code)


async def test_only_an_admin_reads_the_log_and_only_that_of_the_own_tenant(container, admin):
    """OWASP ASVS 5.0, V8.2.1 and V8.4.1: access by function, and no access to other tenants."""
    assert (await Caller(container.app).get(PATH)).status == 401
    for name in ("reader", "operator"):
        assert (await (await logged_in(container, name)).get(PATH)).status == 403
    stranger = await logged_in(container, "stranger")
    assert {user for user, _ in await found(stranger, "")} == {"stranger"}
    assert await found(stranger, "user=operator") == []


async def test_an_old_value_is_listed_beside_each_new_one(container, admin, clock):
    """OWASP ASVS 5.0, V16.2.1: an entry has what an investigation needs: when, where, who, what."""
    operator = await logged_in(container, "operator")
    for device in ("attic", "lab"):
        body = {"temp_tenths": 200, "sensor_ok": True, "device_id": device}
        assert (await operator.post("/api/sensor_data", body)).status == 200
    own = {"device_id": "lab", "setpoint_tenths": 180}
    for body in (own, own | {"deadband_tenths": 5}, {"setpoint_tenths": 220}):
        clock.advance(1)
        assert (await operator.post("/api/set_setpoint", body)).status == 200
    entries = (await admin.get(f"{PATH}?action=SETPOINT_CHANGE&limit=3")).json()["data"]
    everywhere, second, first = (one["details"] for one in entries)
    assert (first["old_setpoint_tenths"], first["setpoint_tenths"]) == (212, 180)
    assert (second["old_setpoint_tenths"], second["old_deadband_tenths"]) == (180, 10)
    assert (second["setpoint_tenths"], second["deadband_tenths"]) == (180, 5)
    assert (everywhere["old_setpoint_tenths"], everywhere["setpoint_tenths"]) == (212, 220)
    assert everywhere["old_of_zones"] == [
        {"device_id": "lab", "setpoint_tenths": 180, "deadband_tenths": 5}
    ]


async def test_a_log_out_is_audited_once_with_its_user(container, admin):
    """OWASP ASVS 5.0, V16.3.1: all authentication operations are logged."""
    operator = await logged_in(container, "operator")
    secret = operator.session
    for _ in range(2):
        assert (await operator.post("/auth/logout", {})).status == 200
    assert (
        await Caller(container.app).post("/auth/logout", {"session_id": "x" * 30})
    ).status == 200
    (entry,) = (await admin.get(f"{PATH}?action=LOGOUT")).json()["data"]
    assert (entry["username"], entry["address"], entry["success"]) == ("operator", ADDRESS, True)
    assert secret not in str(entry)


async def test_a_session_that_a_log_in_pushes_out_is_audited(container, admin, clock):
    """OWASP ASVS 5.0, V16.3.1: all authentication operations are logged."""
    for number in range(5):
        clock.advance(1)
        await logged_in(container, "stranger", address=f"192.0.2.{number}")
    stranger = await logged_in(container, "stranger")
    entries = (await stranger.get(f"{PATH}?action=SESSION_ENDED")).json()["data"]
    opened_from = sorted(one["details"]["opened_from"] for one in entries)
    assert opened_from == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    assert {one["username"] for one in entries} == {"stranger"}
    assert {one["details"]["reason"] for one in entries} == {"too many sessions"}


async def test_a_name_that_is_no_account_is_stored_as_the_same_digest_each_time(
    container, admin, clock
):
    """OWASP ASVS 5.0, V16.2.5: credentials are not logged, and may only be logged hashed."""
    caller = Caller(container.app, address="192.0.2.77")
    for name in ("my secret password", "my secret password", "another"):
        clock.advance(1)
        assert (await caller.log_in(name, "x")).status == 401
    clock.advance(1)
    assert (await caller.log_in("operator", "x")).status == 401
    entries = (await admin.get(f"{PATH}?action=LOGIN_FAILURE")).json()["data"]
    newest, another, second, first = (one["username"] for one in entries)
    assert newest == "operator"
    assert first == second != another
    assert re.fullmatch(r"unknown:[0-9a-f]{20}", first)
    assert re.fullmatch(r"unknown:[0-9a-f]{20}", another)
    assert "secret" not in str(entries)
    assert "another" not in str(entries)


async def test_sites_have_different_digests_of_a_name(container, tmp_path):
    """OWASP ASVS 5.0, V16.2.5: a digest that is in a table of common passwords hides nothing."""
    here = await container.base.stores.audit.no_account("password")
    async with open_base(ServerConfig(data_dir=tmp_path / "other")) as other:
        assert await other.stores.audit.no_account("password") != here
    assert await container.base.stores.audit.no_account("password") == here
