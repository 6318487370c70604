"""A block that was damaged on the disk is reported, and harms nothing but its own two hours."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bas_server import INDEXES
from server.common.metrics import Metrics
from server.services.ports.documents import StoreUnavailable
from server.services.ports.indexes import load_indexes
from server.services.ports.readings import NewRow, Span
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.reading_tables import SPAN_MS
from tests.support.clock import ManualClock
from tests.support.histories import reading

START = 1_790_000_000_000 // SPAN_MS * SPAN_MS - 3 * SPAN_MS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def client(path: Path) -> AsyncIterator[SqliteClient]:
    async with SqliteClient(path, load_indexes(INDEXES), ManualClock(), Metrics()) as opened:
        yield opened


async def store(history: SqliteHistory, *times: int) -> None:
    await history.write([], [NewRow(f"{one}", reading(one)) for one in times])


async def packed(client: SqliteClient, path: Path) -> None:
    keeper = HistoryKeeper(client, path, ManualClock(), 60)
    async for _ in keeper.pack(0):
        pass


async def damage(client: SqliteClient, span: int) -> bytes:
    """Change one byte in the middle of a block, as a failing disk does."""

    def change(connection: sqlite3.Connection) -> bytes:
        where = "reading_blocks WHERE span = ?"
        (body,) = connection.execute(f"SELECT body FROM {where}", (span,)).fetchone()
        middle = len(body) // 2
        wrong: bytes = body[:middle] + bytes((body[middle] ^ 1,)) + body[middle + 1 :]
        connection.execute("UPDATE reading_blocks SET body = ? WHERE span = ?", (wrong, span))
        return wrong

    return await client.writer.run(change)


async def test_a_damaged_block_is_an_error_with_its_device_and_time_and_others_are_read(
    client: SqliteClient, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = SqliteHistory(client)
    await store(history, START + 1, START + SPAN_MS + 1)
    await packed(client, path)
    await damage(client, START // SPAN_MS)
    with pytest.raises(StoreUnavailable):
        await history.page("default", "lab", 10, Span(START, START + SPAN_MS))
    (line,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert "checksum" in line
    assert "device 'lab', two hours from" in line
    later = await history.page("default", "lab", 10, Span(START + SPAN_MS, None))
    assert [one.timestamp_ms for one in later.readings] == [START + SPAN_MS + 1]


async def test_a_late_reading_of_a_damaged_block_begins_a_new_one_and_the_bytes_are_kept(
    client: SqliteClient, path: Path
) -> None:
    history = SqliteHistory(client)
    await store(history, START + 1)
    await packed(client, path)
    wrong = await damage(client, START // SPAN_MS)
    await store(history, START + 2)
    await packed(client, path)
    found = await history.page("default", "lab", 10)
    assert [one.timestamp_ms for one in found.readings] == [START + 2]
    kept = await client.readers.run(
        lambda connection: connection.execute("SELECT body FROM damaged_blocks").fetchall()
    )
    assert kept == [(wrong,)]


async def test_readings_after_a_damaged_block_are_packed(client: SqliteClient, path: Path) -> None:
    history = SqliteHistory(client)
    await store(history, START + SPAN_MS - 1)
    await packed(client, path)
    await damage(client, START // SPAN_MS)
    await store(history, START + SPAN_MS + 1)
    await packed(client, path)
    blocks = await client.readers.run(
        lambda connection: connection.execute("SELECT count(*) FROM reading_blocks").fetchall()
    )
    assert blocks == [(2,)]
