"""Applies the writes of documents and readings, those of the same kind in one statement."""

# schema.table and schema.path check the names in the SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from server.common.random_ids import draw
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Put,
    Update,
    VersionConflict,
    Write,
)
from server.services.ports.values import INTEGER_MAX, check_id
from server.services.sqlite.documents import to_json
from server.services.sqlite.reading_writes import (
    NO_READINGS,
    ReadingSet,
    add_one_by_one,
    add_together,
)
from server.services.sqlite.schema import path, table
from server.services.sqlite.value_rows import execute_rows

# json_set takes at most 127 arguments in SQLite's default build: the body, then two for each field.
_FIELDS_PER_SET = 60

StatementRow = tuple[str, str, str, int]


class Shape(NamedTuple):
    """A statement, as the text before and after its VALUES.

    Each row of VALUES is an id, a version, a body or fields, and the required version. If a row
    changes no row of the table, `conflict` is the error. Without a `conflict`, that is no error.
    """

    before: str
    behind: str
    conflict: type[AlreadyExists] | type[VersionConflict] | None


class Step(msgspec.Struct, frozen=True, gc=False):
    """One write: its shape, its row, its document, and the version that the document will have."""

    shape: Shape
    row: StatementRow
    document: tuple[str, str]
    version: str


class WriteSet:
    """The writes of one batch, and the readings that are stored with them.

    Raises ValueError for an invalid collection, id, field or value.
    """

    def __init__(self, writes: Sequence[Write], readings: ReadingSet = NO_READINGS) -> None:
        self.readings = readings
        self.steps = [_step(write, str(draw() >> 1)) for write in writes]
        self.versions = [step.version for step in self.steps]

    def __call__(self, connection: sqlite3.Connection) -> list[str]:
        """Apply the writes one by one; return their versions.

        Raises AlreadyExists or VersionConflict; the writes before are applied then.
        """
        for step in self.steps:
            if not _applied(connection, step.shape, [step.row]):
                assert step.shape.conflict is not None
                raise step.shape.conflict(*step.document)
        add_one_by_one(connection, self.readings)
        return self.versions


def apply_together(connection: sqlite3.Connection, sets: Sequence[WriteSet]) -> bool:
    """Apply all sets in any order; return False if they must be applied one by one.

    That is the case if two of them write the same document, or one has a conflict. Some writes may
    be applied then, and the caller must roll back.
    """
    rows: dict[Shape, list[StatementRow]] = {}
    documents = set()
    count = 0
    shape, of_shape = None, list[StatementRow]()
    for one in sets:
        for step in one.steps:
            if step.shape is not shape:  # most steps have the shape of the step before
                shape = step.shape
                of_shape = rows.setdefault(shape, [])
            of_shape.append(step.row)
            documents.add(step.document)
            count += 1
    return (
        len(documents) == count
        and all(_applied(connection, shape, shape_rows) for shape, shape_rows in rows.items())
        and add_together(connection, [one.readings for one in sets])
    )


def _applied(connection: sqlite3.Connection, shape: Shape, rows: Sequence[StatementRow]) -> bool:
    changed = execute_rows(connection, shape.before, shape.behind, rows)
    return shape.conflict is None or changed == len(rows)


def _step(write: Write, version: str) -> Step:
    """Make a write's shape and row.

    Its version is a random number. A document that was deleted and created again therefore never
    gets a version that a caller still holds, and processes need no shared counter.
    """
    check_id(write.id)
    names: tuple[str, ...] = ()
    demanded = None if isinstance(write, Create) else write.if_version
    if isinstance(write, (Create, Put)):
        fields = to_json(write.fields)
    elif isinstance(write, Update):
        fields, names = to_json(write.fields), tuple(write.fields)
    else:
        fields, version = "null", ""
    shape = _shape(type(write), write.collection, demanded is not None, names)
    number = -1 if demanded is None else _number(demanded)
    return Step(shape, (write.id, version, fields, number), (write.collection, write.id), version)


def _number(version: str) -> int:
    """A required version as it is stored; -1, which no document has, for an invalid version."""
    if version.isascii() and version.isdecimal():
        number = int(version)
        if number <= INTEGER_MAX:
            return number
    return -1


@lru_cache(maxsize=256)
def _shape(kind: type[Write], collection: str, demands: bool, names: tuple[str, ...]) -> Shape:
    """The statement for writes of this kind; `names` are the fields that an Update sets."""
    name = table(collection)
    matched = f"{name}.id = column1"
    if demands:
        matched += f" AND {name}.version = column4"
    insert = f"INSERT INTO {name} SELECT column1, column2, column3 FROM "
    given = " WHERE column1 IS NOT NULL ON CONFLICT"
    if kind is Create:
        return Shape(insert, f"{given} DO NOTHING", AlreadyExists)
    if kind is Put and not demands:
        update = "(id) DO UPDATE SET version = excluded.version, body = excluded.body"
        return Shape(insert, f"{given} {update}", VersionConflict)
    if kind is Delete:
        return Shape(
            f"DELETE FROM {name} WHERE rowid IN (SELECT {name}.rowid FROM ",
            f" CROSS JOIN {name} WHERE {matched})",
            VersionConflict if demands else None,
        )
    body = "column3" if kind is Put else _merged(names)
    return Shape(
        f"UPDATE {name} SET version = column2, body = {body} FROM ",
        f" WHERE {matched}",
        VersionConflict,
    )


def _merged(names: Sequence[str]) -> str:
    """The SQL of a body whose top-level fields `names` are set to the values in the row."""
    expression = "body"
    for start in range(0, len(names), _FIELDS_PER_SET):
        pairs = "".join(
            f", {path(name)}, json(column3 -> {path(name)})"
            for name in names[start : start + _FIELDS_PER_SET]
        )
        expression = f"json_set({expression}{pairs})"
    return expression
