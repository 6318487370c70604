"""Turnstile: who writes next, when several processes write to one file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

# Between two looks at a lock: a commit takes a tenth of a millisecond to several.
FIRST_LOOK_S, LATER_LOOKS_S = 0.0001, 0.0005


class Turnstile:
    """A queue of processes for SQLite's write lock, so that each of them gets it in its turn.

    SQLite's own waiting sleeps up to 100 ms between two looks, while a busy process takes the lock
    again microseconds after it gave it back: the others would starve. Here one process at a time
    waits for the lock, and who just had it queues behind it. The queue is a `flock` of the folder,
    which ends with its process. It orders the writers; what guards the file is SQLite's lock.
    """

    def __init__(self, folder: Path, *, timeout_s: float) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._fd: int | None = None

    def open(self) -> None:
        """Use the folder that is on the path now. OSError when it cannot be read."""
        self.close()
        self._fd = os.open(self._folder, os.O_RDONLY)

    def close(self) -> None:
        """Give up the place in the queue, if it holds one."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction that writes, on a connection without a busy time-out of its own.

        sqlite3.OperationalError when the lock cannot be had in time.
        """
        deadline = time.monotonic() + self._timeout_s
        with self.first():
            for pause_s in _looks():
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                    if not busy or time.monotonic() >= deadline:
                        raise
                time.sleep(pause_s)

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Hold the first place meanwhile; after half of the time, go without: its holder hangs."""
        assert self._fd is not None
        deadline = time.monotonic() + self._timeout_s / 2
        held = False
        for pause_s in _looks():
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                time.sleep(pause_s)
            if held or time.monotonic() >= deadline:
                break
        try:
            yield
        finally:
            if held:
                fcntl.flock(self._fd, fcntl.LOCK_UN)


def _looks() -> Iterator[float]:
    """The pauses between looks, without an end."""
    pause_s = FIRST_LOOK_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LATER_LOOKS_S)
