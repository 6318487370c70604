"""Locks a data folder against a second server."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from pathlib import Path

from server.common.lock_file import open_lock
from server.config.config import ServerConfig
from server.processes import known_folder

log = logging.getLogger(__name__)

# Every server holds this file of its data folder locked.
SERVER_LOCK = "server.lock"
# A byte of the database file that stands for "a server uses it": no database is as long.
LOCKED_BYTE = 2**62


class OnlyServer:
    """Locks the data folder against a second server: their streams would miss each other's events.

    Servers that share events through Redis may share the folder, but not with other servers.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._path = config.data_dir / SERVER_LOCK
        self._database = config.database
        self._kind = fcntl.LOCK_SH if config.shared_redis_url else fcntl.LOCK_EX

    def __enter__(self) -> None:
        _make_private(self._path.parent)
        self._locked = [open_lock(self._path)]
        try:
            fcntl.flock(self._locked[0], self._kind | fcntl.LOCK_NB)
            self._lock_database()
        except BlockingIOError:
            self.__exit__()
            raise OSError(
                f"another server already uses {self._path.parent}, or `tenants delete` works in it:"
                " stop it, or give this server another BAS_DATA_DIR"
            ) from None
        known_folder.remember(self._path.parent)

    def _lock_database(self) -> None:
        """Lock the database too, since the lock file may be deleted while a server runs.

        A lock of an open file description at a byte far behind those that SQLite locks: it
        disturbs no lock of SQLite, whose own locks end when the process closes any descriptor of
        the file, which happens only in `__exit__`.
        """
        shared = self._kind == fcntl.LOCK_SH
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        try:
            self._locked.append(os.open(self._database, os.O_RDWR | os.O_CREAT, 0o600))
            span = struct.pack("hhqqi4x", kind, os.SEEK_SET, LOCKED_BYTE, 1, 0)
            fcntl.fcntl(self._locked[1], fcntl.F_OFD_SETLK, span)
        except BlockingIOError:
            raise
        except OSError as error:
            # The store says what is wrong with the file; some file systems know no such locks.
            log.debug("%s cannot be locked: %s", self._database, error)

    def __exit__(self, *_: object) -> None:
        for fd in self._locked:
            os.close(fd)


def _make_private(folder: Path) -> None:
    """Make the folder and those above it that are missing, each for this user alone."""
    if not folder.exists():
        _make_private(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
