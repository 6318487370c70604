"""Users change their own password, and a thief of a session does not."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import PASSWORD
from tests.support.http import ADDRESS, Caller, audited, logged_in

NEW = "a new long password"


async def change(caller, old=PASSWORD, new=NEW):
    return await caller.post("/auth/password", {"old_password": old, "password": new})


@pytest.mark.parametrize("name", ["reader", "operator", "admin"])
async def test_every_user_changes_the_own_password(container, name):
    """ASVS v5.0.0-6.2.2."""
    answer = await change(await logged_in(container, name))
    assert (answer.status, answer.json()) == (200, {"success": True, "sessions_ended": 0})
    assert (await Caller(container.app).log_in(name)).status == 401
    assert (await Caller(container.app).log_in(name, NEW)).status == 200
    (entry,) = await audited(container, "PASSWORD_CHANGED")
    assert (entry.username, entry.address, entry.details) == (
        name,
        ADDRESS,
        {"user": name, "sessions_ended": 0},
    )


async def test_the_session_that_changes_the_password_goes_on_and_the_others_end(container):
    """ASVS v5.0.0-7.4.3."""
    callers = [await logged_in(container, "reader") for _ in range(3)]
    answer = await change(callers[1])
    assert answer.json()["sessions_ended"] == 2
    assert [(await one.get("/auth/status")).status for one in callers] == [401, 200, 401]


async def test_without_the_old_password_nothing_changes(container):
    """ASVS v5.0.0-6.2.3."""
    caller, other = [await logged_in(container, "reader") for _ in range(2)]
    answer = await change(caller, "a wrong password")
    assert (answer.status, answer.json()["code"]) == (403, "WRONG_PASSWORD")
    for body in ({"password": NEW}, {"old_password": PASSWORD}, {}):
        assert (await caller.post("/auth/password", body)).status == 400
    assert (await other.get("/auth/status")).status == 200
    assert (await Caller(container.app).log_in("reader")).status == 200
    (entry,) = await audited(container, "PASSWORD_CHANGE_REFUSED")
    assert (entry.username, entry.success, entry.details) == ("reader", False, {"user": "reader"})


async def test_a_stolen_session_is_no_way_to_guess_the_password(container, clock):
    """ASVS v5.0.0-6.3.1: as many guesses as a log-in has, and the user is not shut out."""
    thief = await logged_in(container, "reader")
    answers = await asyncio.gather(*(change(thief, f"guess number {n}") for n in range(7)))
    assert sorted(one.status for one in answers) == [403] * 5 + [429] * 2
    refused = await change(thief)
    assert (refused.status, refused.json()["code"]) == (429, "RATE_LIMITED")
    assert int(refused.headers["Retry-After"]) == 900
    assert (await Caller(container.app).log_in("reader")).status == 200
    clock.advance(900)
    assert (await change(thief)).status == 200


async def test_a_right_password_clears_the_count_of_wrong_ones(container):
    caller = await logged_in(container, "reader")
    for old, new in ((PASSWORD, NEW), (NEW, "another long password")):
        for number in range(4):
            assert (await change(caller, f"guess number {number}")).status == 403
        assert (await change(caller, old, new)).status == 200


async def test_a_new_password_that_is_not_allowed_is_named(container):
    caller = await logged_in(container, "reader")
    answer = await change(caller, new="short")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert answer.json()["message"].startswith("password:")


async def test_a_password_that_an_admin_sets_during_the_change_wins(container, monkeypatch):
    """ASVS v5.0.0-15.4.2: the old password is that of the account as it is written."""
    caller = await logged_in(container, "reader")
    passwords = container.base.auth.passwords
    verify = passwords.verify

    async def verify_slowly(*about):
        right = await verify(*about)
        await container.base.admin.set_password("reader", "chosen by the admin")
        return right

    monkeypatch.setattr(passwords, "verify", verify_slowly)
    answer = await change(caller)
    assert (answer.status, answer.json()["code"]) == (409, "PASSWORD_CHANGED")
    monkeypatch.undo()
    assert (await Caller(container.app).log_in("reader", "chosen by the admin")).status == 200
