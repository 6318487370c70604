"""Gives the unused pages of a database file back to the disk."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

# Pages of one step: other processes write between two steps.
PAGES_AT_ONCE = 1000
BUSY_S = 10.0
INCREMENTAL = 2


def give_back(path: Path) -> Iterator[tuple[int, int]]:
    """Shrink the file; yield the pages that are done, and all that there are to do.

    A file of an earlier version is rewritten, in one step in which nobody can write. Raises
    OSError if the disk has no room for that, or the database is in use for too long.
    """
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        yield 0, free
        (kind,) = connection.execute("PRAGMA auto_vacuum").fetchone()
        if kind == INCREMENTAL:
            yield from _by_steps(connection, free)
        else:
            _whole(connection, path)
            yield free, free
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        raise OSError(f"{path} cannot be shrunk now: {error}") from error
    finally:
        connection.close()


def _by_steps(connection: sqlite3.Connection, free: int) -> Iterator[tuple[int, int]]:
    left = free
    while left:
        # `execute` would stop after the first page.
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
        before, (left,) = left, connection.execute("PRAGMA freelist_count").fetchone()
        yield max(0, free - left), free
        if left >= before:  # others free pages as fast
            return


def _whole(connection: sqlite3.Connection, path: Path) -> None:
    # The new file is made beside the old one, and then goes through the -wal file.
    needed = 2 * path.stat().st_size
    if (room := shutil.disk_usage(path.parent).free) < needed:
        raise OSError(
            f"the disk has {room // 10**6} MB free, and rewriting {path} takes"
            f" {needed // 10**6} MB for a while: free some room first"
        )
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(
        f"PRAGMA temp_store_directory = '{str(path.parent).replace(chr(39), chr(39) * 2)}'"
    )
    connection.execute("VACUUM")
