"""Servers whose database file is locked, slow, full, moved, replaced or deleted for a while: the
commands that devices get during the outage, and that every acknowledged reading is stored."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support import outages
from tests.support.outages import Outage
from tests.support.pico import COLD, HOT, Pico, check_times, posting, usual_s
from tests.support.stream import StreamClient, StreamEnded, caller, eventually
from tools.process import ServerProcess
from tools.redis_server import RedisServer

OPEN = {"BAS_AUTH_ENABLED": "0"}
# Once the server knows that the store is lost, it answers at once, and not after 2.5 s; the first
# answers of an outage come within the firmware's patience.
AT_ONCE_S, PATIENCE_S = 1.0, 5.0
LOST_S, BACK_S = 60.0, 20.0
STOPPED_S = 20.0
LINES_A_SECOND = 4
POSTS = 10
# A process without a store switches off a zone that it does not know, so each must get a post. The
# kernel chooses the process of each connection: with 20 posts it omits one of two processes once in
# half a million runs.
KNOWN_AFTER = 20


@dataclass
class Site:
    """A server, its devices, and the events of its stream about them."""

    server: ServerProcess
    folder: Path
    running: Pico
    resting: Pico
    failing: Pico
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def picos(self) -> list[Pico]:
        return [self.running, self.resting, self.failing]

    async def is_lost(self) -> bool:
        async with caller(self.server.url) as client:
            answer = await client.get("/readyz")
        return answer.status_code == 503

    async def lost(self) -> float:
        """Wait until every process knows of the outage, so that nothing is stored; returns the
        monotonic time."""

        def check() -> bool:
            newest = [pico.said[-8:] for pico in self.picos]
            return all(len(some) == 8 and not any(one.stored for one in some) for some in newest)

        await eventually(check, "the store is lost", LOST_S)
        return time.monotonic()

    async def back(self, within_s: float) -> float:
        """Wait until the readings of every device are stored; returns the seconds."""
        began = time.monotonic()

        def check() -> bool:
            return all(pico.since(began) and pico.said[-1].stored for pico in self.picos)

        return await eventually(check, "readings are stored", within_s)


@asynccontextmanager
async def site(folder: Path, **settings: str) -> AsyncIterator[Site]:
    """A server with three zones: the first cools, the second rests, the third will have a fault."""
    server = ServerProcess(folder, **OPEN | settings)
    await asyncio.to_thread(server.start)
    try:
        names = ("running", "resting", "failing zone")
        made = Site(server, folder, *(Pico(server.port, name) for name in names))
        async with watched(made):
            for _ in range(KNOWN_AFTER):
                for pico, temp in zip(made.picos, (HOT, COLD, HOT), strict=True):
                    await pico.post(temp)
            assert [pico.cool for pico in made.picos] == [True, False, True]
            yield made
    except BaseException as error:
        error.add_note(server.output)
        raise
    finally:
        if server.is_running:
            await asyncio.to_thread(server.kill)


@asynccontextmanager
async def watched(made: Site) -> AsyncIterator[None]:
    async def watch() -> None:
        async with await StreamClient.open(made.server.port) as stream:
            with contextlib.suppress(StreamEnded):
                while True:
                    frame = await stream.frame(60)
                    if frame.event in {"telemetry", "zone"}:
                        made.events.append((frame.event, frame.json))

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def stored(folder: Path) -> set[int]:
    """The numbers of the readings in the file."""
    with contextlib.closing(sqlite3.connect(outages.database(folder))) as connection:
        rows = connection.execute(
            "SELECT ticks FROM readings UNION ALL SELECT ticks FROM late_readings"
        )
        return {number for (number,) in rows}


def record(folder: Path, name: str) -> dict[str, Any]:
    """The record of a zone in the file."""
    with contextlib.closing(sqlite3.connect(outages.database(folder))) as connection:
        found = connection.execute("SELECT body FROM zones")
        zones = [msgspec.json.decode(body) for (body,) in found]
    return next(zone for zone in zones if zone["device_id"] == name)


def check_stored(folder: Path, picos: Sequence[Pico], since: float = 0.0) -> None:
    """Check that every acknowledged reading is in the file, and no reading without an answer."""
    said = [one for pico in picos for one in pico.said]
    kept = stored(folder)
    assert {one.number for one in said if one.stored and one.began >= since} <= kept
    assert kept <= {one.number for one in said}


async def check_answers(made: Site) -> None:
    """Check the API's answers during an outage that the server knows of."""
    url = made.server.url
    async with caller(url) as client:
        body = {"device_id": "running", "temp_tenths": HOT, "sensor_ok": True}
        keyed = await client.post("/api/sensor_data", json=body, headers={"Idempotency-Key": "k"})
        assert (keyed.status_code, keyed.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert keyed.json()["cool_active"] is made.running.cool
        assert keyed.json()["stored"] is False
        rows = [body, body | {"device_id": "never heard"}]
        answer = (await client.post("/api/sensor_data/batch", json=rows)).json()
        assert answer["accepted"] == 0
        assert [error["code"] for error in answer["errors"]] == ["STORE_UNAVAILABLE"] * 2
        assert {one["device_id"]: one["stored"] for one in answer["commands"]} == {
            "running": False,
            "never heard": False,
        }
        shown = (await client.get("/api/status?device_id=running")).json()
        assert (shown["temp_tenths"], shown["cool_active"]) == (HOT, made.running.cool)
    stranger = Pico(made.server.port, "never heard")
    assert not (await stranger.post(HOT)).stored
    assert not stranger.cool
    async with await StreamClient.open(made.server.port) as late:
        zones = (await late.opening())["snapshot"].json["zones"]
        assert {"running", "resting", "failing zone"} <= {zone["device_id"] for zone in zones}


async def ride_out(
    made: Site, outage: AbstractContextManager[None], back_s: float = BACK_S
) -> float:
    """Run one outage while all devices post; the third zone gets a fault during it. Returns the
    seconds from the end of the outage until readings are stored again."""
    lines = len(made.server.lines)
    began = time.monotonic()
    made.failing.ok, made.failing.temp_tenths = True, HOT
    async with posting(made.picos):
        with outage:
            since = await made.lost()
            made.failing.ok = False
            made.resting.temp_tenths = HOT
            await check_answers(made)
            await eventually(lambda: not made.failing.heat, "the fault cuts")
            for pico in made.picos:
                await eventually(lambda pico=pico: len(pico.since(since)) >= POSTS, "they post on")
                assert usual_s(pico.since(since)) < AT_ONCE_S
                assert max(one.took_s for one in pico.since(began)) < PATIENCE_S
            made.resting.temp_tenths = COLD
        took_s = await made.back(back_s)
    seconds = time.monotonic() - began
    said = made.server.lines[lines:]
    assert len(said) < 10 + LINES_A_SECOND * seconds, "".join(said)
    assert "Traceback" not in "".join(said), "".join(said)
    return took_s


def check_events(made: Site) -> None:
    """Check that the stream has only stored readings, and a `zone` event for each fault."""
    temps = [one for name, one in made.events if name == "telemetry"]
    known = {one.number for pico in made.picos for one in pico.said if not one.stored}
    assert not known & {one["device_ticks_ms"] for one in temps if "device_ticks_ms" in one}
    cuts = [one for name, one in made.events if name == "zone" and one["state"] == "FAULT"]
    assert cuts


async def test_an_outage_of_the_file_loses_only_readings_that_were_not_acknowledged(
    tmp_path: Path,
) -> None:
    ways: list[Outage] = [
        outages.moved_away,
        outages.file_too_large,
        outages.folder_gone,
        outages.locked,
        outages.slow,
    ]
    folder = tmp_path / "data"
    async with site(folder) as made:
        for way in ways:
            assert await ride_out(made, way(folder, made.server)) < BACK_S, way
        check_events(made)
        # The fault is in the zone's record although no post after the outage wrote it.
        assert record(folder, "failing zone")["fault"]
        check_stored(folder, made.picos)
        await asyncio.to_thread(made.server.kill)
        check_stored(folder, made.picos)
    for pico in made.picos:
        check_times(pico)


@pytest.mark.parametrize("processes", [1, 2])
async def test_zones_are_controlled_while_the_disk_is_full(
    tmp_path: Path, redis: RedisServer, processes: int
) -> None:
    folder = tmp_path / "data"
    settings = {"BAS_PROCESSES": str(processes), "REDIS_URL": redis.url if processes > 1 else ""}
    with outages.small_disk(folder):
        async with site(folder, **settings) as made:
            for _ in range(2):
                await ride_out(made, outages.disk_full(folder))
            await asyncio.to_thread(made.server.kill)
            check_stored(folder, made.picos)
        for pico in made.picos:
            check_times(pico)


@pytest.mark.parametrize("way", [outages.deleted, outages.replaced, outages.copied_over])
async def test_an_older_copy_that_replaces_the_file_is_used_unchanged(
    tmp_path: Path, way: Outage
) -> None:
    folder = tmp_path / "data"
    async with site(folder) as made:
        old = {one.number for pico in made.picos for one in pico.said}
        with ExitStack() as stack:
            async with posting(made.picos):
                stack.enter_context(way(folder, made.server))
                await asyncio.sleep(1.0)
                stack.close()
                replaced = time.monotonic()
                await made.back(BACK_S)
        new = {one.number for pico in made.picos for one in pico.since(replaced) if one.stored}
        await asyncio.to_thread(made.server.kill)
    kept = stored(folder)
    assert new
    assert kept >= old | new
    with contextlib.closing(sqlite3.connect(outages.database(folder))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "Traceback" not in made.server.output


@pytest.mark.long
async def test_two_processes_give_consistent_commands_during_an_outage(
    tmp_path: Path, redis: RedisServer
) -> None:
    folder = tmp_path / "data"
    async with site(folder, BAS_PROCESSES="2", REDIS_URL=redis.url) as made:
        for way in (outages.locked, outages.moved_away):
            await ride_out(made, way(folder, made.server))
        check_events(made)
        async with posting(made.picos):
            with outages.locked(folder):
                await made.lost()
                assert made.running.cool
                redis.kill()
                # Without Redis neither process knows the commands that the other gave.
                await eventually(lambda: not (made.running.cool or made.running.heat), "all is off")
                await asyncio.to_thread(redis.start)
                off = time.monotonic()
                await asyncio.sleep(2)
                assert not any(one.command["heat_active"] for one in made.running.since(off))
            await made.back(BACK_S)
        check_stored(folder, made.picos)
        for pico in made.picos:
            check_times(pico, stops_too=pico is not made.running)
        # The server also stops in time while neither Redis nor the store answers.
        redis.pause()
        with outages.locked(folder):
            await eventually(made.is_lost, "the store is lost")
            began = time.monotonic()
            assert await asyncio.to_thread(made.server.terminate) == 0
            assert time.monotonic() - began < STOPPED_S
        redis.resume()


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_server_that_starts_with_a_locked_database_serves_and_logs_the_cause(
    tmp_path: Path, redis: RedisServer, processes: int
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    settings = {"BAS_PROCESSES": str(processes), "REDIS_URL": redis.url if processes > 1 else ""}
    server = ServerProcess(folder, **settings)
    with outages.locked(folder, new=True):
        await asyncio.to_thread(server.start)
        pico = Pico(server.port, "lab")
        assert not (await pico.post(HOT)).stored
        assert (pico.cool, pico.heat) == (False, False)
        async with caller(server.url) as client:
            assert (await client.get("/readyz")).status_code == 503
        said = [line for line in server.lines if str(outages.database(folder)) in line]
        assert any("locked" in line and "end that" in line for line in said)
        assert server.password is None
    await eventually(lambda: server.password, "the first admin is there", 2 * BACK_S)
    async with caller(server.url) as client:
        login = {"username": "admin", "password": server.password}
        assert (await client.post("/auth/login", json=login)).status_code == 200
    await eventually(lambda: _is_stored(pico), "readings are stored", BACK_S)
    began = time.monotonic()
    assert await asyncio.to_thread(server.terminate) == 0
    assert time.monotonic() - began < STOPPED_S
    assert "Traceback" not in server.output


async def _is_stored(pico: Pico) -> bool:
    return (await pico.post(COLD)).stored
