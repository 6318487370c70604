"""The version of the tables in a database file, and the refusal of a file of a later version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from server.services.ports.documents import StoreUnavailable

# Files of earlier programs have 0: they keep readings as documents, and are converted. A program
# that knows only 1 would add readings to hours that are summed up.
VERSION = 2


class NewerFile(StoreUnavailable):
    """A later version of the program has changed the file: this one could damage it."""


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise NewerFile if the file was changed by a later version of the program."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise NewerFile(
            message=f"{path} has version {version} and this program knows versions up to {VERSION}:"
            " start the program that was used last, or restore a back-up from before the upgrade"
        )
