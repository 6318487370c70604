"""A minute without Redis, Firestore or room on the disk, under load: 20 lines of log at most."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support import outages
from tests.support.crew import Load
from tests.support.firestore import SHORT_LIVED, need_firestore
from tests.support.forms import is_long
from tests.support.redis import need_redis
from tests.support.stream import StreamClient, caller, eventually
from tools.firestore_emulator import FirestoreEmulator
from tools.process import ServerProcess
from tools.redis_server import RedisServer

# The long form is a drill: scripts/drills/quiet_outages.sh.
OUTAGE_S, LINES_MAX = (60.0, 20) if is_long() else (10.0, 10)
PEOPLE = 3
# The first line of a record; a traceback's lines follow it.
RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ [A-Z]+ \S")

Begin = Callable[[], None]


def without_redis(_: Path, opened: ExitStack) -> tuple[dict[str, str], Begin]:
    need_redis()
    redis = opened.enter_context(RedisServer())
    return {"REDIS_URL": redis.url, "BAS_PROCESSES": "2"}, redis.kill


def without_firestore(_: Path, opened: ExitStack) -> tuple[dict[str, str], Begin]:
    need_firestore()
    emulator = opened.enter_context(FirestoreEmulator(SHORT_LIVED))
    switches = "USE_EMULATORS", "USE_FIRESTORE_TELEMETRY", "USE_FIRESTORE_AUTH"
    settings = dict.fromkeys((*switches, "USE_FIRESTORE_AUDIT"), "1")
    return settings | {"FIRESTORE_EMULATOR_HOST": emulator.host}, emulator.kill


def with_a_full_disk(folder: Path, opened: ExitStack) -> tuple[dict[str, str], Begin]:
    opened.enter_context(outages.small_disk(folder))
    return {}, lambda: opened.enter_context(outages.disk_full(folder))


@asynccontextmanager
async def people(server: ServerProcess) -> AsyncIterator[None]:
    """Open streams, and people who ask for pages and change setpoints all the time."""
    over = asyncio.Event()

    async def one() -> None:
        async with caller(server.url) as client:
            while not over.is_set():
                for path in ("/api/status?device_id=load-0-0", "/api/devices", "/readyz"):
                    await client.get(path)
                await client.post("/api/set_setpoint", json={"setpoint_tenths": 215})

    streams = [await StreamClient.open(server.port) for _ in range(PEOPLE)]
    tasks = [asyncio.create_task(one()) for _ in range(PEOPLE)]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in streams:
            await stream.close()


def records(server: ServerProcess) -> list[str]:
    """The records of the log, but not those of changed setpoints: people may change many."""
    return [line for line in server.lines if RECORD.match(line) and ", set by " not in line]


@pytest.mark.long
@pytest.mark.parametrize("of", [without_redis, without_firestore, with_a_full_disk])
async def test_an_outage_under_load_writes_few_lines_and_no_traceback(
    tmp_path: Path, of: Callable[[Path, ExitStack], tuple[dict[str, str], Begin]]
) -> None:
    folder = tmp_path / "data"
    with ExitStack() as opened:
        settings, begin = of(folder, opened)
        own = {"BAS_AUTH_ENABLED": "0", "TMPDIR": str(tmp_path)} | settings
        server = opened.enter_context(ServerProcess(folder, **own))
        async with people(server), Load(server).at_work() as load:
            before = len(records(server))
            begin()
            answered = len(load.answered)
            await asyncio.sleep(OUTAGE_S)  # lines that do not come cannot be awaited
            during = records(server)[before:]
        assert len(load.answered) > answered + 100
        await eventually(lambda: bool(during), "the outage is logged")
        assert len(during) <= LINES_MAX, "".join(during)
        assert "Traceback" not in server.output, server.output
