"""kill -9 at any moment of conversion and sealing: each acknowledged reading is there once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.history.contents import content_of
from server.services.ports.readings import Reading
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from tests.support.forms import amount
from tests.support.history_stores import DECLARED
from tests.support.packing_process import made, row_of
from tools.process import REPOSITORY, clean_environment

ROUNDS = amount(3, 50)


def killed(path: Path, first: int, chance: random.Random) -> set[int]:
    """Run a process that stores and packs, and kill it; returns what it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.packing_process", str(path), str(first)],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    shown = []
    try:
        for line in process.stdout:
            shown.append(line)
            if shown.count("packing\n") == 2:
                break
        time.sleep(chance.random() * 0.5)  # any moment must do
    finally:
        process.kill()
    rest, _ = process.communicate()
    lines = "".join(shown) + rest[: rest.rfind("\n") + 1]
    return {int(line) for line in lines.split() if line != "packing"}


async def readings(history: SqliteHistory) -> list[Reading]:
    """Every stored reading, page by page, newest first."""
    found: list[Reading] = []
    cursor = None
    while True:
        page = await history.page("default", None, 500, cursor=cursor)
        found += page.readings
        cursor = page.next_cursor
        if cursor is None:
            return found


async def check(history: SqliteHistory, acknowledged: set[int]) -> int:
    """Compare the stored readings with those acknowledged; returns the highest number."""
    found = await readings(history)
    numbers = [one.device_ticks_ms for one in found]
    assert len(set(numbers)) == len(numbers) == await history.count()
    assert acknowledged <= set(numbers)
    assert [content_of(one) for one in found] == [content_of(made(n or 0)) for n in numbers]
    order = [(one.timestamp_ms, one.device_id, one.device_ticks_ms or 0) for one in found]
    assert order == sorted(order, reverse=True)
    known = [row_of(number) for number in sorted(acknowledged)[-400:]]
    assert await history.known("default", [row.id for row in known]) == {
        row.id: row.reading for row in known
    }
    return max((number for number in numbers if number is not None), default=-1)


async def test_a_kill_while_packing_loses_and_doubles_no_acknowledged_reading(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "store.db", SystemClock()
    chance, acknowledged, first = random.Random(7), set[int](), 0
    for _ in range(ROUNDS):
        new = killed(path, first, chance)
        assert new
        acknowledged |= new
        async with SqliteClient(path, DECLARED, clock, Metrics()) as client:
            first = await check(SqliteHistory(client), acknowledged) + 1
            assert first % 2 == 0, "one of two readings of a write is missing"
    async with SqliteClient(path, DECLARED, clock, Metrics()) as client:
        keeper = HistoryKeeper(client, path, clock, 60)
        async for _ in keeper.pack(0):
            pass
        assert await keeper.unpacked() == 0
        await check(SqliteHistory(client), acknowledged)
        intact = await client.readers.run(
            lambda connection: connection.execute("PRAGMA integrity_check").fetchall()
        )
    assert intact == [("ok",)]
