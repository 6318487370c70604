"""Servers whose Firestore hangs or was killed: the commands that devices get during the outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.services.ports.documents import PAGE_MAX, Query
from tests.integration.test_store_away import BACK_S, check_events, ride_out, site
from tests.support.firestore import opened
from tests.support.pico import check_times
from tests.support.stream import eventually
from tools.firestore_emulator import FirestoreEmulator, fresh_project
from tools.redis_server import RedisServer

STOPPED_S = 20.0


@contextmanager
def paused(emulator: FirestoreEmulator) -> Iterator[None]:
    """The emulator hangs; it carries out the requests of this time later."""
    emulator.pause()
    try:
        yield
    finally:
        emulator.resume()


@contextmanager
def killed(emulator: FirestoreEmulator) -> Iterator[None]:
    """The emulator is killed, and restarted empty."""
    emulator.kill()
    yield
    emulator.start()


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
async def test_zones_are_controlled_while_firestore_hangs_or_is_down(
    tmp_path: Path, emulator: FirestoreEmulator, redis: RedisServer, processes: int
) -> None:
    project = fresh_project()
    settings = {
        "BAS_PROCESSES": str(processes),
        "USE_EMULATORS": "1",
        "FIRESTORE_EMULATOR_HOST": emulator.host,
        "GOOGLE_CLOUD_PROJECT": project,
        "USE_FIRESTORE_TELEMETRY": "1",
        "REDIS_URL": redis.url if processes > 1 else "",
    }
    async with site(tmp_path / "data", **settings) as made:
        took_s = [await ride_out(made, paused(emulator), back_s=2 * BACK_S) for _ in range(2)]
        check_events(made)
        async with opened(emulator.host, project) as google:
            page = await google.query(Query("telemetry"), PAGE_MAX)
        kept = {one.fields["device_ticks_ms"] for one in page.documents}
        said = [one for pico in made.picos for one in pico.said]
        assert {one.number for one in said if one.stored} <= kept
        assert len(page.documents) == len(kept)
        took_s.append(await ride_out(made, killed(emulator), back_s=2 * BACK_S))
        print("back after", [round(one, 2) for one in took_s])
        for pico in made.picos:
            check_times(pico)
        emulator.pause()
        await eventually(made.is_lost, "the store is lost")
        began = time.monotonic()
        assert await asyncio.to_thread(made.server.terminate) == 0
        assert time.monotonic() - began < STOPPED_S
        emulator.resume()
