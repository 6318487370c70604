"""WriteTurns: processes that write to one file take turns, and each waits a limited time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.documents import Create
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.write_turns import WriteTurns

BOUND_S = 60.0
TIMEOUT_S = 2.0


class Process:
    """One process's connection and its WriteTurns."""

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.connection = sqlite3.connect(
            folder / "store.db", timeout=0, isolation_level=None, check_same_thread=False
        )
        # As in the store: with a rollback journal a commit would have to wait for readers.
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.turns = WriteTurns(folder, timeout_s=timeout_s)
        self.turns.open()

    def begin(self) -> None:
        self.turns.begin(self.connection)

    def end(self) -> None:
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.turns.close()
        self.connection.close()


@contextmanager
def processes(folder: Path, count: int, **options: float) -> Iterator[list[Process]]:
    found = [Process(folder, **options) for _ in range(count)]
    try:
        yield found
    finally:
        for process in found:
            process.close()


def someone_waits(folder: Path) -> bool:
    """Whether a process waits at the head of the queue."""
    with closing_fd(folder) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def closing_fd(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_process_that_just_wrote_queues_behind_a_waiting_one(tmp_path: Path) -> None:
    with processes(tmp_path, 2) as (busy, patient):
        for _ in range(20):
            order: list[str] = []
            busy.begin()

            def wait_for_it(order: list[str] = order) -> None:
                patient.begin()
                order.append("patient")
                patient.end()

            waiting = threading.Thread(target=wait_for_it, daemon=True)
            waiting.start()
            eventually(lambda: someone_waits(tmp_path))
            busy.end()
            busy.begin()
            order.append("busy")
            busy.end()
            waiting.join(BOUND_S)
            assert order == ["patient", "busy"]


def test_a_process_leaves_the_queue_when_its_transaction_has_begun(tmp_path: Path) -> None:
    with processes(tmp_path, 1) as (process,):
        process.begin()
        assert not someone_waits(tmp_path)
        process.end()


def test_the_wait_for_a_lock_that_is_not_released_ends_at_its_time_limit(tmp_path: Path) -> None:
    with processes(tmp_path, 2, timeout_s=0.2) as (holder, waiter):
        holder.begin()
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            waiter.begin()
        assert 0.2 <= time.monotonic() - began < BOUND_S
        assert not someone_waits(tmp_path)
        holder.end()
        waiter.begin()
        waiter.end()


def test_a_process_that_hangs_at_the_head_of_the_queue_delays_a_write_for_a_limited_time(
    tmp_path: Path,
) -> None:
    with processes(tmp_path, 1, timeout_s=0.2) as (process,), closing_fd(tmp_path) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        began = time.monotonic()
        process.begin()
        assert 0.1 <= time.monotonic() - began < BOUND_S
        process.end()
        assert someone_waits(tmp_path)  # the other process still has its lock


def test_an_error_that_waiting_cannot_solve_is_raised_at_once(tmp_path: Path) -> None:
    with processes(tmp_path, 1, timeout_s=BOUND_S) as (process,):
        process.begin()
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
            process.begin()
        assert time.monotonic() - began < BOUND_S / 2
        assert not someone_waits(tmp_path)


async def test_a_client_s_write_queues_behind_another_process(tmp_path: Path) -> None:
    client = SqliteClient(tmp_path / "store.db", [], SystemClock(), Metrics())
    await client.open()
    with closing_fd(tmp_path) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        write = asyncio.create_task(client.write([Create("zones", "a", {})]))
        await asyncio.wait({write}, timeout=0.1)
        assert not write.done()
        fcntl.flock(fd, fcntl.LOCK_UN)
        async with asyncio.timeout(BOUND_S):
            await write
    await client.close()


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        WriteTurns(tmp_path / "nothing", timeout_s=1).open()
