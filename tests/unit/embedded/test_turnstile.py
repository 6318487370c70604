"""Turnstile: processes that write to one file take turns, and none waits for ever."""

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

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.embedded.sqlite_client import SqliteClient
from server.services.embedded.turnstile import Turnstile
from server.services.firestore.base import Create

BOUND_S = 10.0
TIMEOUT_S = 2.0


class Process:
    """What one process has: a connection of its own, and its turnstile."""

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.connection = sqlite3.connect(
            folder / "store.db", timeout=0, isolation_level=None, check_same_thread=False
        )
        # As the store has it: in a rollback journal a commit has to wait for who only looks.
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.turnstile = Turnstile(folder, timeout_s=timeout_s)
        self.turnstile.open()

    def begin(self) -> None:
        self.turnstile.begin(self.connection)

    def end(self) -> None:
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.turnstile.close()
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
    """Whether the first place of the queue is taken."""
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


def test_who_just_wrote_queues_behind_who_waits(tmp_path: Path) -> None:
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


def test_nobody_holds_a_place_once_it_has_begun(tmp_path: Path) -> None:
    with processes(tmp_path, 1) as (process,):
        process.begin()
        assert not someone_waits(tmp_path)
        process.end()


def test_a_lock_that_is_not_given_up_is_waited_for_as_long_as_it_should(tmp_path: Path) -> None:
    with processes(tmp_path, 2, timeout_s=0.2) as (holder, waiter):
        holder.begin()
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            waiter.begin()
        assert 0.2 <= time.monotonic() - began < 2
        assert not someone_waits(tmp_path)
        holder.end()
        waiter.begin()
        waiter.end()


def test_who_hangs_in_the_first_place_holds_up_no_write_for_ever(tmp_path: Path) -> None:
    with processes(tmp_path, 1, timeout_s=0.2) as (process,), closing_fd(tmp_path) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        began = time.monotonic()
        process.begin()
        assert 0.1 <= time.monotonic() - began < 2
        process.end()
        assert someone_waits(tmp_path)  # it went without the place, and took it from nobody


def test_an_error_that_waiting_does_not_mend_comes_out_at_once(tmp_path: Path) -> None:
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


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        Turnstile(tmp_path / "nothing", timeout_s=1).open()
