"""The caches of several processes on one Firestore and one Redis follow each other's changes."""

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
from server.services.firestore.cache.documents import LIFE_S
from server.services.ports.documents import Delete, Query
from tests.conftest import PASSWORD
from tests.support.firestore import on_firestore, opened
from tests.support.http import USERS, Answer, Caller, reading
from tests.support.stream import eventually
from tests.support.tokens import revoke, sending, token
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.redis_server import RedisServer

# A notice arrives within this time, which is shorter than the life of a cache entry.
SOON_S = 1.5


@pytest.fixture
def settings(tmp_path: Path, firestore: FirestoreEmulator) -> ServerConfig:
    return on_firestore(ServerConfig(data_dir=tmp_path / "data"), firestore.host, *SWITCHES)


@pytest.fixture
async def accounts(settings: ServerConfig) -> None:
    """Create the accounts of USERS."""
    async with open_base(settings) as base:
        for name, role, tenant in USERS:
            await base.admin.create_user(name, PASSWORD, role, tenant)


@pytest.fixture
async def processes(
    settings: ServerConfig, accounts: None, redis: RedisServer
) -> AsyncIterator[list[Container]]:
    """Two processes that share a Redis."""
    shared = dataclasses.replace(settings, emulator_redis_url=redis.url)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_container(shared)) for _ in range(2)]


@pytest.fixture
async def strangers(settings: ServerConfig, accounts: None) -> AsyncIterator[list[Container]]:
    """Two processes without Redis, which send each other no notices."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_container(settings)) for _ in range(2)]


async def logged_in(container: Container, name: str) -> Caller:
    caller = Caller(container.app)
    assert (await caller.log_in(name)).status == 200
    return caller


def at(container: Container, caller: Caller) -> Caller:
    """The same session at another process."""
    return Caller(container.app, headers=caller.headers)


async def refused(caller: Caller, path: str = "/api/telemetry") -> bool:
    return (await caller.get(path)).status in {401, 403}


def reads(container: Container, collection: str, source: str) -> float:
    labels = {"collection": collection, "source": source}
    registry = container.base.metrics.registry
    return registry.get_sample_value("bas_cache_reads_total", labels) or 0.0


async def seconds_until_refused(caller: Caller, path: str = "/api/telemetry") -> float:
    return await eventually(lambda: refused(caller, path), "refused")


async def test_a_log_out_ends_the_session_at_the_other_process(processes):
    one, other = processes
    here = await logged_in(one, "reader")
    there = at(other, here)
    assert not await refused(there)
    await here.post("/auth/logout")
    assert await refused(here)
    assert await seconds_until_refused(there) < SOON_S


async def test_a_session_of_one_site_is_invalid_at_another_site_on_the_same_redis(
    processes, firestore, redis, tmp_path
):
    here = await logged_in(processes[0], "admin")
    # After the writes of the log-in, marks in Redis forbid caching its documents for a while.
    redis.command("FLUSHALL")
    assert not await refused(at(processes[1], here))
    elsewhere = ServerConfig(data_dir=tmp_path / "other", emulator_redis_url=redis.url)
    async with open_container(on_firestore(elsewhere, firestore.host, *SWITCHES)) as other:
        assert await refused(at(other, here))


async def test_a_cache_entry_with_a_lifetime_of_an_hour_in_redis_is_not_trusted_that_long(
    processes, settings, firestore, redis
):
    here = await logged_in(processes[0], "reader")
    # After the writes of the log-in, marks in Redis forbid caching its documents for a while.
    redis.command("FLUSHALL")
    assert not await refused(at(processes[1], here))
    client = processes[0].base.client
    (session,) = (await client.query(Query("sessions"), 1)).documents
    store = f"{firestore.host}/projects/{settings.google_cloud_project}/databases/(default)"
    # The lifetime grows like this when the clock of Redis' machine is set back.
    key = f"bas:copy:{store}/sessions/{session.id}"
    assert redis.command("PEXPIRE", key, "3600000") == ":1"
    async with opened(firestore.host, settings.google_cloud_project) as without_notices:
        await without_notices.write([Delete("sessions", session.id)])
    assert await seconds_until_refused(at(processes[1], here)) < LIFE_S["sessions"] + SOON_S


async def test_a_session_ends_within_the_life_of_its_cache_entry_without_notices(strangers):
    one, other = strangers
    here = await logged_in(one, "reader")
    there = at(other, here)
    assert not await refused(there)
    await here.post("/auth/logout")
    assert await refused(here)
    assert await seconds_until_refused(there) < LIFE_S["sessions"] + SOON_S


async def test_set_password_ends_the_sessions_within_the_life_of_a_cache_entry(processes, settings):
    caller = await logged_in(processes[0], "reader")
    assert not await refused(caller)
    async with open_base(settings) as base:  # it neither gets nor sends notices
        await base.admin.set_password("reader", "another long password")
    # An entry in Redis was read earlier than that of a process and lives no longer.
    assert await seconds_until_refused(caller) < LIFE_S["sessions"] + SOON_S
    newcomer = Caller(processes[1].app)
    assert (await newcomer.log_in("reader", "another long password")).status == 200


async def test_a_change_of_role_applies_at_every_process(processes):
    one, other = processes
    there = await logged_in(other, "admin")
    assert not await refused(there, "/api/audit/recent")
    await one.base.stores.users.update_user("admin", {"role": "operator"})
    assert await seconds_until_refused(there, "/api/audit/recent") < SOON_S


async def test_an_account_that_is_locked_by_hand_loses_its_sessions_at_every_process(processes):
    one, other = processes
    there = await logged_in(other, "operator")
    assert not await refused(there)
    until_ms = one.base.site_clock.now_ms() + 60_000
    lock = await one.base.auth.lockout.accounts.setting("operator", None, until_ms)
    await one.base.client.write([lock])
    assert await seconds_until_refused(there) < SOON_S


async def test_a_revoked_token_ends_at_the_other_process_with_and_without_notices(
    processes, strangers
):
    for (one, other), most_s in (
        (processes, SOON_S),
        (strangers, LIFE_S["api_tokens"] + SOON_S),
    ):
        here = sending(one, await token(one))
        assert not await refused(here)
        there = at(other, here)
        assert not await refused(there)
        await revoke(one)
        assert await refused(here)
        assert await seconds_until_refused(there) < most_s


async def post(container: Container, key: str | None = None) -> Answer:
    headers = {"X-Device-Key": key} if key else {}
    body = reading(device_id="roof")
    return await Caller(container.app).post("/api/sensor_data", body, headers=headers)


async def test_a_new_device_key_is_accepted_at_once_and_the_old_one_is_soon_refused(processes):
    one, other = processes
    assert (await post(other)).status == 200  # not registered yet
    old = await one.base.admin.register_device("default", "roof")

    async def is_guarded() -> bool:
        return (await post(other)).status == 401

    assert await eventually(is_guarded, "the key is demanded") < SOON_S
    assert (await post(other, old)).status == 200
    new = await one.base.admin.register_device("default", "roof")
    # Before it refuses a key, a process reads the store: it needs no notice for the new key.
    assert (await post(other, new)).status == 200

    async def old_is_refused() -> bool:
        return (await post(other, old)).status == 401

    assert await eventually(old_is_refused, "the old key is refused") < SOON_S


async def test_a_process_uses_the_cache_entries_that_another_process_put_in_redis(processes):
    one, other = processes
    caller = await logged_in(one, "reader")
    assert not await refused(caller)
    for collection in ("sessions", "users", "login_attempts"):
        assert reads(one, collection, "store") > 0

    async def is_shared() -> bool:
        for process in processes:
            assert (await at(process, caller).get("/auth/status")).status == 200
        return all(reads(other, name, "shared") for name in ("sessions", "users"))

    await eventually(is_shared, "found in Redis")


async def test_no_secret_is_in_redis(processes, redis):
    one, other = processes
    caller = await logged_in(one, "reader")
    for process in (one, other):
        assert not await refused(at(process, caller))
    names = await one.sse._log._site._client.keys("*")
    values = [await one.sse._log._site._client.get(name) for name in names if b":copy:" in name]
    kept = b"".join([*names, *(value for value in values if value)])
    assert b"reader" in kept
    assert b"argon2" not in kept
    assert caller.session.encode() not in kept


async def test_a_reading_stored_by_another_process_is_soon_in_the_telemetry(processes):
    one, other = processes
    reader = await logged_in(other, "reader")
    assert (await reader.get("/api/telemetry")).json() == []
    await post(one)

    async def is_shown() -> bool:
        return len((await reader.get("/api/telemetry")).json()) == 1

    assert await eventually(is_shown, "the reading is shown") < SOON_S


async def test_a_reading_is_in_the_next_telemetry_of_the_process_that_stored_it(processes):
    reader = await logged_in(processes[0], "reader")
    for count in range(1, 21):
        await post(processes[0])
        assert len((await reader.get("/api/telemetry")).json()) == count


async def test_200_requests_for_the_same_telemetry_read_the_store_only_once_per_lifetime(processes):
    one, other = processes
    await post(one)
    browsers = [await logged_in(one, "reader"), await logged_in(other, "reader")]
    # A process caches its own writes in Redis only after every process must have the notice.
    await asyncio.sleep(1.1)

    async def look(number: int) -> int:
        answer = await browsers[number % 2].get("/api/telemetry")
        assert answer.status == 200, answer.body
        return len(answer.json())

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


async def test_a_change_made_during_a_redis_outage_is_still_seen_after_the_outage(processes, redis):
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
