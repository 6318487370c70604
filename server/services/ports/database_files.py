"""DatabaseFiles: the port for whole database files, which are backed up, restored and recovered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

ShowProgress = Callable[[str, int, int], None]
"""Gets what is done, how much of it is done, and of how much. What it raises ends the work."""


class FileContents(NamedTuple):
    """What a database file holds: its size in bytes, and the rows of each table."""

    size: int
    rows: Mapping[str, int]


class RecoveredTable(NamedTuple):
    """What could be read of a table, and what could not.

    `lost` counts the lost rows; it is an estimate if `is_exact` is false. `which` names them, or
    the keys or times between which they were.
    """

    name: str
    rows: int
    lost: int
    is_exact: bool
    which: Sequence[str]


class DatabaseFiles(Protocol):
    """Works on files of the embedded store, without opening the store.

    All methods block. They raise OSError or ValueError with a text for the operator; no file is
    left under the target's name then. A new file is readable for its owner alone.
    """

    def back_up(
        self, database: Path, target: Path, replace: bool, report: ShowProgress
    ) -> FileContents:
        """Copy the database, as it is at one moment; a server may be writing to it."""

    def restore(
        self, source: Path, database: Path, now_ms: int, report: ShowProgress
    ) -> FileContents:
        """Copy a back-up to where a server expects its database; the relays' state is unknown."""

    def recover(
        self, damaged: Path, target: Path, replace: bool, report: ShowProgress
    ) -> Sequence[RecoveredTable]:
        """Write what can be read of a damaged database into a new file."""
