"""Server processes on one log, one of which is killed or replaced: its clients continue at another
process, and every process knows the sessions and the streams of the others."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.support.browser import open_site
from tests.support.crew import Crew
from tests.support.stream import WAIT_S, StreamClient, caller, eventually, log_in, post_reading
from tools.process import ServerProcess, run_command
from tools.redis_server import RedisServer

ROLLED = "all server processes are replaced"

CLIENTS = 50
PASSWORD = "correct horse"
# The contract gives a stream 5 s after its session.
GONE_S = 5.0
# A process publishes its count at once and every 5 s; that of a killed one expires after 15 s.
COUNTED_S, FORGOTTEN_S = 40.0, 60.0

Pair = tuple[ServerProcess, ServerProcess]


def two_servers(folder: Path, redis: RedisServer, **settings: str) -> Pair:
    """Two servers, not started yet, with the same folder and the same Redis."""
    own = {"REDIS_URL": redis.url, "BAS_SSE_HEARTBEAT_S": "1"} | settings
    return ServerProcess(folder, **own), ServerProcess(folder, **own)


async def test_clients_of_a_killed_server_continue_at_the_other_and_can_return(
    tmp_path: Path, redis: RedisServer
) -> None:
    a, b = two_servers(tmp_path, redis, BAS_AUTH_MODE="disabled")
    async with open_site(a, b) as site:
        movers, devices = site.at(a), site.posting_to(a)
        async with site.load():
            a.kill()
            await site.more()
            assert all(browser.resumes == ["fresh", "recovered"] for browser in movers)
            await asyncio.to_thread(a.start)
            for browser in movers:
                await browser.go_to(a)
            for device in devices:
                device.servers.rotate()
            assert site.posting_to(a) == devices
            await site.more()
        await site.all_complete()
        assert {tuple(browser.resumes) for browser in site.at(a)} == {
            ("fresh", "recovered", "recovered")
        }
        assert {tuple(browser.resumes) for browser in site.at(b)} == {("fresh",)}
        # Each had at most one post in flight when its server was killed.
        assert all(len(device.repeated) <= 1 for device in devices)


async def test_a_rolling_restart_under_load_fails_no_post_and_loses_no_event(
    tmp_path: Path, redis: RedisServer
) -> None:
    crew = Crew(tmp_path / "data", redis, BAS_PROCESSES="2", BAS_SSE_HEARTBEAT_S="1")
    async with open_site(crew, devices=6, browsers=CLIENTS) as site:
        before = crew.children
        async with site.load():
            crew.signal(signal.SIGHUP)
            await eventually(
                lambda: crew.lines_with(ROLLED),
                "the roll is over",
                3 * WAIT_S,
            )
            await site.more()
        await site.all_complete()
        assert crew.children.isdisjoint(before)
        assert not any(device.repeated for device in site.devices)
        for browser in site.browsers:
            assert browser.said_bye >= 1
            assert browser.resumes == ["fresh"] + ["recovered"] * browser.said_bye


async def test_a_logout_at_one_server_ends_the_streams_at_another(
    tmp_path: Path, redis: RedisServer
) -> None:
    a, b = two_servers(tmp_path, redis)
    async with open_site(a, b, devices=0, browsers=0):
        assert a.password is not None
        leaver, stayer = [await log_in(a.url, "admin", a.password) for _ in range(2)]
        async with (
            await StreamClient.open(b.port, session=leaver) as leaving,
            await StreamClient.open(b.port, session=stayer) as staying,
            caller(a.url, leaver) as client,
            caller(a.url) as device,
        ):
            await leaving.opening()
            await staying.opening()
            began = time.monotonic()
            assert (await client.post("/auth/logout")).status_code == 200
            await leaving.rest(GONE_S)
            assert time.monotonic() - began < GONE_S
            async with await StreamClient.open(b.port, session=leaver) as again:
                assert again.status == 401
            await post_reading(device, "zone", 230)
            await staying.live(1)


async def test_health_counts_the_streams_of_all_servers_and_drops_those_of_a_killed_one(
    tmp_path: Path, redis: RedisServer
) -> None:
    a, b = two_servers(tmp_path, redis)
    async with open_site(a, b, devices=0, browsers=0):
        assert a.password is not None
        add = ("create-user", "guest", "--role", "read-only", "--tenant", "elsewhere")
        run_command(*add, "--password-stdin", data_dir=tmp_path, stdin=PASSWORD).check_returncode()
        here = await log_in(a.url, "admin", a.password)
        there = await log_in(b.url, "guest", PASSWORD)

        async def stream(server: ServerProcess, session: str) -> StreamClient:
            opened = await StreamClient.open(server.port, session=session)
            await opened.opening()
            return opened

        async def says(server: ServerProcess, session: str) -> object:
            async with caller(server.url, session) as client:
                return (await client.get("/api/health")).json()["sse"]

        async def count(
            ours: int, theirs: int, *servers: ServerProcess, within_s: float = COUNTED_S
        ) -> None:
            """Wait until each server reports these counts to each tenant."""
            expected = [
                (here, {"scope": "site", "subscribers": {"default": ours}}),
                (there, {"scope": "site", "subscribers": {"elsewhere": theirs}}),
            ] * len(servers)

            async def is_said() -> bool:
                return expected == [
                    (session, await says(server, session))
                    for server in servers
                    for session in (here, there)
                ]

            await eventually(is_said, f"{ours} and {theirs} streams are counted", within_s)

        await count(0, 0, a, b)
        at_a = [await stream(a, here) for _ in range(3)] + [await stream(a, there)]
        at_b = [await stream(b, here) for _ in range(2)] + [await stream(b, there)]
        await count(5, 2, a, b)
        await at_a.pop(0).close()
        await at_b.pop().close()
        await count(4, 1, a, b)
        a.kill()
        await count(2, 0, b, within_s=FORGOTTEN_S)
        await asyncio.to_thread(a.start)
        at_a.append(await stream(a, here))
        await count(3, 0, a, b)
        for opened in at_a + at_b:
            await opened.close()
        await count(0, 0, a, b)


async def test_a_server_that_is_killed_while_its_events_wait_for_redis_resets_every_stream(
    tmp_path: Path, redis: RedisServer
) -> None:
    a, b = two_servers(tmp_path, redis, BAS_AUTH_MODE="disabled")
    async with open_site(a, b, expected="Redis does not answer|a process ended while") as site:
        async with site.load():
            redis.pause()
            await site.more()
        a.kill()
        redis.resume()
        await site.all_reset()
        assert not any(name.endswith(".waiting") for name in os.listdir(tmp_path))
        await asyncio.to_thread(a.start)
