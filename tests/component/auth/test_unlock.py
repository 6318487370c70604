"""An operator at the console ends a lock at once, and the audit log says who did."""

from __future__ import annotations

import asyncio
import os
import pwd

import pytest

from server.services.ports.documents import Query
from tests.support.http import Caller, audited, logged_in

HOME, STRANGER = "203.0.113.1", "203.0.113.9"


async def fail(caller, times, name="operator"):
    answers = await asyncio.gather(*(caller.log_in(name, "wrong password") for _ in range(times)))
    return sorted(answer.status for answer in answers)


@pytest.fixture
def caller(container):
    return Caller(container.app, STRANGER)


async def test_unlock_user_ends_the_lock_and_gives_all_attempts_back(container, caller):
    assert await fail(caller, 5) == [401] * 5
    assert await container.base.admin.unlock_user("operator") == (True, True, 5)
    assert await fail(caller, 5) == [401] * 5
    assert await container.base.admin.unlock_user("operator") == (True, True, 5)
    assert (await caller.log_in("operator")).status == 200


async def test_unlock_user_ends_the_waits_of_the_user_at_all_addresses_and_no_other_user_s(
    container,
):
    callers = {
        (name, address): await logged_in(container, name, address=address)
        for name in ("operator", "reader")
        for address in (HOME, STRANGER)
    }
    for (name, _), caller in callers.items():
        assert await fail(caller, 3, name) == [401, 401, 429]
    assert await container.base.admin.unlock_user("operator") == (True, False, 0)
    statuses = {who: (await one.log_in(who[0])).status for who, one in callers.items()}
    assert statuses == {who: 200 if who[0] == "operator" else 429 for who in callers}


async def test_unlock_user_works_for_a_name_that_is_no_account(container, caller):
    assert await fail(caller, 6, "nobody") == [401] * 5 + [423]
    assert await container.base.admin.unlock_user("nobody") == (False, True, 5)
    assert await fail(caller, 1, "nobody") == [401]
    assert await container.base.admin.unlock_user("never heard of") == (False, False, 0)


async def test_a_new_password_ends_the_lock_and_the_waits(container, caller):
    home = await logged_in(container, "operator", address=HOME)
    assert await fail(home, 3) == [401, 401, 429]
    assert await fail(caller, 5) == [401] * 5
    await container.base.admin.set_password("operator", "another long password")
    for one in (caller, home):
        assert (await one.log_in("operator", "another long password")).status == 200


async def test_an_unlock_is_audited_with_its_actor(container, caller):
    """ASVS v5.0.0-16.2.1: an entry says when, where, who and what."""
    await fail(caller, 5)
    await container.base.admin.unlock_user("operator")
    (entry,) = await audited(container, "USER_UNLOCKED")
    actor = f"{pwd.getpwuid(os.getuid()).pw_name}@command line"
    assert (entry.username, entry.details) == (actor, {"user": "operator"})


async def test_a_deleted_user_leaves_neither_counts_nor_addresses(container, caller):
    await logged_in(container, "operator", address=HOME)
    await fail(caller, 2)
    lockout, client = container.base.auth.lockout, container.base.client
    await client.write(lockout.departure("operator"))
    assert not await lockout.knows("operator", HOME)
    assert (await lockout.accounts.counted("operator")).count == 0
    assert (await client.query(Query("known_addresses"), 10)).documents == []
