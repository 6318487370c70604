"""Recovers a damaged database file: writes each row that can be read into a new file."""

# Names of tables are quoted; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from server.services.ports.database_files import RecoveredTable, ShowProgress
from server.services.ports.indexes import Index
from server.services.sqlite import lost_rows, schema
from server.services.sqlite.file_copy import problems_of
from server.services.sqlite.file_version import VERSION, NewerFile
from server.services.sqlite.new_file import NewFile
from server.services.sqlite.page_file import PageFile
from server.services.sqlite.recovered_schema import FoundTable, create_all, schema_of
from server.services.sqlite.recovery_repairs import repair
from server.services.sqlite.tree_reader import Lost, PageRow, StoredValue, TreeReader

ROWS_AT_ONCE = 500
DOCUMENT_COLUMNS = ["id", "version", "body"]
_TYPES: dict[str, type | tuple[type, ...]] = {"INTEGER": int, "TEXT": str, "BLOB": bytes}


class _Column(NamedTuple):
    name: str
    type: str
    required: bool
    key: int


@dataclass
class _Shape:
    """How a table's rows are stored: its columns in the order of a row."""

    columns: list[_Column]
    has_rowids: bool
    is_rowid: int | None = None
    """The column that is the rowid itself: a row has None there."""
    is_document: bool = False

    def values(self, row: PageRow) -> tuple[StoredValue, ...] | None:
        """The row's values, if they can be a row of this table."""
        values = row.values
        if len(values) != len(self.columns):
            return None
        if self.is_rowid is not None:
            values = (*values[: self.is_rowid], row.rowid, *values[self.is_rowid + 1 :])
        for value, column in zip(values, self.columns, strict=True):
            if value is None:
                if column.required:
                    return None
            elif not isinstance(value, _TYPES.get(column.type, (int, float, str, bytes))):
                return None
        if self.is_document and not _is_document(values[-1]):
            return None
        return values


@dataclass
class TableTally:
    """What was read of a table."""

    rows: int = 0
    lost: int = 0
    pages: int = 0
    """Lost pages whose number of rows is not known."""
    gaps: list[tuple[tuple[StoredValue, ...] | None, tuple[StoredValue, ...] | None]] = field(
        default_factory=list
    )
    """The rows before and after each loss."""


def recover(
    damaged: Path, target: Path, indexes: Sequence[Index], replace: bool, report: ShowProgress
) -> Sequence[RecoveredTable]:
    """Write what can be read of a damaged file into a new one; see `DatabaseFiles`."""
    if not damaged.is_file():
        raise FileNotFoundError(f"there is no file {damaged}")
    if target.exists() and target.samefile(damaged):
        raise ValueError("the new file cannot be the damaged one: name another path")
    with PageFile(damaged) as pages, NewFile(target, replace=replace) as new:
        if pages.version is not None and pages.version > VERSION:
            raise NewerFile(
                message=f"{damaged} has version {pages.version} and this program knows versions up"
                f" to {VERSION}: recover it with the program that was used last"
            )
        new.need_room(pages.count * pages.size)
        with closing(sqlite3.connect(new.part, isolation_level=None)) as connection:
            tables = _recover_all(connection, pages, indexes, report)
            if problems := problems_of(connection):
                raise OSError(
                    f"the new file {new.part} is damaged ({problems[0]}): look at its disk"
                )
        new.publish()
        return tables


def _recover_all(
    connection: sqlite3.Connection, pages: PageFile, indexes: Sequence[Index], report: ShowProgress
) -> list[RecoveredTable]:
    found = schema_of(pages, indexes)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    tallies = [_recover_table(connection, pages, table, report) for table in found.tables]
    create_all(connection, indexes)
    for table in found.tables:
        if _columns(connection, table.name) == DOCUMENT_COLUMNS:
            for statement in schema.create_statements(table.name, indexes):
                connection.execute(statement)
    lost = {table.name for table, one in zip(found.tables, tallies, strict=True) if one.lost}
    sums_lost = not found.is_whole or bool(lost & lost_rows.MADE_AGAIN)
    damaged_blocks = repair(connection, sums_lost=sums_lost)
    connection.execute(f"PRAGMA user_version = {pages.version or 0}")
    connection.execute("COMMIT")
    tables = [
        _summed_up(connection, pages, table, tally)
        for table, tally in zip(found.tables, tallies, strict=True)
    ]
    if not found.is_whole:
        which = ["a part of the list of tables: the tables above are those that were found"]
        tables.append(RecoveredTable("list of tables", 0, 1, False, which))
    if damaged_blocks:
        tables.append(lost_rows.of_blocks(damaged_blocks))
    return tables


def _recover_table(
    connection: sqlite3.Connection, pages: PageFile, table: FoundTable, report: ShowProgress
) -> TableTally:
    try:
        connection.execute(table.sql)
    except sqlite3.Error:
        return TableTally(pages=1)
    shape = _shape(connection, table)
    names = [column.name for column in shape.columns]
    names = ["rowid", *names] if shape.has_rowids else names
    insert = (
        f"INSERT OR IGNORE INTO {_quoted(table.name)} ({', '.join(map(_quoted, names))})"
        f" VALUES ({','.join('?' * len(names))})"
    )
    tally = TableTally()
    reader = TreeReader(pages, table.root, has_rowids=table.has_rowids)
    rows = _rows(reader, shape, tally)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        tally.rows += connection.executemany(insert, some).rowcount
        report(table.name, tally.rows, tally.rows)
    if table.name == "reading_series" and table.key_index:
        # All of a row is in its index as well.
        index = TreeReader(pages, table.key_index, has_rowids=False)
        devices = [row.values for row in index if isinstance(row, PageRow) and len(row.values) == 3]
        tally.rows += connection.executemany(
            "INSERT OR IGNORE INTO reading_series (tenant_id, device_id, id) VALUES (?, ?, ?)",
            devices,
        ).rowcount
    # A page that cannot be read held about as many rows as the others.
    tally.lost += tally.pages * max(1, tally.rows // max(1, reader.leaves))
    return tally


def _rows(
    reader: TreeReader, shape: _Shape, tally: TableTally
) -> Iterator[tuple[StoredValue, ...]]:
    """The table's rows, as they are inserted; counts what is lost."""
    before: tuple[StoredValue, ...] | None = None
    is_open = False
    for found in reader:
        values = shape.values(found) if isinstance(found, PageRow) else None
        if values is None or isinstance(found, Lost):
            if isinstance(found, Lost) and found.rows == 0:
                continue
            if isinstance(found, Lost) and found.rows is None:
                tally.pages += 1
            else:
                tally.lost += (found.rows or 1) if isinstance(found, Lost) else 1
            if not is_open:
                tally.gaps.append((before, None))
            is_open = True
            continue
        if is_open:
            tally.gaps[-1] = (tally.gaps[-1][0], values)
            is_open = False
        before = values
        yield (found.rowid, *values) if shape.has_rowids else values


def _shape(connection: sqlite3.Connection, table: FoundTable) -> _Shape:
    columns = [
        _Column(name, kind.upper(), bool(required), key)
        for _, name, kind, required, _, key in connection.execute(
            f"PRAGMA table_info({_quoted(table.name)})"
        )
    ]
    is_document = [column.name for column in columns] == DOCUMENT_COLUMNS
    if not table.has_rowids:
        # A row begins with the columns of its key.
        in_order = sorted(columns, key=lambda column: column.key or len(columns) + 1)
        return _Shape(in_order, has_rowids=False)
    keys = [number for number, column in enumerate(columns) if column.key]
    own = keys[0] if len(keys) == 1 and columns[keys[0]].type == "INTEGER" else None
    return _Shape(columns, has_rowids=True, is_rowid=own, is_document=is_document)


def _columns(connection: sqlite3.Connection, name: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(name)})")]


def _summed_up(
    connection: sqlite3.Connection, pages: PageFile, table: FoundTable, tally: TableTally
) -> RecoveredTable:
    """A table's line; which rows are lost is known exactly if the index on its key is readable."""
    keys: list[tuple[StoredValue, ...]] | None = None
    if tally.lost and table.key_index:
        keys = []
        there = f"SELECT 1 FROM {_quoted(table.name)} WHERE rowid = ?"
        for entry in TreeReader(pages, table.key_index, has_rowids=False):
            if isinstance(entry, Lost):
                keys = None
                break
            *key, rowid = entry.values
            if connection.execute(there, (rowid,)).fetchone() is None:
                keys.append(tuple(key))
    if keys is not None:
        return RecoveredTable(
            table.name, tally.rows, len(keys), True, lost_rows.keys(connection, table.name, keys)
        )
    which = lost_rows.gaps(connection, table.name, tally.gaps)
    return RecoveredTable(table.name, tally.rows, tally.lost, False, which)


def _is_document(body: StoredValue) -> bool:
    try:
        return isinstance(body, str) and isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
