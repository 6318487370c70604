"""Stores of readings of each kind, on SQLite in every form that readings may have there."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bas_server import INDEXES, Container
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.document_history import DocumentHistory
from server.services.ports.documents import (
    DocumentClient,
)
from server.services.ports.indexes import load_indexes
from server.services.ports.readings import NewRow, ReadingHistory
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.histories import START_MS, reading, rows_of, write_all
from tools.firestore_emulator import FirestoreEmulator, fresh_project

DECLARED = load_indexes(INDEXES)
WEEK_MS = 7 * 24 * HOUR_MS
# All readings of these tests are old enough to be sealed.
NOW_MS = START_MS + 4 * WEEK_MS


async def end_upkeep(container: Container) -> None:
    """End the background work on the store: documents that are readings stay documents."""
    for task in container.base.upkeep:
        await task.stop()


@dataclass
class Store:
    """A history, and how readings get into it."""

    history: ReadingHistory
    documents: DocumentClient

    # Whether the history knows how long each reading held.
    knows_held = False

    async def add(self, rows: Sequence[NewRow]) -> None:
        """Store readings, which are in the store's form at the return."""
        await write_all(self.history, rows)

    async def settle(self) -> None:
        """Bring readings that were written otherwise into the store's form."""


class Rows(Store):
    """SQLite, with rows as they were written."""

    knows_held = True


@dataclass
class Sealed(Store):
    """SQLite, with all readings in blocks."""

    keeper: HistoryKeeper | None = None

    knows_held = True

    async def add(self, rows: Sequence[NewRow]) -> None:
        await super().add(rows)
        await self.settle()

    async def settle(self) -> None:
        assert self.keeper is not None
        async for _ in self.keeper.pack(0):
            pass


class Mixed(Sealed):
    """SQLite, with readings in blocks, late and new ones, and documents of an earlier version."""

    knows_held = False

    async def add(self, rows: Sequence[NewRow]) -> None:
        cut = len(rows) * 2 // 3
        documents = [*rows[1:cut:4], *rows[cut::3]]
        ids = {row.id for row in (*rows[:cut:2], *documents)}
        await super().add(rows[:cut:2])
        await write_all(self.history, [row for row in rows if row.id not in ids])
        await write_all(DocumentHistory(self.documents, 90), documents)


Opener = Callable[[pytest.FixtureRequest, AsyncExitStack, str], Awaitable[Store]]


async def open_sqlite(
    kind: type[Store], request: pytest.FixtureRequest, resources: AsyncExitStack, name: str
) -> Store:
    folder: Path = request.getfixturevalue("tmp_path")
    clock, path = ManualClock(NOW_MS), folder / f"{name}.db"
    client = SqliteClient(path, DECLARED, clock, Metrics())
    await resources.enter_async_context(client)
    history = SqliteHistory(client)
    if not issubclass(kind, Sealed):
        return kind(history, client)
    return kind(history, client, keeper=HistoryKeeper(client, path, clock, 60))


async def open_rows(*arguments: Any) -> Store:
    return await open_sqlite(Rows, *arguments)


async def open_sealed(*arguments: Any) -> Store:
    return await open_sqlite(Sealed, *arguments)


async def open_mixed(*arguments: Any) -> Store:
    return await open_sqlite(Mixed, *arguments)


async def open_firestore(
    request: pytest.FixtureRequest, resources: AsyncExitStack, name: str
) -> Store:
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    clock = ManualClock(NOW_MS)
    client = init_client(emulator.host, DECLARED, clock, Metrics(), fresh_project())
    resources.push_async_callback(client.close)
    return Store(DocumentHistory(client, 90), client)


@dataclass
class Stores:
    """The stores of a test, all of the same kind."""

    opener: Opener
    request: pytest.FixtureRequest
    resources: AsyncExitStack
    number: int = 0

    async def open(self) -> Store:
        """An empty store more."""
        self.number += 1
        return await self.opener(self.request, self.resources, f"store-{self.number}")


OPENERS: dict[str, Opener] = {
    "rows": open_rows,
    "sealed": open_sealed,
    "mixed": open_mixed,
    "firestore": open_firestore,
}


def mixture(count: int = 60, seed: int = 1) -> list[NewRow]:
    """Readings of three devices over several spans, some of them at the same time.

    The temperature of each is another one.
    """
    chance = random.Random(seed)
    times = sorted(START_MS + chance.randrange(0, 8 * HOUR_MS, 60_000) for _ in range(count))
    times[count // 2] = times[count // 2 - 1]
    return rows_of(
        reading(
            at_ms,
            None if number % 10 == 9 else number,
            device_id=chance.choice(("attic", "lab", "roof")),
            cool_active=chance.random() < 0.5,
            heat_active=chance.random() < 0.5,
            received_ms=at_ms + chance.randrange(0, 5000),
        )
        for number, at_ms in enumerate(times)
    )
