"""WriteTurns: gives processes that write to the same database file their turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

# Seconds between two attempts to get a lock; a commit takes between 0.1 ms and several ms.
PAUSE_MIN_S, PAUSE_MAX_S = 0.0001, 0.0005


class WriteTurns:
    """A queue of processes for SQLite's write lock, so that each process gets its turn.

    SQLite's own wait sleeps up to 100 ms between two attempts, while a busy process takes the lock
    again microseconds after it released it: the other processes would starve. Here only one process
    at a time waits for the lock, and the process that just had it queues behind. The queue is a
    `flock` on the folder, which the kernel releases when a process ends. It only orders the
    writers; SQLite's lock protects the file.
    """

    def __init__(self, folder: Path, *, timeout_s: float) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._fd: int | None = None

    def open(self) -> None:
        """Open the folder that is on the path now. Raises OSError if it cannot be read."""
        self.close()
        self._fd = os.open(self._folder, os.O_RDONLY)

    def close(self) -> None:
        """Close the folder, and with it leave the queue."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a write transaction, on a connection without a busy time-out.

        Raises sqlite3.OperationalError if the lock is not free in time.
        """
        deadline = time.monotonic() + self._timeout_s
        with self.first():
            for pause_s in _pauses():
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
        """Be first in the queue; after half of the time-out, continue anyway: the holder hangs."""
        assert self._fd is not None
        deadline = time.monotonic() + self._timeout_s / 2
        held = False
        for pause_s in _pauses():
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


def _pauses() -> Iterator[float]:
    """The pauses between attempts, without an end."""
    pause_s = PAUSE_MIN_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
