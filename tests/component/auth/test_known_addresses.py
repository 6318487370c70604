"""An address that logged a user in before is never shut out: its own failures back off only."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from server.auth.known_addresses import ADDRESSES_MAX
from tests.conftest import PASSWORD
from tests.support.http import Caller, audited, logged_in, served
from tests.support.stream import eventually

HOME, OFFICE, STRANGER = "203.0.113.1", "203.0.113.2", "203.0.113.9"


async def fail(caller, times, name="operator"):
    answers = await asyncio.gather(*(caller.log_in(name, "wrong password") for _ in range(times)))
    return sorted(answer.status for answer in answers)


@pytest.fixture
async def home(container):
    """A caller at an address that has logged the operator in."""
    return await logged_in(container, "operator", address=HOME)


@pytest.fixture
def stranger(container):
    return Caller(container.app, STRANGER)


async def test_a_stranger_s_lock_does_not_shut_the_user_out_of_a_known_address(
    container, home, stranger
):
    """ASVS v5.0.0-6.1.1: no malicious account lockout."""
    assert await fail(stranger, 6) == [401] * 5 + [423]
    assert (await home.log_in("operator")).status == 200
    assert (await stranger.log_in("operator")).status == 423
    assert (await Caller(container.app, OFFICE).log_in("operator")).status == 423


async def test_a_log_in_from_a_known_address_gives_strangers_no_new_guesses(home, stranger, clock):
    """ASVS v5.0.0-6.3.1: brute force is limited whatever the user does."""
    assert await fail(stranger, 4) == [401] * 4
    assert (await home.log_in("operator")).status == 200
    assert await fail(stranger, 2) == [401, 423]
    for _ in range(3):
        clock.advance(60)
        assert (await home.log_in("operator")).status == 200
        assert (await stranger.log_in("operator")).status == 423


async def test_a_known_address_is_known_for_its_own_user_only(home, container):
    assert await fail(Caller(container.app, HOME), 6, "reader") == [401] * 5 + [423]
    assert (await Caller(container.app, HOME).log_in("reader")).status == 423
    assert (await home.log_in("operator")).status == 200


async def test_failures_at_a_known_address_back_off_from_one_second_to_sixty_and_never_lock(
    container, home, clock
):
    """ASVS v5.0.0-6.3.1: brute force is slowed down as the documentation says."""
    assert await fail(home, 1) == [401]
    for pause_s in (0, 1, 2, 4, 8, 16, 32, 60, 60, 60):
        if pause_s:
            clock.advance(pause_s - 0.001)
            answer = await home.log_in("operator")
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            assert answer.json()["code"] == "RATE_LIMITED"
            clock.advance(0.001)
        assert await fail(home, 1) == [401]
    clock.advance(60)
    assert (await home.log_in("operator")).status == 200
    assert await audited(container, "USER_LOCKED") == []


async def test_one_mistyped_password_costs_no_wait(home):
    for _ in range(3):
        assert await fail(home, 1) == [401]
        assert (await home.log_in("operator")).status == 200


async def test_attempts_during_the_wait_neither_count_nor_extend_it(home, clock):
    assert await fail(home, 2) == [401, 401]
    assert await fail(home, 9) == [429] * 9
    clock.advance(1)
    assert (await home.log_in("operator")).status == 200


async def test_failures_are_forgotten_fifteen_minutes_after_the_last_one(home, clock):
    for _ in range(4):
        clock.advance(899)
        assert await fail(home, 1) == [401]
    assert (await home.log_in("operator")).headers["Retry-After"] == "4"
    clock.advance(900)
    assert await fail(home, 3) == [401, 401, 429]


async def test_failures_at_a_known_address_do_not_count_for_the_user(home, stranger, clock):
    for pause_s in (0, 1, 1, 2, 4, 8):
        clock.advance(pause_s)
        assert await fail(home, 1) == [401]
    assert await fail(stranger, 4) == [401] * 4
    assert (await stranger.log_in("operator")).status == 200


async def test_a_stranger_behind_the_same_proxy_does_not_use_up_the_user_s_address(config, clock):
    """ASVS v5.0.0-6.1.1: no malicious account lockout."""
    async with served(config, clock, auth_attempts_per_15min=4) as container:
        home = await logged_in(container, "operator", address=HOME)
        neighbour = Caller(container.app, HOME)
        for number in range(4):
            assert await fail(neighbour, 1, f"user{number}") == [401]
        assert (await neighbour.log_in("reader")).status == 429
        assert (await home.log_in("operator")).status == 200


async def test_of_parallel_guesses_at_a_known_address_only_the_free_ones_are_checked(config, clock):
    """ASVS v5.0.0-6.3.1: parallel guesses do not outrun the count, on two processes."""
    async with AsyncExitStack() as stack:
        pair = [await stack.enter_async_context(served(config, clock)) for _ in range(2)]
        await logged_in(pair[0], "operator", address=HOME)
        callers = [Caller(one.app, HOME) for one in pair for _ in range(10)]
        answers = await asyncio.gather(*(one.log_in("operator", "wrong") for one in callers))
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [401] * 2 + [429] * 18
        assert len(await audited(pair[0], "LOGIN_FAILURE")) == 2
        # The right password waits like a wrong one: its answer shows nothing.
        assert (await Caller(pair[1].app, HOME).log_in("operator")).status == 429


async def test_the_user_does_not_queue_behind_the_guesses_of_strangers(
    container, home, monkeypatch
):
    """ASVS v5.0.0-6.1.1: no malicious account lockout, by a crowd of parallel guesses."""
    held, verify = asyncio.Event(), container.base.auth.passwords.verify

    async def slow(stored, password):
        if password != PASSWORD:
            await held.wait()
        return await verify(stored, password)

    monkeypatch.setattr(container.base.auth.passwords, "verify", slow)
    crowd = [Caller(container.app, f"198.51.100.{n}").log_in("operator", "no") for n in range(80)]
    guesses = [asyncio.create_task(one) for one in crowd]
    # The queue of the strangers is full.
    await eventually(lambda: sum(one.done() for one in guesses) == 80 - 64, "some are turned away")
    assert (await home.log_in("operator")).status == 200
    held.set()
    assert {answer.status for answer in await asyncio.gather(*guesses)} == {401, 423, 503}


async def test_a_known_address_is_known_to_all_processes_and_after_a_restart(config, clock):
    async with served(config, clock) as one, served(config, clock) as other:
        await logged_in(one, "operator", address=HOME)
        assert await fail(Caller(one.app, STRANGER), 5) == [401] * 5
        assert (await Caller(other.app, HOME).log_in("operator")).status == 200
    async with served(config, clock) as later:
        assert (await Caller(later.app, HOME).log_in("operator")).status == 200
        assert (await Caller(later.app, OFFICE).log_in("operator")).status == 423


async def test_an_address_is_unknown_again_90_days_after_the_last_log_in(container, home, clock):
    day_s = 86_400
    clock.advance(80 * day_s)
    assert (await home.log_in("operator")).status == 200
    clock.advance(80 * day_s)
    assert await fail(home, 3) == [401, 401, 429]
    clock.advance(10 * day_s)
    assert await fail(home, 6) == [401] * 5 + [423]


async def test_a_user_has_a_bounded_number_of_known_addresses_and_keeps_the_newest(
    container, clock
):
    lockout = container.base.auth.lockout
    addresses = [f"192.0.2.{number}" for number in range(ADDRESSES_MAX + 2)]
    for address in addresses:
        clock.advance(60)
        await logged_in(container, "operator", address=address)
    known = [address for address in addresses if await lockout.knows("operator", address)]
    assert known == addresses[2:]


async def test_a_wrong_password_makes_no_address_known(container, stranger):
    await fail(stranger, 3)
    await fail(stranger, 3, "nobody")
    for name in ("operator", "nobody"):
        assert not await container.base.auth.lockout.knows(name, STRANGER)
