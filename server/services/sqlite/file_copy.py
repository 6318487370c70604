"""Copies a database file while others write to it, at a bounded pace, and reads the copy back."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from server.services.ports.database_files import FileContents, ShowProgress
from server.services.sqlite.database_file import DAMAGES, SQLITE_SUFFIXES
from server.services.sqlite.expiry import COLLECTIONS
from server.services.sqlite.file_version import check_version
from server.services.sqlite.new_file import NewFile

PAGES_AT_ONCE = 256
# The share of the time that a copy works; for the rest, the disk and the core are the server's.
SHARE = 1 / 3
REST_MAX_S = 1.0
BUSY_S = 10.0
# Steps of SQLite's virtual machine between two rests of a check.
STEPS_PER_REST = 100_000
PROBLEMS_SHOWN = 3
_REMEDIES = {
    sqlite3.SQLITE_CANTOPEN: "run this command as the server's user",
    sqlite3.SQLITE_IOERR: "look at its disk, whether it is full, and at the kernel's log",
}

_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' ORDER BY name"
)
# The relays' state and the times of their last switch are those of the back-up. Since then a cooler
# may have been switched: it is off, and counts as switched now.
_RELAYS_UNKNOWN = """UPDATE zones SET version = version + 1, body = json_set(body,
    '$.relays_known', json('false'), '$.cool', json('false'), '$.heat', json('false'),
    '$.cool_changed_ms', 0, '$.cool_changed_wall_ms', ?, '$.run', 'restored')
    WHERE json_valid(body)"""


class Pace:
    """Rests for a multiple of the time since the last rest, so that a slow disk is spared more."""

    def __init__(self, share: float) -> None:
        self._rests = 1 / share - 1
        self._began = time.monotonic()

    def rest(self) -> None:
        worked = time.monotonic() - self._began
        time.sleep(min(REST_MAX_S, worked * self._rests))
        self._began = time.monotonic()


def back_up(database: Path, target: Path, replace: bool, report: ShowProgress) -> FileContents:
    """Copy a database that others may be writing to; see `DatabaseFiles`."""
    if target.exists() and database.exists() and target.samefile(database):
        raise ValueError(f"{target} is the database itself: name another path")
    with NewFile(target, replace=replace) as new:
        unused = _unused(database)
        try:
            with _opened(database, unused) as source:
                found = _copy(source, database, new, Pace(SHARE), report)
            is_whole = unused is None or unused == _unused(database)
        except OSError:
            if unused is None or unused == _unused(database):
                raise
            is_whole = False
        if not is_whole:  # a server has started in the meantime: now it is read beside that
            new.empty()
            with _opened(database, None) as source:
                found = _copy(source, database, new, Pace(SHARE), report)
        new.publish()
    return found


def restore(source: Path, database: Path, now_ms: int, report: ShowProgress) -> FileContents:
    """Copy a back-up to the path of a database; see `DatabaseFiles`."""
    with _opened(source, _unused(source)) as back_up, NewFile(database) as new:
        check_version(back_up, source)
        if back_up.execute(COLLECTIONS).fetchone() is None:
            raise ValueError(f"{source} has no table of this server: it is another program's file")
        found = _copy(back_up, source, new, Pace(1.0), report, unknown_since_ms=now_ms)
        new.publish()
    return found


class _Unused(NamedTuple):
    """What tells a file that no program has open from the same file after a write."""

    inode: int
    size: int
    modified_ns: int


def _unused(path: Path) -> _Unused | None:
    """None if a program may have the file open, or if it cannot be looked at."""
    try:
        if any(Path(f"{path}{suffix}").exists() for suffix in SQLITE_SUFFIXES):
            return None
        found = path.stat()
    except OSError:
        return None
    return _Unused(found.st_ino, found.st_size, found.st_mtime_ns)


@contextlib.contextmanager
def _opened(path: Path, unused: _Unused | None) -> Iterator[sqlite3.Connection]:
    """Open a database to read it as of one moment. OSError if it cannot be read.

    An unused file is read without locks: nothing is left beside it, and its folder may be
    read-only. What is read then is of one moment only if the file is still the same at the end.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    uri = f"{path.absolute().as_uri()}?mode=ro" + ("" if unused is None else "&immutable=1")
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("BEGIN")
            # This begins the transaction. Commits of others do not change what it reads, so the
            # copy never has to start again.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        remedy = f": {_REMEDIES[code]}" if code in _REMEDIES else ""
        if code in DAMAGES:
            remedy = f": it is damaged. `recover {path}` saves what can be read of it"
        raise OSError(f"{path} cannot be read: {error}{remedy}") from error


def _copy(
    source: sqlite3.Connection,
    path: Path,
    new: NewFile,
    pace: Pace,
    report: ShowProgress,
    unknown_since_ms: int | None = None,
) -> FileContents:
    """Copy all pages, and compare the copy with the source."""
    (pages,) = source.execute("PRAGMA page_count").fetchone()
    (page_size,) = source.execute("PRAGMA page_size").fetchone()
    new.need_room(pages * page_size)

    def copied(_: int, left: int, total: int) -> None:
        # Otherwise the whole copy would wait in memory, and a commit of the server for all of it.
        new.sync()
        report("copying, in pages", total - left, total)
        # `sleep` of `backup` waits only for locks.
        pace.rest()

    target = sqlite3.connect(new.part, isolation_level=None)
    try:
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=PAGES_AT_ONCE, progress=copied)
        # One file that can be read anywhere: the WAL mode would need files beside it.
        target.execute("PRAGMA journal_mode = DELETE")
        before = rows_of(source)
        if unknown_since_ms is not None and "zones" in before:
            target.execute(_RELAYS_UNKNOWN, (unknown_since_ms,))
    finally:
        target.close()
    new.forget_cache()
    _verify(new.part, path, before, pace, report)
    return FileContents(new.part.stat().st_size, before)


def rows_of(connection: sqlite3.Connection) -> dict[str, int]:
    """The number of rows of each table."""
    names = [name for (name,) in connection.execute(_TABLES).fetchall()]
    rows = {}
    for name in names:
        quoted = name.replace('"', '""')
        (rows[name],) = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()  # noqa: S608
    return rows


def problems_of(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with a file."""
    found = connection.execute("PRAGMA quick_check(10)").fetchall()
    return [text for (text,) in found if text != "ok"]


def _verify(copy: Path, path: Path, rows: dict[str, int], pace: Pace, report: ShowProgress) -> None:
    """Read the whole copy. Raises OSError if it is damaged, or lacks rows."""
    report("reading back", 0, 1)
    uri = f"{copy.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.set_progress_handler(pace.rest, STEPS_PER_REST)
    try:
        if problems := problems_of(connection):
            shown = "; ".join(" ".join(one.split()) for one in problems[:PROBLEMS_SHOWN])
            raise OSError(
                f"{path} is damaged ({shown}): `recover {path}` saves what can be read of it"
            )
        if (found := rows_of(connection)) != rows:
            wrong = sorted(name for name in rows if found.get(name) != rows[name])
            raise OSError(
                f"the copy of {path} differs in {', '.join(wrong)}: look at the target's disk,"
                " then do it again"
            )
    finally:
        connection.close()
    report("reading back", 1, 1)
