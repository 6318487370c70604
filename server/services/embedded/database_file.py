"""DatabaseFile: which file a database is kept in, and what an operator can do where it fails."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

# What SQLite keeps beside a file, by its name.
BESIDE = ("-wal", "-shm")
# What that is called which belongs to a file that is not there any more.
ASIDE = ".of-replaced"

_REMEDIES = {
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_BUSY: "another program keeps it locked: end that",
    sqlite3.SQLITE_IOERR: "look at its disk, its quota and the kernel's log",
    sqlite3.SQLITE_READONLY: "let this server write to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "let this server read and write it and its folder",
    sqlite3.SQLITE_CORRUPT: "move a back-up into its place, or move it away for a new one",
    sqlite3.SQLITE_NOTADB: "move a back-up into its place, or move it away for a new one",
}


class Identity(NamedTuple):
    """What tells a file from any other, as long as somebody has it open."""

    device: int
    inode: int


class DatabaseFile:
    """The file on a path, and which one it was when it was opened.

    SQLite knows it by its name alone: it goes on writing to a file that was deleted or moved away,
    and would take the `-wal` of a file that was replaced for that of the one in its place, which
    then is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: Identity | None = None
        self._beside: dict[str, Identity | None] = {}

    @property
    def was_opened(self) -> bool:
        """Whether there was one before."""
        return self._opened is not None

    def look(self) -> Identity | None:
        """The file that is on the path now; None if there is none."""
        return _identity(self.path)

    def opened(self, found: Identity | None) -> None:
        """This one, which was found before, is open now, with what SQLite keeps beside it."""
        self._opened = found
        self._beside = {name: _identity(Path(f"{self.path}{name}")) for name in BESIDE}

    def is_there(self) -> bool:
        """Whether what was opened is the file on the path; true if none was."""
        return self._opened is None or _identity(self.path) == self._opened

    def part_from_replaced(self) -> None:
        """Put aside what belongs to a file that was opened and replaced, for one process at a
        time. What came with the new file, or another process made for it, stays."""
        if self.is_there():
            return
        for name, before in self._beside.items():
            left = Path(f"{self.path}{name}")
            if before is not None and _identity(left) == before:
                left.rename(f"{left}{ASIDE}")
                log.warning(
                    "%s is another file now: %s%s is of the old one", self.path, left, ASIDE
                )

    def explained(self, error: Exception) -> str:
        """An error of this file for the log: where, what, and what to do about it."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        remedy = _REMEDIES.get(code)
        return f"{self.path}: {error}" + (f" ({remedy})" if remedy else "")


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Identity(found.st_dev, found.st_ino)
