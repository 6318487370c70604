"""A process that stores readings, and packs them all the time: a test kills it.

`python -m tests.support.packing_process FILE NUMBER` prints the number of each stored reading, from
NUMBER on, and a line `packing` when it begins to pack.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.document_history import DocumentHistory
from server.services.ports.readings import NewRow, Reading
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from tests.support.histories import START_MS, reading
from tests.support.history_stores import DECLARED

FIRST_MS = START_MS - 365 * 24 * 3_600_000
STEP_MS, REMEMBER_MS = 60_000, 10 * 365 * 24 * 3_600_000
# One in so many readings is of the past, or is stored as an earlier version stored it.
LATE, OLD = 4, 5


def made(number: int) -> Reading:
    """The reading with this number. Two have the same time, and some are late by hours."""
    pair = number // 2
    late_ms = random.Random(pair).randrange(12 * 3_600_000) if pair % LATE == 0 else 0
    return reading(
        FIRST_MS + pair * STEP_MS - late_ms,
        number % 1000,
        device_id="old" if is_old(number) else f"d{pair % 3}",
        device_ticks_ms=number,
        received_ms=FIRST_MS + pair * STEP_MS,
        source_digest="d",
    )


def is_old(number: int) -> bool:
    """Whether it is stored as a document."""
    return number // 2 % OLD == 0


def row_of(number: int) -> NewRow:
    return NewRow(f"{number:032x}", made(number), REMEMBER_MS)


async def store(history: SqliteHistory, old: DocumentHistory, first: int) -> None:
    """Store two readings at a time, without an end."""
    for number in range(first, sys.maxsize, 2):
        rows = [row_of(number), row_of(number + 1)]
        await (old if is_old(number) else history).write([], rows)
        print(number, number + 1, sep="\n", flush=True)


async def main(path: Path, first: int) -> None:
    async with SqliteClient(path, DECLARED, SystemClock(), Metrics(), write_timeout_s=30) as client:
        keeper = HistoryKeeper(client, path, SystemClock(), 60)
        old = DocumentHistory(client, 36_500)
        storing = asyncio.create_task(store(SqliteHistory(client), old, first))
        while not storing.done():
            print("packing", flush=True)
            async for _ in keeper.pack(0):
                await asyncio.sleep(0)
        await storing


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
