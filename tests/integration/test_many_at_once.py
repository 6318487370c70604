"""Concurrent callers at two processes with one store, on SQLite and on Firestore: each request is
carried out once, and the store agrees with the answers."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bas_server import Container
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.services.firestore.models import Role, User
from server.services.firestore.users_store import UserExists
from tests.conftest import PASSWORD
from tests.support.clock import ManualClock
from tests.support.firestore import on_firestore
from tests.support.http import Caller, audited, reading, served, stored
from tests.support.switches import MIN_TIME_MS, switches
from tools.firestore_emulator import SWITCHES, FirestoreEmulator

LOGINS = 50
ROLES: tuple[Role, ...] = ("operator", "admin")

Pair = tuple[Container, Container]


@pytest.fixture(params=["sqlite", "firestore"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """All stores on SQLite, or all on Firestore."""
    settings = ServerConfig(data_dir=tmp_path / "data")
    if request.param == "sqlite":
        return settings
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    return on_firestore(settings, emulator.host, *SWITCHES)


async def opened_pair(
    config: ServerConfig, clock: SystemClock | ManualClock, stack: AsyncExitStack
) -> Pair:
    one = await stack.enter_async_context(served(config, clock))
    return one, await stack.enter_async_context(served(config, clock))


@pytest.fixture
async def pair(config: ServerConfig) -> AsyncIterator[Pair]:
    """The containers of two processes with one store, on the machine's clock."""
    async with AsyncExitStack() as stack:
        yield await opened_pair(config, SystemClock(), stack)


async def create_users(container: Container, prefix: str, count: int) -> list[str]:
    """Create this many operators, all with the same password."""
    names = [f"{prefix}{number}" for number in range(count)]
    password_hash = await container.base.auth.passwords.hash(PASSWORD)
    users = container.base.stores.users
    await asyncio.gather(
        *(users.create_user(name, password_hash, "operator", "default") for name in names)
    )
    return names


async def log_in_all(pair: Pair, names: list[str], *, addresses: int) -> list[Caller]:
    """All users log in at once, by turns at both processes; every log-in must succeed."""
    callers = [
        Caller(pair[number % 2].app, f"203.0.113.{number % addresses}")
        for number in range(len(names))
    ]
    answers = await asyncio.gather(
        *(caller.log_in(name) for caller, name in zip(callers, names, strict=True))
    )
    assert Counter(answer.status for answer in answers) == {200: len(names)}
    return callers


async def statuses(callers: list[Caller]) -> Counter[int]:
    """The statuses that the callers' sessions get now."""
    answers = await asyncio.gather(*(caller.get("/auth/status") for caller in callers))
    return Counter(answer.status for answer in answers)


@pytest.mark.parametrize("addresses", [LOGINS, 1])
async def test_fifty_concurrent_log_ins_of_different_users_all_succeed(
    pair: Pair, addresses: int
) -> None:
    names = await create_users(pair[0], "user", LOGINS)
    callers = await log_in_all(pair, names, addresses=addresses)
    assert await statuses(callers) == {200: LOGINS}
    assert len(await audited(pair[0], "LOGIN_SUCCESS")) == LOGINS
    sessions = pair[0].base.stores.sessions
    assert [len(await sessions.sessions_of(name)) for name in names] == [1] * LOGINS


async def test_fifty_concurrent_log_ins_of_one_user_leave_only_the_allowed_sessions(
    pair: Pair,
) -> None:
    allowed = pair[0].base.config.max_concurrent_sessions
    callers = await log_in_all(pair, ["operator"] * LOGINS, addresses=LOGINS)
    assert await statuses(callers) == {200: allowed, 401: LOGINS - allowed}
    assert len(await audited(pair[1], "LOGIN_SUCCESS")) == LOGINS
    assert await audited(pair[1], "LOGIN_FAILURE") == []
    # The next log-in would end a session too many, so check after each pair.
    for _ in range(10):
        await log_in_all(pair, ["operator"] * 2, addresses=2)
        assert len(await pair[0].base.stores.sessions.sessions_of("operator")) == allowed


async def test_of_twenty_concurrent_creations_of_one_user_exactly_one_succeeds(
    pair: Pair,
) -> None:
    outcomes = await asyncio.gather(
        *(
            pair[number % 2].base.admin.create_user(
                "wanted", f"password of {number}", ROLES[number % 2], f"tenant{number}"
            )
            for number in range(20)
        ),
        return_exceptions=True,
    )
    winners = {n: user for n, user in enumerate(outcomes) if isinstance(user, User)}
    assert Counter(map(type, outcomes)) == {User: 1, UserExists: 19}
    ((number, user),) = winners.items()
    assert await pair[0].base.stores.users.get_user_by_username("wanted") == user
    assert user.tenant_id == f"tenant{number}"
    caller = Caller(pair[1].app)
    assert (await caller.log_in("wanted", f"password of {number}")).status == 200
    assert len(await audited(pair[0], "USER_CREATED", user.tenant_id)) == 1


async def test_a_zone_keeps_its_minimum_times_under_ten_concurrent_posts(
    config: ServerConfig, clock: ManualClock
) -> None:
    chance = random.Random(1)
    answered: dict[int, bool] = {}
    async with AsyncExitStack() as stack:
        pair = await opened_pair(config, clock, stack)

        async def post(number: int) -> None:
            # A device without a clock: its number is stored with the time of receipt.
            body = reading(chance.choice([200, 300]), device_id="lab", timestamp=number)
            answer = await Caller(pair[number % 2].app).post("/api/sensor_data", body)
            assert answer.status == 200, answer.body
            answered[number] = answer.json()["cool_active"]

        for step in range(30):
            clock.advance(chance.choice([0.001, 2, 5, 9.999]))
            await asyncio.gather(*(post(10 * step + number) for number in range(10)))
        kept = await stored(pair[0])
    assert {one.device_ticks_ms: one.cool_active for one in kept} == answered
    assert len(kept) == len(answered) == 300
    times = switches((one.received_ms, one.cool_active) for one in kept)
    assert len(times) > 5
    assert min(b - a for a, b in itertools.pairwise(times)) >= MIN_TIME_MS


async def test_every_post_of_ten_concurrent_devices_of_one_zone_is_stored_once(pair: Pair) -> None:
    answered: dict[int, bool] = {}
    unsure: set[int] = set()

    async def post(poster: int) -> None:
        caller = Caller(pair[poster % 2].app)
        for number in range(poster, 300, 10):
            body = reading(300, device_id="lab", timestamp=number)
            answer = await caller.post("/api/sensor_data", body)
            while answer.status == 503:  # on a busy machine; the reading is not stored then
                assert answer.json()["code"] == "ZONE_BUSY"
                answer = await caller.post("/api/sensor_data", body)
            assert answer.status == 200, answer.body
            if answer.json().get("stored") is False:  # the store took too long to be waited for
                unsure.add(number)
            else:
                answered[number] = answer.json()["cool_active"]

    await asyncio.gather(*(post(poster) for poster in range(10)))
    kept = await stored(pair[1])
    known = {one.device_ticks_ms: one.cool_active for one in kept}
    assert len(known) == len(kept)
    assert {ticks: cool for ticks, cool in known.items() if ticks not in unsure} == answered
    assert len(answered) + len(unsure) == 300


async def test_of_ten_concurrent_setpoint_changes_one_is_in_force_and_all_are_audited(
    pair: Pair,
) -> None:
    await Caller(pair[0].app).post("/api/sensor_data", reading(device_id="lab"))
    names = await create_users(pair[0], "operator", 10)
    operators = await log_in_all(pair, names, addresses=10)
    changes = [
        {"device_id": "lab", "setpoint_tenths": 300 + number, "deadband_tenths": 20 + number}
        for number in range(10)
    ]
    answers = await asyncio.gather(
        *(
            operator.post("/api/set_setpoint", change)
            for operator, change in zip(operators, changes, strict=True)
        )
    )
    assert Counter(answer.status for answer in answers) == {200: 10}
    for container in pair:
        zone = (await container.base.stores.zones.get("default", "lab")).zone
        number = int(zone.updated_by.removeprefix("operator"))
        assert (zone.setpoint_tenths, zone.deadband_tenths) == (300 + number, 20 + number)
        status = (await Caller(container.app).get("/api/status?device_id=lab")).json()
        assert (status["setpoint_tenths"], status["deadband_tenths"]) == (300 + number, 20 + number)
    entries = {one.username: one.details for one in await audited(pair[0], "SETPOINT_CHANGE")}
    new = {name: {key: entry[key] for key in changes[0]} for name, entry in entries.items()}
    assert new == dict(zip(names, changes, strict=True))
    # Each change names the value that it replaced: that of the one before.
    replaced = [entry["old_setpoint_tenths"] for entry in entries.values()]
    assert sorted([*replaced, 300 + number]) == [230, *range(300, 310)]
    assert len(await audited(pair[0], "SETPOINT_CHANGE")) == 10
