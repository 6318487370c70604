"""DatabaseFile: notices a replaced or missing database file, and names remedies for its errors."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

# Suffixes of the files that SQLite keeps beside a database.
SQLITE_SUFFIXES = ("-wal", "-shm")
# Suffix for such files of a database that was replaced.
REPLACED_SUFFIX = ".of-replaced"

_REMEDIES = {
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_BUSY: "another program keeps it locked: end that",
    sqlite3.SQLITE_IOERR: "look at its disk, its quota and the kernel's log",
    sqlite3.SQLITE_READONLY: "let this server write to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "let this server read and write it and its folder",
}
DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Identity(NamedTuple):
    """The identity of a file: no other file has it while a process has the file open."""

    device: int
    inode: int


class DatabaseFile:
    """The file on a path, and the identity of the file that was opened.

    SQLite identifies a file by its name. It continues to write to a file that was deleted or moved
    away. If the file was replaced, SQLite would apply the `-wal` of the old file to the new one and
    damage it.

    `on_damage` gets true when damage is found in the file, and false when another file is opened.
    """

    def __init__(self, path: Path, on_damage: Callable[[bool], None] = lambda _: None) -> None:
        self.path = path
        self._on_damage = on_damage
        self._opened: Identity | None = None
        self._beside: dict[str, Identity | None] = {}
        self.damage = ""
        """What is wrong with the content of the file; empty if nothing is known."""

    @property
    def was_opened(self) -> bool:
        """Whether this process has opened the file before."""
        return self._opened is not None

    def look(self) -> Identity | None:
        """The identity of the file on the path; None if it is missing."""
        return _identity(self.path)

    def opened(self, found: Identity | None) -> None:
        """Remember the identity of the file that is open now, and of the files beside it."""
        if found != self._opened:
            self.damage = ""
            self._on_damage(False)
        self._opened = found
        self._beside = {name: _identity(Path(f"{self.path}{name}")) for name in SQLITE_SUFFIXES}

    def is_there(self) -> bool:
        """Whether the file on the path is the opened one; true before the first opening."""
        return self._opened is None or _identity(self.path) == self._opened

    def set_old_files_aside(self) -> None:
        """Rename the `-wal` and `-shm` of an opened file that was replaced since.

        Files that came with the new file, or that another process made for it, stay. Only one
        process at a time may call this.
        """
        if self.is_there():
            return
        for name, before in self._beside.items():
            left = Path(f"{self.path}{name}")
            if before is not None and _identity(left) == before:
                left.rename(f"{left}{REPLACED_SUFFIX}")
                log.warning(
                    "%s was replaced by another file; what belonged to the old one is now %s%s",
                    self.path,
                    left,
                    REPLACED_SUFFIX,
                )

    @property
    def remedy(self) -> str:
        """What an operator does about a damaged file."""
        return f"stop the server and run `bas_server.py recover {self.path}`, or restore a back-up"

    def note(self, error: BaseException) -> bool:
        """Remember and log that the file is damaged, if this error shows that; return whether."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DAMAGES:
            return False
        self.found_damage(str(error))
        return True

    def found_damage(self, what: str) -> None:
        """Remember that the content of the file is damaged; log it the first time."""
        if self.damage:
            return
        self.damage = what
        self._on_damage(True)
        log.error(
            "the database %s is damaged: %s. The server goes on, and decides from memory what it"
            " cannot store. Remedy: %s",
            self.path,
            what,
            self.remedy,
        )

    def explained(self, error: BaseException) -> str:
        """An error as text for the log: the path, the error and a remedy."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        remedy = self.remedy if code in DAMAGES else _REMEDIES.get(code)
        return f"{self.path}: {error}" + (f" ({remedy})" if remedy else "")


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Identity(found.st_dev, found.st_ino)
