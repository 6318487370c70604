"""ReaderThreads: the number of threads and connections, and the effects of a failing one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.common.metrics import Metrics
from server.services.ports.documents import StoreUnavailable
from server.services.sqlite.reader_threads import ReaderThreads

WAIT_S = 60.0


class Database:
    """Makes up to `may` connections to an empty database; further ones fail."""

    def __init__(self, may: int = 10) -> None:
        self.made, self.may = 0, may

    def connect(self) -> sqlite3.Connection:
        self.made += 1
        if self.made > self.may:
            raise sqlite3.OperationalError("no more")
        return sqlite3.connect(":memory:")


def readers_of(database: Database, count: int) -> ReaderThreads:
    return ReaderThreads(
        database.connect, lambda: 0, Metrics(), count=count, timeout_s=WAIT_S, max_waiting=100
    )


@asynccontextmanager
async def opened(database: Database, count: int) -> AsyncIterator[ReaderThreads]:
    readers = readers_of(database, count)
    await readers.open()
    try:
        yield readers
    finally:
        await readers.close()


def one(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT 1").fetchone()[0])


def threads() -> int:
    return sum(thread.name == "sqlite-reader" for thread in threading.enumerate())


async def test_threads_start_when_they_are_needed_and_end_with_the_readers() -> None:
    database, before = Database(), threads()
    async with opened(database, 3) as readers:
        for _ in range(20):
            assert await readers.run(one) == 1
        assert (database.made, threads() - before) == (1, 1)
        together = threading.Barrier(3)
        await asyncio.gather(*(readers.run(lambda _: together.wait(WAIT_S)) for _ in range(3)))
        await asyncio.gather(*(readers.run(one) for _ in range(50)))
        assert (database.made, threads() - before) == (3, 3)
    assert threads() == before


async def test_reads_continue_if_no_further_connection_can_be_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database(may=1)
    async with opened(database, 2) as readers:
        assert await asyncio.gather(*(readers.run(one) for _ in range(50))) == [1] * 50
    assert "no more" in caplog.text


async def test_a_database_that_cannot_be_opened_is_reported_at_once() -> None:
    with pytest.raises(sqlite3.OperationalError):
        async with opened(Database(may=0), 2):
            pass


async def test_without_any_connection_each_read_fails_at_once_until_one_can_be_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database(may=0)
    readers = readers_of(database, 2)
    with pytest.raises(sqlite3.OperationalError):
        await readers.open()
    try:
        for _ in range(3):
            reads = [readers.run(one) for _ in range(20)]
            async with asyncio.timeout(WAIT_S / 2):  # no read waits for its time limit
                found = await asyncio.gather(*reads, return_exceptions=True)
            assert {type(error) for error in found} == {StoreUnavailable}
        database.may = 100
        assert await readers.run(one) == 1
    finally:
        await readers.close()
    assert caplog.text.count("could not be opened: no more") == 1  # once, not for each read


async def test_a_read_that_the_shutdown_stops_is_refused_and_not_logged_as_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    readers = readers_of(Database(), 1)
    await readers.open()
    begun, go_on = threading.Event(), threading.Event()

    def count_for_long(connection: sqlite3.Connection) -> int:
        begun.set()
        go_on.wait(WAIT_S)
        return len(connection.execute(NUMBERS).fetchall())

    reads = [asyncio.create_task(readers.run(count_for_long)) for _ in range(2)]
    await asyncio.to_thread(begun.wait, WAIT_S)
    threading.Timer(0.01, go_on.set).start()
    await readers.close()
    for read in reads:
        with pytest.raises(StoreUnavailable, match="The store is closed"):
            await read
    assert caplog.records == []


# More steps than SQLite makes between two looks at whether the read is still wanted.
NUMBERS = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000)
SELECT i FROM n"""
