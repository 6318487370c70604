"""LegacyDatabase: reads the existing server's `bas_telemetry.db`, in pages by rowid."""

# All names in the SQL come from this file; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Cell = int | float | str | bytes | None
DatabaseRow = dict[str, Cell]

# The columns that are read; a column that an older version lacks is None in every row. The first
# two of a table distinguish it from other servers' tables of the same name.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "users": (
        *("password_hash", "salt", "username", "role"),
        *("created_at", "last_login", "mfa_enabled", "password_history"),
    ),
    "telemetry": (
        *("temp_tenths", "timestamp", "setpoint_tenths", "deadband_tenths"),
        *("cool_active", "heat_active", "state", "sensor_ok"),
    ),
    "audit_log": ("action", "timestamp", "username", "ip_address", "details", "success"),
}
ROWID_MIN, ROWID_MAX = -(2**63), 2**63 - 1
# Longer texts are cut, so that a page of them fits into memory and a batch into a commit.
CELL_BYTES_MAX = 8192
BUSY_S = 5.0


class LegacyDatabase:
    """A file that another server may be writing to; it is never changed or created.

    Each call is a separate read and leaves no lock behind, so that the other server does not wait.
    Calls block, for BUSY_S at most while the other server holds a lock. All raise OSError that
    names the remedy if the file cannot be read or is not a database of the existing server.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unchanged: tuple[int, int] | None = None

    def __enter__(self) -> LegacyDatabase:
        if not self._path.exists():
            raise FileNotFoundError(f"{self._path} is not there")
        if not self._path.is_file():
            raise OSError(f"{self._path} is not a file")
        self._path.open("rb").close()  # its error says why reading is refused; SQLite's does not
        self._connection = self._connect("mode=ro")
        try:
            self._columns = self._known_columns()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of COLUMNS that the file has."""
        return tuple(self._columns)

    def count(self, table: str) -> int:
        """How many rows the table has now."""
        count: int = self._rows(f'SELECT count(*) FROM "{table}"')[0][0]
        return count

    def page(self, table: str, after: int | None, limit: int) -> list[DatabaseRow]:
        """Return the first `limit` rows whose rowid is greater than `after`, in rowid order.

        Each has its `rowid` and the table's columns. In texts U+FFFD replaces bytes that are not
        UTF-8; text and bytes are cut at CELL_BYTES_MAX.
        """
        if after == ROWID_MAX:
            return []
        first = ROWID_MIN if after is None else after + 1
        there = self._columns[table]
        cells = ", ".join(_cell(name) if name in there else "NULL" for name in COLUMNS[table])
        found = self._rows(
            f'SELECT rowid, {cells} FROM "{table}" WHERE rowid >= ? ORDER BY rowid LIMIT ?',
            (first, limit),
        )
        names = ("rowid", *COLUMNS[table])
        return [dict(zip(names, row, strict=True)) for row in found]

    def newest(self, table: str, limit: int) -> list[DatabaseRow]:
        """The last `limit` rows as from `page`, the newest first."""
        last = self._rows(f'SELECT max(rowid) FROM "{table}"')[0][0]
        if last is None:
            return []
        return self.page(table, max(last - limit, ROWID_MIN), limit)[::-1]

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?{mode}"
        connection = None
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if "immutable" not in mode and self._is_at_rest(error):
                self._unchanged = self._stamp()
                return self._connect("mode=ro&immutable=1")
            raise self._unreadable(error) from error
        return connection

    def _is_at_rest(self, error: sqlite3.Error) -> bool:
        """Whether no process writes to a WAL database in a folder that cannot be written.

        SQLite needs further files beside a WAL database even for reading; a running server would
        have made them.
        """
        wal = self._path.with_name(f"{self._path.name}-wal")
        refusals = {"SQLITE_READONLY_DIRECTORY", "SQLITE_CANTOPEN"}
        return error.sqlite_errorname in refusals and not wal.exists()

    def _stamp(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size

    def _known_columns(self) -> dict[str, set[str]]:
        found = {}
        for table, names in COLUMNS.items():
            exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
            if not self._rows(exists, (table,)):
                continue
            there = {
                row[0] for row in self._rows("SELECT name FROM pragma_table_info(?)", (table,))
            }
            if not there.issuperset(names[:2]):
                raise OSError(
                    f"{self._path} is not the existing server's database: its table {table} has"
                    f" no {names[0]} and {names[1]}"
                )
            if "rowid" in {name.lower() for name in there}:
                raise OSError(
                    f"{self._path} is not the existing server's database: its table {table} has"
                    " a column named rowid, so that rows cannot be identified"
                )
            found[table] = there
        if not found:
            raise OSError(
                f"{self._path} is not the existing server's database: it has none of the tables"
                f" {', '.join(COLUMNS)}"
            )
        return found

    def _rows(self, sql: str, parameters: tuple[Cell, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            found = self._connection.execute(sql, parameters).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise self._unreadable(error) from error
        if self._unchanged is not None and self._unchanged != self._stamp():
            raise OSError(f"{self._path} was changed during the copy: run this again")
        return found

    def _unreadable(self, error: Exception) -> OSError:
        match getattr(error, "sqlite_errorname", "").partition("_")[2]:
            case "NOTADB":
                advice = "it is not an SQLite database"
            case "BUSY" | "LOCKED" | "BUSY_RECOVERY":
                advice = "another process holds it: try again"
            case name if name.startswith(("CANTOPEN", "READONLY")):
                advice = (
                    "its server left it open and the folder cannot be written: copy it, with the"
                    " files beside it whose names begin alike, to a folder of your own"
                )
            case _:
                advice = "is it damaged? Try a back-up of it"
        return OSError(f"{self._path} cannot be read ({error}): {advice}")


def _cell(name: str) -> str:
    """Return the SQL for a column's value, which is cut if it is long."""
    size = f'length(CAST("{name}" AS BLOB))'
    cut = f'CAST(substr(CAST("{name}" AS BLOB), 1, {CELL_BYTES_MAX}) AS TEXT)'
    return f'CASE WHEN {size} > {CELL_BYTES_MAX} THEN {cut} ELSE "{name}" END'
