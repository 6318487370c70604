"""Failed log-ins lock the user and delay the address for a time, and the store keeps both.

No caller here is at an address that the user is known from: test_known_addresses.py has those.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from server.auth.sessions import digest
from tests.conftest import PASSWORD
from tests.support.http import ADDRESS, BOUND_S, Caller, audited, logged_in, served
from tests.support.stream import eventually

HOME, OFFICE = "203.0.113.1", "203.0.113.2"


async def fail(caller, times, name="operator"):
    """Sends `times` wrong passwords at the same time, as each refusal is slow; their statuses."""
    answers = await asyncio.gather(*(caller.log_in(name, "wrong password") for _ in range(times)))
    return sorted(answer.status for answer in answers)


@pytest.fixture
def caller(container):
    return Caller(container.app)


async def test_five_failures_lock_the_account(caller):
    assert await fail(caller, 5) == [401] * 5
    answer = await caller.log_in("operator")
    assert answer.status == 423
    assert answer.json()["error"] == "Account locked"
    assert answer.json()["code"] == "USER_LOCKED"
    assert answer.headers["Retry-After"] == "900"


async def test_four_failures_do_not_lock_the_account_and_a_success_resets_the_count(container):
    for address in (HOME, OFFICE):
        caller = Caller(container.app, address)
        assert await fail(caller, 4) == [401] * 4
        assert (await caller.log_in("operator")).status == 200


async def test_the_lock_applies_to_every_address_and_to_that_user_only(container, caller):
    await fail(caller, 5)
    assert (await Caller(container.app, HOME).log_in("operator")).status == 423
    assert (await caller.log_in("reader")).status == 200


async def test_the_lock_ends_after_its_duration(caller, clock):
    await fail(caller, 5)
    clock.advance(899)
    answer = await caller.log_in("operator")
    assert (answer.status, answer.headers["Retry-After"]) == (423, "1")
    clock.advance(1)
    assert (await caller.log_in("operator")).status == 200


async def test_after_the_lock_there_are_five_attempts_again(caller, clock):
    await fail(caller, 5)
    clock.advance(900)
    assert await fail(caller, 6) == [401] * 5 + [423]


async def test_attempts_during_the_lock_do_not_extend_it(caller, clock):
    await fail(caller, 5)
    clock.advance(600)
    assert await fail(caller, 3) == [423] * 3
    clock.advance(300)
    assert (await caller.log_in("operator")).status == 200


async def test_old_failures_do_not_count(caller, clock):
    await fail(caller, 4)
    clock.advance(900)
    assert await fail(caller, 4) == [401] * 4
    assert (await caller.log_in("operator")).status == 200


async def test_an_unknown_user_is_locked_in_the_same_way(caller):
    """ASVS v5.0.0-6.3.8: valid users cannot be deduced from refusals."""
    answers = {}
    for name in ("operator", "nobody"):
        await fail(caller, 5, name)
        answers[name] = await caller.log_in(name)
    assert answers["nobody"].status == answers["operator"].status == 423
    assert answers["nobody"].body == answers["operator"].body


async def test_the_lock_is_kept_over_a_restart(config, clock):
    async with served(config, clock) as container:
        await fail(Caller(container.app), 5)
    async with served(config, clock) as container:
        assert (await Caller(container.app).log_in("operator")).status == 423


async def test_wrong_passwords_end_neither_a_session_nor_its_stream(container):
    """ASVS v5.0.0-6.1.1: no malicious account lockout."""
    session = await logged_in(container, "operator")
    assert await fail(Caller(container.app, HOME), 6) == [401] * 5 + [423]
    assert (await session.get("/api/telemetry")).status == 200
    assert (await session.get("/auth/status")).status == 200
    owner = f"{digest(session.session)}:operator"
    assert (await container.base.auth.sessions.ends({owner})).keys() == {owner}


async def test_failures_beyond_the_free_ones_cost_a_pause_if_the_lock_is_set_to_come_later(
    config, clock
):
    """ASVS v5.0.0-6.3.1: brute force is slowed down as the documentation says."""
    async with served(config, clock, max_login_attempts=1000, auth_attempts_per_15min=1000) as one:
        caller = Caller(one.app)
        assert await fail(caller, 6) == [401] * 5 + [429]
        for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
            clock.advance(pause_s - 0.001)
            answer = await caller.log_in("operator")
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            clock.advance(0.001)
            assert (await caller.log_in("operator", "wrong password")).status == 401
        assert (await Caller(one.app, OFFICE).log_in("operator")).status == 200


async def test_a_lock_ends_when_the_clock_is_set_back_to_before_it(container, clock):
    caller = Caller(container.app)
    await fail(caller, 5)
    clock.advance(-30 * 86_400)
    assert (await caller.log_in("operator")).status == 200


async def test_of_many_simultaneous_guesses_only_five_are_checked(container):
    callers = [Caller(container.app, f"203.0.113.{number}") for number in range(30)]
    answers = await asyncio.gather(*(caller.log_in("operator", "wrong") for caller in callers))
    statuses = [answer.status for answer in answers]
    assert statuses.count(401) == 5
    assert statuses.count(423) == 25


async def test_simultaneous_right_passwords_do_not_lock_the_account(caller):
    answers = await asyncio.gather(*(caller.log_in("operator") for _ in range(30)))
    assert [answer.status for answer in answers] == [200] * 30


async def test_the_limits_are_settings(config, clock):
    async with served(config, clock, max_login_attempts=2, lockout_duration=60) as container:
        caller = Caller(container.app)
        assert await fail(caller, 3) == [401, 401, 423]
        clock.advance(60)
        assert (await caller.log_in("operator")).status == 200


async def test_a_lock_is_audited_once_with_its_reason_and_end(container, caller):
    """ASVS v5.0.0-16.3.3: attempts to bypass anti-automation are logged."""
    await fail(caller, 7)
    assert len(await audited(container, "LOGIN_FAILURE")) == 5
    (entry,) = await audited(container, "USER_LOCKED")
    assert (entry.username, entry.address, entry.success) == ("operator", ADDRESS, False)
    until_ms = container.base.site_clock.now_ms() + 900_000
    assert entry.details == {"reason": "failed_logins", "failures": 5, "until_ms": until_ms}


async def test_an_address_may_fail_twenty_times_in_fifteen_minutes(caller, clock):
    refused = await asyncio.gather(*(fail(caller, 2, f"user{number}") for number in range(10)))
    assert refused == [[401, 401]] * 10
    answer = await caller.log_in("operator")
    assert answer.status == 429
    assert answer.json()["code"] == "RATE_LIMITED"
    assert answer.headers["Retry-After"] == "900"
    clock.advance(900)
    assert (await caller.log_in("operator")).status == 200


async def test_of_many_simultaneous_guesses_from_one_address_at_most_twenty_are_checked(caller):
    names = [f"user{number}" for number in range(40)]
    answers = await asyncio.gather(*(caller.log_in(name, "wrong password") for name in names))
    statuses = [answer.status for answer in answers]
    assert statuses.count(401) <= 20
    assert set(statuses) == {401, 429}


async def test_another_address_is_not_delayed(config, clock):
    async with served(config, clock, auth_attempts_per_15min=2) as container:
        guesser = Caller(container.app, HOME)
        await fail(guesser, 2)
        assert (await guesser.log_in("operator")).status == 429
        assert (await Caller(container.app, OFFICE).log_in("operator")).status == 200


async def test_successes_do_not_count_against_the_address(config, clock):
    async with served(config, clock, auth_attempts_per_15min=2) as container:
        caller = Caller(container.app)
        statuses = [(await caller.log_in("operator")).status for _ in range(4)]
        assert statuses == [200] * 4


async def test_a_success_does_not_reset_the_failures_of_its_address(config, clock):
    # Otherwise an attacker with one account could guess the passwords of all others without end.
    async with served(config, clock, auth_attempts_per_15min=3) as container:
        caller = Caller(container.app)
        await fail(caller, 2)
        assert (await caller.log_in("reader")).status == 200
        assert await fail(caller, 2) == [401, 429]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
async def test_the_addresses_of_one_internet_subscriber_are_counted_together(
    config, clock, one, other, shared
):
    async with served(config, clock, auth_attempts_per_15min=1) as container:
        await fail(Caller(container.app, one), 1)
        answer = await Caller(container.app, other).log_in("operator", PASSWORD)
        assert answer.status == (429 if shared else 200)


async def test_a_guess_counts_even_if_the_client_does_not_wait_for_the_answer(
    container, monkeypatch
):
    verify = container.base.auth.passwords.verify
    begun, gone = asyncio.Event(), asyncio.Event()

    async def held(*arguments):
        begun.set()
        await gone.wait()
        return await verify(*arguments)

    monkeypatch.setattr(container.base.auth.passwords, "verify", held)
    body = json.dumps({"username": "operator", "password": "wrong password"}).encode()
    headers = {"Content-Type": "application/json"}
    client = container.app.test_client(use_cookies=False)
    for _ in range(container.base.config.max_login_attempts):
        begun.clear()
        gone.clear()
        async with client.request("/auth/login", method="POST", headers=headers) as guess:
            await guess.send(body)
            await guess.send_complete()
            await asyncio.wait_for(begun.wait(), BOUND_S)
            await guess.disconnect()
        gone.set()
    await eventually(lambda: audited(container, "USER_LOCKED"), "the account is locked")
    assert (await Caller(container.app).log_in("operator")).status == 423
