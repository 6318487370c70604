"""Real outages of a server's SQLite store: each begins and ends with a `with` block."""

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

from tools.process import ServerProcess

SUFFIXES = ("", "-wal", "-shm")
DISK_BYTES = 3_000_000
# Longer than the server waits for a write.
SLOW_S, GAP_S = 3.0, 0.002

Outage = Callable[[Path, ServerProcess], AbstractContextManager[None]]
"""Takes the folder of the database and its server; the store fails within the block."""


def database(folder: Path) -> Path:
    return folder / "bas.db"


@contextmanager
def locked(folder: Path, _: object = None, *, new: bool = False) -> Iterator[None]:
    """Another connection locks the file; with `new` it also creates the file."""
    with contextlib.closing(sqlite3.connect(database(folder), isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout = 5000")
        if new:
            other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def slow(folder: Path, _: object = None) -> Iterator[None]:
    """Every write waits three seconds: another connection releases the lock only for moments."""
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
    """The file is moved to another name, then back."""
    file = database(folder)
    file.rename(folder / "elsewhere")
    yield
    (folder / "elsewhere").rename(file)


@contextmanager
def folder_gone(folder: Path, _: object = None) -> Iterator[None]:
    """The whole folder is moved to another name, then back."""
    elsewhere = folder.with_name(folder.name + "-elsewhere")
    folder.rename(elsewhere)
    yield
    elsewhere.rename(folder)


@contextmanager
def deleted(folder: Path, _: object = None) -> Iterator[None]:
    """The file, its `-wal` and its `-shm` are deleted; at the end a backup replaces them."""
    copy = back_up(folder)
    for suffix in SUFFIXES:
        Path(f"{database(folder)}{suffix}").unlink()
    yield
    copy.rename(database(folder))


@contextmanager
def replaced(folder: Path, _: object = None) -> Iterator[None]:
    """A backup replaces the file at the beginning, but the file's old `-wal` stays."""
    back_up(folder).rename(database(folder))
    yield


@contextmanager
def copied_over(folder: Path, _: object = None) -> Iterator[None]:
    """At the end an older copy of the file, its `-wal` and its `-shm` replaces all three."""
    copy = Path(shutil.copytree(folder, folder.with_name("copy")))
    yield
    for suffix in SUFFIXES[::-1]:
        Path(f"{database(copy)}{suffix}").rename(f"{database(folder)}{suffix}")


@contextmanager
def file_too_large(_: Path, server: ServerProcess) -> Iterator[None]:
    """The server's files may not grow: its writes fail, with another error than a full disk."""
    before = [(pid, resource.prlimit(pid, resource.RLIMIT_FSIZE)) for pid in processes(server)]
    for pid, (_, hard) in before:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    yield
    for pid, limits in before:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def disk_full(folder: Path, _: object = None) -> AbstractContextManager[None]:
    """The disk has no free byte; `folder` must be on a `small_disk`."""
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
    """Mount a disk of 3 MB at this folder; skip the test with a warning if that is impossible."""
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
    """Copy the database with SQLite's backup command, as operations.md describes."""
    copy = folder / "backup.db"
    with (
        contextlib.closing(sqlite3.connect(database(folder))) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def processes(server: ServerProcess) -> set[int]:
    """The processes of a server that use the database."""
    return server.children or {server.pid}
