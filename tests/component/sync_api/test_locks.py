"""Locks that are set or checked by the sync faces, beside those of wrong passwords."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.http import Caller, audited, logged_in

HOME, STRANGER = "203.0.113.1", "203.0.113.9"


async def fail(caller, times, name="operator"):
    answers = await asyncio.gather(*(caller.log_in(name, "wrong password") for _ in range(times)))
    return sorted(answer.status for answer in answers)


@pytest.fixture
def caller(container):
    return Caller(container.app, STRANGER)


async def test_unlock_user_ends_a_lock_that_was_set_by_hand(container, in_thread, caller):
    until_ms = container.base.site_clock.now_ms() + 86_400_000
    assert await in_thread(container.services.users.lock_user, "operator", until_ms)
    assert (await caller.log_in("operator")).status == 423
    assert await container.base.admin.unlock_user("operator") == (True, True, 0)
    assert (await caller.log_in("operator")).status == 200


async def test_a_lock_by_hand_is_audited_with_its_reason_and_end(container, in_thread):
    """ASVS v5.0.0-16.2.1: an entry says when, where, who and what."""
    until_ms = container.base.site_clock.now_ms() + 60_000
    await in_thread(container.services.users.lock_user, "operator", until_ms)
    (entry,) = await audited(container, "USER_LOCKED")
    assert entry.details == {"reason": "set_by_hand", "until_ms": until_ms}


async def test_a_lock_by_hand_holds_at_a_known_address_and_ends_sessions(container, in_thread):
    home = await logged_in(container, "operator", address=HOME)
    until_ms = container.base.site_clock.now_ms() + 60_000
    await in_thread(container.services.users.lock_user, "operator", until_ms)
    assert (await home.get("/auth/status")).status == 401
    assert (await home.log_in("operator")).status == 423


async def test_the_old_application_opens_sessions_despite_a_stranger_s_lock(
    container, in_thread, caller
):
    """ASVS v5.0.0-6.1.3: the other way to log in has the same rules."""
    create = container.services.sessions.create_session
    about = {"ip_address": HOME}
    assert await in_thread(create, "operator", "operator", "operator", 60, about)
    assert await fail(caller, 5) == [401] * 5
    assert await in_thread(create, "operator", "operator", "operator", 60, about)
    elsewhere = {"ip_address": STRANGER}
    assert await in_thread(create, "operator", "operator", "operator", 60, elsewhere) is None
    assert (await Caller(container.app, HOME).log_in("operator")).status == 200
