"""Ten minutes of guessing at two machines whose clocks differ: no guess too many is checked, and
the user goes on working."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bas_server import Container
from server.auth import login
from server.auth.sessions import digest
from server.config.config import ServerConfig
from server.services.sse_service.stream_request import StreamRequest
from tests.support.clock import ManualClock
from tests.support.firestore import on_firestore
from tests.support.http import Caller, audited, logged_in, reading, served
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.redis_server import RedisServer

ATTACK_S, EVERY_S = 600, 15
HOME = "203.0.113.1"
LIMIT = 5
# A lock is over after eight rounds of guesses, so there are several during the attack.
LOCK_S, LOCKED_ROUNDS = 119, 8

Machines = list[tuple[Container, ManualClock]]


@pytest.fixture(params=["redis", "firestore"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """One SQLite file and a Redis, or all stores on Firestore without one."""
    settings = ServerConfig(
        data_dir=tmp_path / "data", lockout_duration=LOCK_S, max_concurrent_sessions=100
    )
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        return dataclasses.replace(settings, redis_url=redis.url)
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    return on_firestore(settings, emulator.host, *SWITCHES)


@pytest.fixture(params=[5, 300], ids=["5 s", "300 s"])
async def machines(
    request: pytest.FixtureRequest, config: ServerConfig, clock: ManualClock
) -> AsyncIterator[Machines]:
    """Two machines on one store, the second with a clock that is so many seconds ahead."""
    ahead = ManualClock(
        clock.now_ms() + request.param * 1000, boot="another machine", compared=True
    )
    clock.compared = True
    async with AsyncExitStack() as stack:
        yield [
            (await stack.enter_async_context(served(config, one)), one) for one in (clock, ahead)
        ]


def advance(machines: Machines, seconds: float) -> None:
    for _, clock in machines:
        clock.advance(seconds)


async def guess(machines: Machines, names: list[str], round_number: int) -> Counter[int]:
    """Wrong passwords for each name at both machines, each from a new address."""
    callers = [
        (Caller(container.app, f"198.51.{round_number}.{10 * place + number}"), name)
        for place, (container, _) in enumerate(machines)
        for number, name in enumerate(names * 3)
    ]
    answers = await asyncio.gather(*(caller.log_in(name, "wrong") for caller, name in callers))
    return Counter(answer.status for answer in answers)


async def test_ten_minutes_of_guesses_get_no_further_than_the_limit_and_shut_no_user_out(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASVS v5.0.0-6.3.1 and v5.0.0-6.1.1: brute force is limited, without malicious lockout."""
    monkeypatch.setattr(login, "REFUSAL_S", 0.0)  # refusals take 0.25 s each otherwise
    here, there = (container for container, _ in machines)
    await logged_in(here, "operator", address=HOME)
    session = await logged_in(there, "operator", address=HOME)
    owner = f"{digest(session.session)}:operator"
    stream = await there.sse.subscribe(StreamRequest("default", owner=owner))
    found: Counter[int] = Counter()
    rounds = ATTACK_S // EVERY_S
    for number in range(rounds):
        found += await guess(machines, ["operator", "nobody"], number)
        # The user mistypes, is told to wait, waits, and gets in: at both machines by turns.
        at = Caller((here, there)[number % 2].app, HOME)
        for status in (401, 401, 429):
            assert (await at.log_in("operator", "mistyped")).status == status
        advance(machines, 1)
        assert (await at.log_in("operator")).status == 200
        advance(machines, EVERY_S - 1)
    # For each of the two names.
    locks = 2 * -(-rounds // LOCKED_ROUNDS)
    assert found == {401: LIMIT * locks, 423: 12 * rounds - LIMIT * locks}
    failures = [one for one in await audited(here, "LOGIN_FAILURE") if one.address != HOME]
    assert len(failures) == LIMIT * locks
    assert len(await audited(there, "USER_LOCKED")) == locks
    # The session and the stream that were open before live on.
    assert (await session.get("/auth/status")).status == 200
    assert (await there.base.auth.sessions.ends(there.sse.hub.owners())).keys() == {owner}
    assert there.sse.hub.owners() == {owner}
    post = await Caller(there.app).post("/api/sensor_data", reading(device_id="after-the-attack"))
    assert post.status == 200
    async with asyncio.timeout(60):
        async for piece in stream:
            if b"after-the-attack" in piece:
                break
    stream.close()
