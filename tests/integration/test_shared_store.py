"""Server processes on one data folder behave as one server towards devices and browsers."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_durability import MIN_TIME_MS, edges, stored
from tests.support.stream import StreamClient, caller, log_in
from tools.process import ServerProcess
from tools.redis_server import RedisServer

PROCESSES = 3
POSTERS = 8
WALKERS = 12
WALK_S = 24.0
POST_EVERY_S = 0.1
OPEN = {"BAS_AUTH_ENABLED": "0"}


class Servers:
    """Server processes on one data folder, each on another port."""

    def __init__(self, folder: Path, redis: RedisServer, stack: ExitStack, **settings: str) -> None:
        self._folder, self._stack = folder, stack
        self._settings = {"REDIS_URL": redis.url} | settings
        self.all: list[ServerProcess] = []
        self.members = [self.start() for _ in range(PROCESSES)]

    def start(self) -> ServerProcess:
        server = self._stack.enter_context(ServerProcess(self._folder, **self._settings))
        self.all.append(server)
        return server

    @property
    def output(self) -> str:
        """The output of all processes, including those that were killed."""
        return "".join(server.output for server in self.all)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@dataclass
class Walker:
    """A device whose temperature walks at random; each post goes to the next process."""

    name: str
    chance: random.Random
    posted: list[int] = field(default_factory=list)
    temp_tenths: int = 240

    async def walk(self, servers: Servers, until: float) -> None:
        """Post until this monotonic time; a post without an answer is repeated at the next
        process."""
        turns = itertools.count(self.chance.randrange(PROCESSES))
        async with caller("") as client:
            while time.monotonic() < until:
                step = self.chance.randint(-60, 60)
                self.temp_tenths = max(180, min(300, self.temp_tenths + step))
                await self._post(client, servers, turns)
                self.posted.append(self.temp_tenths)
                await asyncio.sleep(self.chance.uniform(0, 2 * POST_EVERY_S))

    async def _post(
        self, client: httpx.AsyncClient, servers: Servers, turns: Iterator[int]
    ) -> None:
        body = {"device_id": self.name, "temp_tenths": self.temp_tenths, "sensor_ok": True}
        key = {"Idempotency-Key": f"{self.name}/{len(self.posted)}"}
        for turn in itertools.islice(turns, 2 * PROCESSES):
            url = f"{servers.members[turn % PROCESSES].url}/api/sensor_data"
            try:
                answer = await client.post(url, json=body, headers=key)
            except httpx.TransportError:
                continue
            assert answer.status_code == 200, answer.text
            return
        raise AssertionError("no process answers")


@pytest.mark.long
async def test_zones_keep_their_minimum_times_when_a_process_and_redis_are_killed(
    tmp_path: Path, redis: RedisServer, stack: ExitStack
) -> None:
    servers = Servers(tmp_path, redis, stack, **OPEN)
    walkers = [Walker(f"walker-{n}", random.Random(n)) for n in range(WALKERS)]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for walker in walkers:
            group.create_task(walker.walk(servers, began + WALK_S))
        await asyncio.sleep(WALK_S / 4)
        servers.members[1].kill()
        servers.members[1] = await asyncio.to_thread(servers.start)
        await asyncio.sleep(WALK_S / 4)
        redis.kill()
    async with caller(servers.members[0].url) as client:
        for walker in walkers:
            rows = await stored(client, walker.name)
            # Every acknowledged reading is stored once, in the order of the posts.
            assert [row["temp_tenths"] for row in rows] == walker.posted
            times = [at for at, _ in edges(rows)]
            assert len(times) >= 2, "it never wanted to switch back"
            assert min(b - a for a, b in itertools.pairwise(times)) >= MIN_TIME_MS
    assert "database is locked" not in servers.output
    assert "Traceback" not in servers.output


@pytest.mark.parametrize("zones", [1, PROCESSES * POSTERS], ids=["one zone", "a zone each"])
async def test_processes_under_load_answer_every_post_and_store_each_reading_once(
    tmp_path: Path, redis: RedisServer, stack: ExitStack, zones: int
) -> None:
    servers = Servers(tmp_path, redis, stack, **OPEN)
    each = 50
    # Each reading has a unique date, to identify it. The dates are in the future, since the server
    # does not trust a date that is late or older than the last one.
    first_ms = round(time.time() * 1000) + 60_000
    expected: dict[str, list[int]] = {}
    statuses: Counter[int] = Counter()

    async def post(poster: int) -> None:
        name = f"zone-{poster % zones}"
        async with caller(servers.members[poster % PROCESSES].url) as client:
            for number in range(each):
                timestamp = first_ms + poster * each + number
                body = {"device_id": name, "temp_tenths": 300 - number, "sensor_ok": True}
                answer = await client.post("/api/sensor_data", json=body | {"timestamp": timestamp})
                statuses[answer.status_code] += 1
                expected.setdefault(name, []).append(timestamp)

    await asyncio.gather(*(post(poster) for poster in range(PROCESSES * POSTERS)))
    assert statuses == {200: PROCESSES * POSTERS * each}
    async with caller(servers.members[0].url) as client:
        for name, timestamps in expected.items():
            rows = await stored(client, name)
            assert [row["timestamp"] for row in rows] == sorted(timestamps)
    assert "database is locked" not in servers.output
    assert "Traceback" not in servers.output


async def test_a_log_out_at_one_process_ends_the_session_and_its_stream_at_another(
    tmp_path: Path, redis: RedisServer, stack: ExitStack
) -> None:
    one, other, _ = Servers(tmp_path, redis, stack).members
    assert one.password is not None
    session = await log_in(one.url, "admin", one.password)
    async with (
        caller(one.url, session) as here,
        caller(other.url, session) as there,
        await StreamClient.open(other.port, session=session) as stream,
    ):
        await stream.opening()
        assert (await there.get("/auth/status")).status_code == 200
        assert (await here.post("/auth/logout")).status_code == 200
        assert (await there.get("/auth/status")).status_code == 401
        await stream.rest()


async def test_wrong_passwords_at_all_processes_are_counted_together(
    tmp_path: Path, redis: RedisServer, stack: ExitStack
) -> None:
    servers = Servers(tmp_path, redis, stack).members
    password = servers[0].password

    async def log_in_on(server: ServerProcess, guess: str | None) -> Any:
        async with caller(server.url) as client:
            body = {"username": "admin", "password": guess}
            return (await client.post("/auth/login", json=body)).status_code

    guesses = [log_in_on(server, "wrong") for server in servers for _ in range(4)]
    found = Counter(await asyncio.gather(*guesses))
    assert found == {401: 5, 423: 7}
    assert [await log_in_on(server, password) for server in servers] == [423] * PROCESSES
