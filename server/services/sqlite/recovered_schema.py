"""Finds the tables of a damaged database file, and where each of them begins."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec

from server.services.ports.indexes import Index
from server.services.sqlite import schema
from server.services.sqlite.page_file import ROOT, PageFile
from server.services.sqlite.reading_tables import TABLES
from server.services.sqlite.tree_reader import Lost, PageRow, StoredValue, TreeReader

SCHEMA_ROOT = 1
# Fields that only the documents of one collection have, in the order in which they are looked for.
_FIELDS = {
    "users": {"username", "password_hash"},
    "sessions": {"digest", "user_agent_digest"},
    "audit_log": {"event_type", "timestamp_ms"},
    "tenant_settings": {"revision", "setpoint_rev"},
    "login_attempts": {"locked_until_ms", "since_ms"},
    "zones": {"device_id", "last_seen_ms"},
    "zone_settings": {"device_id", "version", "updated_at"},
    "devices": {"device_id", "metadata"},
    "device_keys": {"tenant_id", "device_id"},
}
# A key's document has no other fields than its own and these.
_FURTHER = {"device_keys": {"used_ms", "until_ms", "replaces"}}


class FoundTable(NamedTuple):
    """A table, its first page, and that of the index on its key; 0 if there is none."""

    name: str
    root: int
    sql: str
    key_index: int = 0

    @property
    def has_rowids(self) -> bool:
        return not self.sql.upper().rstrip().endswith("WITHOUT ROWID")


class FoundSchema(NamedTuple):
    """The tables of a file, and whether the names of some are lost."""

    tables: Sequence[FoundTable]
    is_whole: bool


def schema_of(pages: PageFile, indexes: Sequence[Index]) -> FoundSchema:
    """The tables of a file. Raises ValueError if none is found."""
    found: list[tuple[str, str, str, int, str]] = []
    lost = 0
    for row in TreeReader(pages, SCHEMA_ROOT, has_rowids=True):
        if isinstance(row, Lost):
            lost += row.rows != 0
        elif len(row.values) == 5:
            kind, name, table, root, sql = row.values
            if isinstance(root, int) and root > 0:
                found.append((str(kind), str(name), str(table), root, str(sql or "")))
    if lost:
        found += _expected(pages, indexes, found)
        found += _by_content(pages, found)
    keys = {
        table: root
        for kind, name, table, root, _ in found
        if kind == "index" and name == f"sqlite_autoindex_{table}_1"
    }
    tables = [
        FoundTable(name, root, sql, keys.get(name, 0))
        for kind, name, _, root, sql in found
        if kind == "table" and sql.startswith("CREATE TABLE ") and not name.startswith("sqlite_")
    ]
    if not tables:
        raise ValueError(
            "no table can be found in the file: it is no database of this server, or nearly all of"
            " it is damaged. Restore a back-up"
        )
    return FoundSchema(tables, not lost)


def _expected(
    pages: PageFile, indexes: Sequence[Index], found: Sequence[tuple[str, str, str, int, str]]
) -> list[tuple[str, str, str, int, str]]:
    """Tables whose names are lost, if the file was made by this version of the program.

    It makes the same tables in the same order, so they begin on the same pages. This is believed
    only if it holds for all that was found, and if the pointer map agrees.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        fresh.execute("PRAGMA auto_vacuum = INCREMENTAL")
        create_all(fresh, indexes)
        made = fresh.execute(
            "SELECT type, name, tbl_name, rootpage, ifnull(sql, '') FROM sqlite_schema"
            # Other indexes are made in any order, but as many of them.
            " WHERE rootpage > 0 AND (type = 'table' OR name GLOB 'sqlite_autoindex_*')"
        ).fetchall()
    names = {name for _, name, *_ in found}
    roots = {name: root for _, name, _, root, _ in made}
    if any(roots.get(name, root) != root for _, name, _, root, _ in found):
        return []
    taken = {root for *_, root, _ in found}
    return [
        one
        for one in made
        if one[1] not in names
        and one[3] not in taken
        and (pages.parent(one[3]) or (0, 0))[0] == ROOT
    ]


def _by_content(
    pages: PageFile, found: Sequence[tuple[str, str, str, int, str]]
) -> list[tuple[str, str, str, int, str]]:
    """Tables of documents whose names are lost, by the fields of their first document."""
    names, taken = {name for _, name, *_ in found}, {root for *_, root, _ in found}
    more = []
    for root in pages.roots():
        reader = TreeReader(pages, root, has_rowids=True) if root not in taken else ()
        body = next(
            (row.values[-1] for row in reader if isinstance(row, PageRow) and len(row.values) == 3),
            None,
        )
        fields = _fields_of(body)
        for name, own in _FIELDS.items():
            further = _FURTHER.get(name, fields)
            if name not in names and fields >= own and fields - own <= further:
                sql = next(iter(schema.create_statements(name, ()))).replace("IF NOT EXISTS ", "")
                more.append(("table", name, name, root, sql))
                names.add(name)
                break
    return more


def _fields_of(body: StoredValue) -> set[str]:
    try:
        fields = msgspec.json.decode(body) if isinstance(body, str) else None
    except msgspec.DecodeError:
        return set()
    return set(fields) if isinstance(fields, dict) else set()


def create_all(connection: sqlite3.Connection, indexes: Sequence[Index]) -> None:
    """Make what is missing of the tables and indexes that a server makes in a new file."""
    for statement in TABLES:
        connection.execute(statement)
    for collection in sorted({index.collection for index in indexes}):
        for statement in schema.create_statements(collection, indexes):
            connection.execute(statement)
