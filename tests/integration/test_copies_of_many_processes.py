"""Several processes on one Firestore and one Redis: what one changes, none remembers otherwise."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bas_server import Container, open_base, open_container
from server.config.config import ServerConfig
from server.services.firestore.base import Delete, Query
from server.services.firestore.copies import LIFE_S
from tests.conftest import PASSWORD
from tests.support.firestore import SWITCHES, FirestoreEmulator, on_firestore, opened
from tests.support.http import USERS, Answer, Caller, reading
from tests.support.redis import RedisServer
from tests.support.stream import eventually

# By notice: far less than a copy lives.
SOON_S = 0.5


@pytest.fixture
def settings(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    return on_firestore(ServerConfig(data_dir=tmp_path / "data"), firestore.host, *SWITCHES)


@pytest.fixture
async def accounts(settings: ServerConfig) -> None:
    """The usual accounts are there."""
    async with open_base(settings) as base:
        for name, role, tenant in USERS:
            await base.admin.create_user(name, PASSWORD, role, tenant)


@pytest.fixture
async def processes(
    settings: ServerConfig, accounts: None, redis: RedisServer
) -> AsyncIterator[list[Container]]:
    """Two, with a Redis between them."""
    shared = dataclasses.replace(settings, emulator_redis_url=redis.url)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_container(shared)) for _ in range(2)]


@pytest.fixture
async def strangers(settings: ServerConfig, accounts: None) -> AsyncIterator[list[Container]]:
    """Two that do not hear of each other."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_container(settings)) for _ in range(2)]


async def logged_in(container: Container, name: str) -> Caller:
    caller = Caller(container.app)
    assert (await caller.log_in(name)).status == 200
    return caller


def at(container: Container, caller: Caller) -> Caller:
    """The same browser, at another process."""
    return Caller(container.app, headers=caller.headers)


async def refused(caller: Caller, path: str = "/api/telemetry") -> bool:
    return (await caller.get(path)).status in {401, 403}


def reads(container: Container, collection: str, source: str) -> float:
    labels = {"collection": collection, "source": source}
    registry = container.base.metrics.registry
    return registry.get_sample_value("bas_cache_reads_total", labels) or 0.0


async def seconds_until_refused(caller: Caller, path: str = "/api/telemetry") -> float:
    return await eventually(lambda: refused(caller, path), "refused", 5)


async def test_a_log_out_ends_the_session_at_the_other_process(processes):
    one, other = processes
    here = await logged_in(one, "reader")
    there = at(other, here)
    assert not await refused(there)
    await here.post("/auth/logout")
    assert await refused(here)
    assert await seconds_until_refused(there) < SOON_S


async def test_a_session_of_one_site_is_none_of_another_that_shares_its_redis(
    processes, firestore, redis, tmp_path
):
    here = await logged_in(processes[0], "admin")
    redis.command("FLUSHALL")  # and with it that the log-in's documents are not to be kept yet
    assert not await refused(at(processes[1], here))
    elsewhere = ServerConfig(data_dir=tmp_path / "other", emulator_redis_url=redis.url)
    async with open_container(on_firestore(elsewhere, firestore.host, *SWITCHES)) as other:
        assert await refused(at(other, here))


async def test_a_copy_that_would_live_for_an_hour_lets_nobody_in(
    processes, settings, firestore, redis
):
    here = await logged_in(processes[0], "reader")
    redis.command("FLUSHALL")  # and with it that the log-in's documents are not to be kept yet
    assert not await refused(at(processes[1], here))
    client = processes[0].base.client
    (session,) = (await client.query(Query("sessions"), 1)).documents
    store = f"{firestore.host}/projects/{settings.google_cloud_project}/databases/(default)"
    # As when the clock of Redis' machine is set back.
    key = f"bas:copy:{store}/sessions/{session.id}"
    assert redis.command("PEXPIRE", key, "3600000") == ":1"
    async with opened(firestore.host, settings.google_cloud_project) as unheard:
        await unheard.write([Delete("sessions", session.id)])
    assert await seconds_until_refused(at(processes[1], here)) < LIFE_S["sessions"] + SOON_S


async def test_without_notices_a_session_is_gone_within_its_copys_life(strangers):
    one, other = strangers
    here = await logged_in(one, "reader")
    there = at(other, here)
    assert not await refused(there)
    await here.post("/auth/logout")
    assert await refused(here)
    assert await seconds_until_refused(there) < LIFE_S["sessions"] + SOON_S


async def test_a_password_set_from_the_command_line_ends_sessions_in_time(processes, settings):
    caller = await logged_in(processes[0], "reader")
    assert not await refused(caller)
    async with open_base(settings) as base:  # hears nobody, and nobody hears it
        await base.admin.set_password("reader", "another long password")
    # What Redis keeps was read before, and lives no longer than what a process keeps.
    assert await seconds_until_refused(caller) < LIFE_S["sessions"] + SOON_S
    newcomer = Caller(processes[1].app)
    assert (await newcomer.log_in("reader", "another long password")).status == 200


async def test_a_lost_role_is_lost_everywhere(processes):
    one, other = processes
    there = await logged_in(other, "admin")
    assert not await refused(there, "/api/audit/recent")
    await one.base.stores.users.update_user("admin", {"role": "operator"})
    assert await seconds_until_refused(there, "/api/audit/recent") < SOON_S


async def test_a_lock_closes_the_account_everywhere(processes):
    one, other = processes
    there = await logged_in(other, "operator")
    assert not await refused(there)
    guesser = Caller(one.app, address="203.0.113.9")
    answers = [(await guesser.log_in("operator", "wrong")).status for _ in range(5)]
    assert answers == [401] * 5
    assert await seconds_until_refused(there) < SOON_S


async def post(container: Container, key: str | None = None) -> Answer:
    headers = {"X-Device-Key": key} if key else {}
    body = reading(device_id="roof")
    return await Caller(container.app).post("/api/sensor_data", body, headers=headers)


async def test_a_new_device_key_counts_at_once_and_the_old_one_no_more(processes):
    one, other = processes
    assert (await post(other)).status == 200  # nobody registered it
    old = await one.base.admin.register_device("default", "roof")

    async def is_guarded() -> bool:
        return (await post(other)).status == 401

    assert await eventually(is_guarded, "the key is demanded", 5) < SOON_S
    assert (await post(other, old)).status == 200
    new = await one.base.admin.register_device("default", "roof")
    # A refusal is asked of the store: the new key is good before any notice came.
    assert (await post(other, new)).status == 200

    async def old_is_refused() -> bool:
        return (await post(other, old)).status == 401

    assert await eventually(old_is_refused, "the old key is refused", 5) < SOON_S


async def test_the_second_process_takes_what_the_first_one_read(processes):
    one, other = processes
    caller = await logged_in(one, "reader")
    assert not await refused(caller)
    for collection in ("sessions", "users", "login_attempts"):
        assert reads(one, collection, "store") > 0

    async def is_shared() -> bool:
        for process in processes:
            assert (await at(process, caller).get("/auth/status")).status == 200
        return all(reads(other, name, "shared") for name in ("sessions", "users"))

    await eventually(is_shared, "found in Redis", 10)


async def test_no_secret_is_in_redis(processes, redis):
    one, other = processes
    caller = await logged_in(one, "reader")
    for process in (one, other):
        assert not await refused(at(process, caller))
    names = await one.sse._log._client.keys("*")  # everything that is there
    values = [await one.sse._log._client.get(name) for name in names if b":copy:" in name]
    kept = b"".join([*names, *(value for value in values if value)])
    assert b"reader" in kept
    assert b"argon2" not in kept
    assert caller.session.encode() not in kept


async def test_a_reading_of_another_process_is_in_the_next_page(processes):
    one, other = processes
    reader = await logged_in(other, "reader")
    assert (await reader.get("/api/telemetry")).json() == []
    await post(one)

    async def is_shown() -> bool:
        return len((await reader.get("/api/telemetry")).json()) == 1

    assert await eventually(is_shown, "the reading is shown", 5) < SOON_S


async def test_a_reading_is_in_the_next_page_of_the_process_that_stored_it(processes):
    reader = await logged_in(processes[0], "reader")
    for count in range(1, 21):
        await post(processes[0])
        assert len((await reader.get("/api/telemetry")).json()) == count


async def test_a_crowd_of_dashboards_reads_the_store_once(processes):
    one, other = processes
    await post(one)
    browsers = [await logged_in(one, "reader"), await logged_in(other, "reader")]
    # What a process stored itself is shared once everyone has surely heard of it.
    await asyncio.sleep(1.1)

    async def look(number: int) -> int:
        return len((await browsers[number % 2].get("/api/telemetry")).json())

    began = time.monotonic()
    assert await asyncio.gather(*(look(number) for number in range(200))) == [1] * 200
    rounds = 1 + (time.monotonic() - began) / 1.5
    assert sum(reads(process, "telemetry", "store") for process in processes) <= 2 * rounds


async def test_requests_are_answered_while_redis_hangs(processes, redis):
    caller = await logged_in(processes[0], "reader")
    assert not await refused(caller)
    redis.pause()
    try:
        slowest = 0.0
        for _ in range(10):
            began = time.monotonic()
            assert (await caller.get("/api/telemetry")).status == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2
        await caller.post("/auth/logout")
        assert await refused(caller)
    finally:
        redis.resume()


async def test_what_is_written_while_redis_is_away_is_read_right_afterwards(processes, redis):
    one, other = processes
    here = await logged_in(one, "reader")
    there = at(other, here)
    assert not await refused(there)
    redis.kill()
    await here.post("/auth/logout")
    assert await refused(here)
    assert await seconds_until_refused(there) < LIFE_S["sessions"] + 2
    redis.start()
    assert await refused(there)
