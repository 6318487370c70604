"""The machine's clock leaps: sessions and locks last as long as they should, by uptime."""

from __future__ import annotations

import asyncio

import pytest

from server.services.ports.documents import Delete, Put, Query
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.http import Caller, logged_in, served

MINUTE_MS, DAY_MS = 60_000, 24 * HOUR_MS
LEAPS = [-400 * DAY_MS, -HOUR_MS, -20 * MINUTE_MS, 20 * MINUTE_MS, HOUR_MS, 400 * DAY_MS]
HOME, OFFICE = "203.0.113.1", "203.0.113.2"


async def alive(*callers):
    return [(await caller.get("/api/telemetry")).status == 200 for caller in callers]


async def fail(container, times, name="operator"):
    caller = Caller(container.app, HOME)
    answers = await asyncio.gather(*(caller.log_in(name, "wrong password") for _ in range(times)))
    return sorted(answer.status for answer in answers)


def again(container, caller):
    """The same browser at another process."""
    return Caller(container.app, headers=caller.headers)


async def swept(container, clock):
    """Delete all that retention deletes, as if no guard held it up."""
    await container.base.expiring.delete_expired(clock.now_ms(), 1000)


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_neither_lengthens_nor_ends_a_session(container, clock, leap_ms):
    caller = await logged_in(container, "reader")
    clock.advance(600)
    clock.step_ms += leap_ms
    await swept(container, clock)
    assert (await caller.get("/auth/status")).json()["expires_in"] == 1200
    clock.advance(1199.999)
    await swept(container, clock)
    assert await alive(caller) == [True]
    clock.advance(0.001)
    assert await alive(caller) == [False]


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_changes_neither_an_extended_session_nor_its_longest_life(
    config, clock, leap_ms
):
    """ASVS v5.0.0-7.3.1, 7.3.2."""
    async with served(config, clock, session_absolute=3600) as container:
        caller = await logged_in(container, "reader")
        for _ in range(2):
            clock.advance(1000)
            clock.step_ms += leap_ms
            used = await caller.get("/auth/status", headers={"X-User-Active": "1"})
            await swept(container, clock)
        assert used.json()["expires_in"] == 1600
        clock.step_ms -= 3 * leap_ms
        assert (await caller.get("/auth/status")).json()["expires_in"] == 1600
        clock.advance(1599.999)
        await caller.get("/auth/status", headers={"X-User-Active": "1"})
        assert await alive(caller) == [True]
        clock.advance(0.001)
        assert await alive(caller) == [False]


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_between_two_processes_changes_no_session(config, clock, leap_ms):
    async with served(config, clock) as container:
        caller = await logged_in(container, "reader")
    clock.step_ms += leap_ms
    async with served(config, clock) as one, served(config, clock) as other:
        clock.advance(1799.999)
        assert await alive(again(one, caller), again(other, caller)) == [True, True]
        clock.advance(0.001)
        assert await alive(again(one, caller), again(other, caller)) == [False, False]


async def test_sessions_of_before_and_after_leaps_end_in_the_order_of_their_log_ins(
    container, clock
):
    callers = []
    for leap_ms in (0, 3 * DAY_MS, -7 * DAY_MS):
        clock.step_ms += leap_ms
        callers.append(await logged_in(container, "reader"))
        clock.advance(60)
    callers.append(await logged_in(container, "reader"))
    for seconds, lives in (
        (0, [False, True, True, True]),
        (1679.999, [False, True, True, True]),
        (0.001, [False, False, True, True]),
        (60, [False, False, False, True]),
        (60, [False, False, False, False]),
    ):
        clock.advance(seconds)
        assert await alive(*callers) == lives


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_new_password_ends_the_sessions_that_outlived_a_leap(container, clock, leap_ms):
    callers = [await logged_in(container, "reader") for _ in range(2)]
    clock.step_ms += leap_ms
    assert await container.base.admin.set_password("reader", "another password") == 2
    assert await alive(*callers) == [False, False]


@pytest.mark.parametrize(
    ("later_s", "lives"),
    [(1799, True), (1800, False), (-299, True), (-301, False), (-400 * 86_400, False)],
)
async def test_after_a_reboot_the_clock_decides_and_one_that_was_set_back_lengthens_nothing(
    config, clock, later_s, lives
):
    async with served(config, clock) as container:
        caller = await logged_in(container, "reader")
    rebooted = ManualClock(clock.now_ms() + later_s * 1000, boot="second boot")
    async with served(config, rebooted) as container:
        assert await alive(again(container, caller)) == [lives]


async def test_a_clock_that_boots_in_the_past_ends_no_session_for_good(config, clock):
    async with served(config, clock) as container:
        caller = await logged_in(container, "reader")
    rebooted = ManualClock(DAY_MS, boot="second boot")
    async with served(config, rebooted) as container:
        caller = again(container, caller)
        assert await alive(caller) == [False]
        rebooted.step_ms = clock.now_ms() + 600_000 - rebooted.now_ms()
        assert await alive(caller) == [True]


async def test_a_session_that_an_earlier_version_stored_lasts_by_the_clock(container, clock):
    caller = await logged_in(container, "reader")
    client = container.base.client
    (document,) = (await client.query(Query("sessions"), 10)).documents
    old = {key: one for key, one in document.fields.items() if key not in {"boot", "booted_ms"}}
    await client.write([Put("sessions", document.id, old)])
    clock.advance(1799)
    assert await alive(caller) == [True]
    clock.step_ms += 1000
    assert await alive(caller) == [False]


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_neither_lengthens_nor_ends_a_lock(container, clock, leap_ms):
    assert await fail(container, 5) == [401] * 5
    clock.advance(300)
    clock.step_ms += leap_ms
    await swept(container, clock)
    answer = await Caller(container.app, OFFICE).log_in("operator")
    assert (answer.status, answer.headers["Retry-After"]) == (423, "600")
    clock.advance(599)
    await swept(container, clock)
    assert (await Caller(container.app, OFFICE).log_in("operator")).status == 423
    clock.advance(1)
    assert (await Caller(container.app, OFFICE).log_in("operator")).status == 200


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_between_two_processes_changes_no_lock(config, clock, leap_ms):
    async with served(config, clock) as container:
        await fail(container, 5)
    clock.step_ms += leap_ms
    async with served(config, clock) as container:
        clock.advance(899)
        assert (await Caller(container.app).log_in("operator")).status == 423
        clock.advance(1)
        assert (await Caller(container.app).log_in("operator")).status == 200


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_failure_counts_for_15_minutes_over_a_leap(container, clock, leap_ms):
    await fail(container, 4)
    clock.advance(600)
    clock.step_ms += leap_ms
    await swept(container, clock)
    assert await fail(container, 2) == [401, 423]
    await container.base.client.write(
        [Delete("login_attempts", one) for one in await _counts(container)]
    )
    await fail(container, 4)
    clock.step_ms += leap_ms
    clock.advance(900)
    assert await fail(container, 5) == [401] * 5


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_neither_lengthens_nor_ends_the_wait_of_an_address(config, clock, leap_ms):
    async with served(config, clock, auth_attempts_per_15min=2) as container:
        await fail(container, 2)
        clock.step_ms += leap_ms
        await swept(container, clock)
        clock.advance(899)
        assert await fail(container, 1, "reader") == [429]
        clock.advance(1)
        assert await fail(container, 1, "reader") == [401]


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_a_leap_neither_lengthens_nor_ends_the_wait_at_a_known_address(
    container, clock, leap_ms
):
    await logged_in(container, "operator", address=HOME)
    for status in (401, 401, 429):
        assert await fail(container, 1) == [status]
    clock.step_ms += leap_ms
    await swept(container, clock)
    clock.advance(0.999)
    assert await fail(container, 1) == [429]
    clock.advance(0.001)
    assert (await Caller(container.app, HOME).log_in("operator")).status == 200


@pytest.mark.parametrize("leap_ms", LEAPS)
async def test_an_address_stays_known_for_90_days_whatever_the_clock_does(
    container, clock, leap_ms
):
    await logged_in(container, "operator", address=HOME)
    clock.advance(89 * 86_400)
    clock.step_ms += leap_ms
    await swept(container, clock)
    assert await container.base.auth.lockout.knows("operator", HOME)
    clock.advance(86_400)
    assert not await container.base.auth.lockout.knows("operator", HOME)


@pytest.mark.sqlite_only("with Firestore its time decides, which no boot sets back")
@pytest.mark.parametrize(("later_s", "status"), [(-299, 423), (-301, 200), (299, 423), (900, 200)])
async def test_after_a_reboot_the_clock_decides_how_long_a_lock_lasts(
    config, clock, later_s, status
):
    async with served(config, clock) as container:
        await fail(container, 5)
    rebooted = ManualClock(clock.now_ms() + later_s * 1000, boot="second boot")
    async with served(config, rebooted) as container:
        answer = await Caller(container.app, OFFICE).log_in("operator")
        assert answer.status == status
        assert int(answer.headers.get("Retry-After", 0)) <= 900


@pytest.mark.sqlite_only("Firestore deletes expired documents by itself")
async def test_retention_deletes_sessions_and_locks_that_are_over_by_uptime_and_by_the_clock(
    container, clock
):
    await logged_in(container, "reader")
    await fail(container, 5)
    clock.step_ms += 400 * DAY_MS
    clock.advance(1800.001)
    await swept(container, clock)
    client = container.base.client
    for collection in ("sessions", "login_attempts"):
        assert (await client.query(Query(collection), 10)).documents == []


async def _counts(container):
    found = await container.base.client.query(Query("login_attempts"), 100)
    return [document.id for document in found.documents]
