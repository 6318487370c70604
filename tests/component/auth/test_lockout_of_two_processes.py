"""Simultaneous log-ins on two processes: together they check no more passwords than one would."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from server.auth import login
from tests.conftest import PASSWORD
from tests.support.hashing import REFUSAL_S
from tests.support.http import ADDRESS, Caller, audited, served

HOME, OFFICE = "203.0.113.1", "203.0.113.2"
BOUND_S = 60.0
LIMIT = 5


class Gate:
    """Holds the calls of a method, from the `nth` on, before they return, until the test sets
    `opened`; `reached` is set once a call is held."""

    def __init__(self, monkeypatch, owner, name, nth=1):
        self.calls = 0
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        method = getattr(owner, name)

        async def gated(*arguments):
            result = await method(*arguments)
            self.calls += 1
            if self.calls >= nth:
                self.reached.set()
                await self.opened.wait()
            return result

        monkeypatch.setattr(owner, name, gated)


@pytest.fixture
async def processes(config, clock):
    """Two containers over one store."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(served(config, clock)) for _ in range(2)]


async def statuses(attempts):
    return [answer.status for answer in await asyncio.gather(*attempts)]


async def fail(container, times, name="operator", address=HOME):
    """Sends wrong passwords that are all checked."""
    caller = Caller(container.app, address)
    assert await statuses(caller.log_in(name, "wrong") for _ in range(times)) == [401] * times


async def in_flight(gate, container, password, name="operator"):
    """Starts an attempt and waits until it is held at the gate."""
    attempt = asyncio.create_task(Caller(container.app).log_in(name, password))
    await gate.reached.wait()
    return attempt


async def sessions(container):
    return await container.base.stores.sessions.sessions_of("operator")


async def test_of_many_simultaneous_guesses_on_both_processes_only_five_are_checked(processes):
    guesses = [
        Caller(container.app, f"203.0.113.{number}").log_in("operator", "wrong")
        for number in range(15)
        for container in processes
    ]
    found = await statuses(guesses)
    assert (found.count(401), found.count(423)) == (LIMIT, 25)
    for container in processes:
        assert (await Caller(container.app).log_in("operator")).status == 423
    assert len(await audited(processes[0], "LOGIN_FAILURE")) == LIMIT
    assert len(await audited(processes[0], "USER_LOCKED")) == 1


async def test_guesses_from_one_address_are_counted_over_both_processes(processes):
    guesses = [
        Caller(container.app).log_in(f"user{number}", "wrong")
        for number in range(20)
        for container in processes
    ]
    found = await statuses(guesses)
    assert set(found) == {401, 429}
    assert found.count(401) == 20
    for container in processes:
        answer = await Caller(container.app).log_in("operator")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "900")


@pytest.mark.parametrize("method", ["verify", "opening"])
async def test_a_right_password_in_flight_opens_no_session_after_the_account_is_locked(
    processes, monkeypatch, method
):
    one, other = processes
    auth = other.base.auth
    gate = Gate(monkeypatch, auth.passwords if method == "verify" else auth.sessions, method)
    async with asyncio.timeout(BOUND_S):
        attempt = await in_flight(gate, other, PASSWORD)
        await fail(one, LIMIT)
        gate.opened.set()
        answer = await attempt
    assert (answer.status, answer.headers["Retry-After"]) == (423, "900")
    assert await sessions(one) == []
    assert await audited(one, "LOGIN_SUCCESS") == []
    assert (await Caller(one.app).log_in("operator")).status == 423


async def test_a_right_and_a_wrong_password_in_flight_get_the_same_refusal(processes, monkeypatch):
    one, other = processes
    answers = {}
    for name, password in (("operator", PASSWORD), ("reader", "wrong"), ("nobody", "wrong")):
        gate = Gate(monkeypatch, other.base.auth.passwords, "verify")
        monkeypatch.setattr(login, "REFUSAL_S", REFUSAL_S)
        async with asyncio.timeout(BOUND_S):
            attempt = await in_flight(gate, other, password, name)
            await fail(one, LIMIT, name, f"203.0.113.{len(answers)}")
            gate.opened.set()
            began = time.monotonic()
            answers[name] = await attempt
            assert time.monotonic() - began >= REFUSAL_S
        monkeypatch.undo()
    bodies = {(answer.status, answer.body) for answer in answers.values()}
    assert len(bodies) == 1
    assert answers["operator"].status == 423
    # Only the failures that caused the lock were counted.
    assert len(await audited(one, "LOGIN_FAILURE")) == LIMIT * len(answers)


@pytest.mark.parametrize("kind", ["account", "address"])
async def test_a_guess_in_flight_is_not_counted_after_its_account_or_address_is_locked(
    processes, monkeypatch, kind
):
    one, other = processes
    gate = Gate(monkeypatch, other.base.auth.lockout._addresses, "standing", nth=2)
    async with asyncio.timeout(BOUND_S):
        attempt = await in_flight(gate, other, "wrong")
        if kind == "account":
            await fail(one, LIMIT)
        else:
            for number in range(4):
                await fail(one, 5, f"user{number}", ADDRESS)
        counted = len(await audited(one, "LOGIN_FAILURE"))
        gate.opened.set()
        assert (await attempt).status == (423 if kind == "account" else 429)
    assert len(await audited(one, "LOGIN_FAILURE")) == counted


async def test_a_right_password_in_flight_is_refused_after_its_address_is_delayed(
    processes, monkeypatch
):
    one, other = processes
    gate = Gate(monkeypatch, other.base.auth.passwords, "verify")
    async with asyncio.timeout(BOUND_S):
        attempt = await in_flight(gate, other, PASSWORD)
        for number in range(4):
            await fail(one, 5, f"user{number}", ADDRESS)
        gate.opened.set()
        assert (await attempt).status == 429
    assert await sessions(one) == []


async def test_a_failure_that_is_counted_while_a_session_opens_does_not_refuse_it(
    processes, monkeypatch
):
    one, other = processes
    gate = Gate(monkeypatch, other.base.auth.sessions, "opening")
    async with asyncio.timeout(BOUND_S):
        attempt = await in_flight(gate, other, PASSWORD)
        await fail(one, 1)
        gate.opened.set()
        assert (await attempt).status == 200
    await fail(one, LIMIT - 1)
    assert (await Caller(one.app).log_in("operator")).status == 200


async def test_simultaneous_right_passwords_on_both_processes_are_all_accepted(processes):
    attempts = [Caller(one.app).log_in("operator") for one in processes for _ in range(15)]
    assert await statuses(attempts) == [200] * 30
