"""Writes as SQL that takes many of them at once, as the rows of one VALUES.

Each call into SQLite gives up Python's lock and may wait milliseconds to get it back from a busy
event loop, so a group of writes is few statements, however many writes are in it.
"""

# Names in the SQL pass schema.table or schema.path; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import msgspec

from server.services.embedded.documents import to_json
from server.services.embedded.schema import path, table
from server.services.firestore.base import (
    AlreadyExists,
    Create,
    Delete,
    Put,
    Update,
    VersionConflict,
    Write,
)
from server.services.firestore.drawing import draw
from server.services.firestore.values import INTEGER_MAX, check_id

# json_set takes at most 127 arguments in SQLite's default build: the body, then two a field.
_FIELDS_PER_SET = 60
# How many rows a statement takes; what is left over is filled up with rows of NULL, which write
# nothing, so that a few statements, once prepared, serve any number of writes.
_SIZES = (1, 4, 16, 64, 256)

Row = tuple[str, str, str, int] | tuple[None, None, None, None]
_NO_ROW: Row = (None, None, None, None)


class Shape(NamedTuple):
    """A statement, before and behind its VALUES: rows of id, version, body or fields, and the
    version demanded.

    It changes one row of the table for each, or `conflict` is the error. Without a `conflict`, any
    number of changes is right.
    """

    before: str
    behind: str
    conflict: type[AlreadyExists] | type[VersionConflict] | None

    def sql(self, rows: int) -> str:
        """The statement over so many rows."""
        return _sql(self.before, self.behind, rows)


class Step(msgspec.Struct, frozen=True, gc=False):
    """One write: its shape and its row, which document that is, and the version it will have."""

    shape: Shape
    row: Row
    document: tuple[str, str]
    version: str


class WriteSet:
    """The writes of one batch. ValueError for an impossible collection, id, field or value."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self.steps = [_step(write, str(draw() >> 1)) for write in writes]
        self.versions = [step.version for step in self.steps]

    def __call__(self, connection: sqlite3.Connection) -> list[str]:
        """Apply the writes one by one; AlreadyExists or VersionConflict, with some applied."""
        for step in self.steps:
            if not _applied(connection, step.shape, [step.row]):
                assert step.shape.conflict is not None
                raise step.shape.conflict(*step.document)
        return self.versions


def apply_together(connection: sqlite3.Connection, sets: Sequence[WriteSet]) -> bool:
    """Apply all sets, in no order; False, with some applied, if they must be applied one by one.

    That is so when two of them write the same document, or one meets a conflict.
    """
    rows: dict[Shape, list[Row]] = {}
    documents = set()
    count = 0
    shape, of_shape = None, list[Row]()
    for one in sets:
        for step in one.steps:
            if step.shape is not shape:  # most follow one of their own
                shape = step.shape
                of_shape = rows.setdefault(shape, [])
            of_shape.append(step.row)
            documents.add(step.document)
            count += 1
    return len(documents) == count and all(
        _applied(connection, shape, shape_rows) for shape, shape_rows in rows.items()
    )


def _applied(connection: sqlite3.Connection, shape: Shape, rows: Sequence[Row]) -> bool:
    changed = 0
    for start in range(0, len(rows), _SIZES[-1]):
        some = rows[start : start + _SIZES[-1]]
        size = next(size for size in _SIZES if size >= len(some))
        values = list(chain(*some, *[_NO_ROW] * (size - len(some))))
        changed += connection.execute(shape.sql(size), values).rowcount
    return shape.conflict is None or changed == len(rows)


@lru_cache(maxsize=1024)
def _sql(before: str, behind: str, rows: int) -> str:
    return f"{before}(VALUES {','.join(['(?,?,?,?)'] * rows)}){behind}"


def _step(write: Write, version: str) -> Step:
    """A write's shape and row.

    Each write has a version drawn at random, so that a document that was deleted and created again
    never meets a version somebody still holds, and no counter is shared between processes.
    """
    check_id(write.id)
    names: tuple[str, ...] = ()
    demanded = None if isinstance(write, Create) else write.if_version
    if isinstance(write, (Create, Put)):
        fields = to_json(write.fields, checked=write.checked)
    elif isinstance(write, Update):
        fields, names = to_json(write.fields), tuple(write.fields)
    else:
        fields, version = "null", ""
    shape = _shape(type(write), write.collection, demanded is not None, names)
    number = -1 if demanded is None else _number(demanded)
    return Step(shape, (write.id, version, fields, number), (write.collection, write.id), version)


def _number(version: str) -> int:
    """A demanded version as it is stored; -1, which none is, for what was never given out."""
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
    """The SQL for a body with these of its top-level fields set to the row's."""
    expression = "body"
    for start in range(0, len(names), _FIELDS_PER_SET):
        pairs = "".join(
            f", {path(name)}, json(column3 -> {path(name)})"
            for name in names[start : start + _FIELDS_PER_SET]
        )
        expression = f"json_set({expression}{pairs})"
    return expression
