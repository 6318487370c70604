"""Ways in which a server's SQLite store goes away and comes back, all of them real."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.process import ServerProcess

SUFFIXES = ("", "-wal", "-shm")
DISK_BYTES = 3_000_000
# Longer than a write is waited for.
SLOW_S, GAP_S = 3.0, 0.002

Outage = Callable[[Path, ServerProcess], AbstractContextManager[None]]
"""Of the database in this folder and its server: away within the block."""


def database(folder: Path) -> Path:
    return folder / "bas.db"


@contextmanager
def locked(folder: Path, _: object = None, *, new: bool = False) -> Iterator[None]:
    """Another process has the file for itself; it made it if it is `new`."""
    with contextlib.closing(sqlite3.connect(database(folder), isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout = 5000")
        if new:
            other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def slow(folder: Path, _: object = None) -> Iterator[None]:
    """Every write takes three seconds: another process has the lock, but for moments."""
    over = threading.Event()

    def hold() -> None:
        with contextlib.closing(sqlite3.connect(database(folder), isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 5000")
            while not over.is_set():
                other.execute("BEGIN IMMEDIATE")
                over.wait(SLOW_S)
                other.execute("ROLLBACK")
                time.sleep(GAP_S)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()


@contextmanager
def moved_away(folder: Path, _: object = None) -> Iterator[None]:
    """The file is somewhere else, and is put back."""
    file = database(folder)
    file.rename(folder / "elsewhere")
    yield
    (folder / "elsewhere").rename(file)


@contextmanager
def folder_gone(folder: Path, _: object = None) -> Iterator[None]:
    """The whole folder is somewhere else, and is put back."""
    elsewhere = folder.with_name(folder.name + "-elsewhere")
    folder.rename(elsewhere)
    yield
    elsewhere.rename(folder)


@contextmanager
def deleted(folder: Path, _: object = None) -> Iterator[None]:
    """The file is deleted, with what belongs to it; a back-up of before comes in its place."""
    copy = back_up(folder)
    for suffix in SUFFIXES:
        Path(f"{database(folder)}{suffix}").unlink()
    yield
    copy.rename(database(folder))


@contextmanager
def replaced(folder: Path, _: object = None) -> Iterator[None]:
    """A back-up of before is put in the file's place, whose `-wal` stays; then all is well."""
    back_up(folder).rename(database(folder))
    yield


@contextmanager
def copied_over(folder: Path, _: object = None) -> Iterator[None]:
    """A copy of before, with its own `-wal` and `-shm`, comes in the place of all three."""
    copy = Path(shutil.copytree(folder, folder.with_name("copy")))
    yield
    for suffix in SUFFIXES[::-1]:
        Path(f"{database(copy)}{suffix}").rename(f"{database(folder)}{suffix}")


@contextmanager
def file_too_large(_: Path, server: ServerProcess) -> Iterator[None]:
    """No file of this server may grow: what it writes fails, but is no full disk to SQLite."""
    before = [(pid, resource.prlimit(pid, resource.RLIMIT_FSIZE)) for pid in processes(server)]
    for pid, (_, hard) in before:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    yield
    for pid, limits in before:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def disk_full(folder: Path, _: object = None) -> AbstractContextManager[None]:
    """The disk is full to the last byte; `folder` is on a `small_disk`."""
    return filled(folder)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 3 MB at this folder; the test is skipped, loudly, where nothing can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"no disk can be mounted here ({done.stderr.strip()}): a full one is NOT tested"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        warnings.warn(reason, UserWarning, stacklevel=1)
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def back_up(folder: Path) -> Path:
    """A copy of the database as it is now, made as operations.md says."""
    copy = folder / "backup.db"
    with (
        contextlib.closing(sqlite3.connect(database(folder))) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def processes(server: ServerProcess) -> set[int]:
    """The processes of a server that open the database."""
    return server.children or {server.pid}
