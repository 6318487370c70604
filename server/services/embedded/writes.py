"""Writes as SQL that takes any number of them at once, as the rows of one JSON array.

Each call into SQLite gives up Python's lock and may wait milliseconds to get it back from a busy
event loop, so a group of writes is a handful of statements, however many writes are in it.
"""

# Names in the SQL pass schema.table or schema.path; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from struct import iter_unpack
from typing import NamedTuple

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
from server.services.firestore.values import check_id

# json_set takes at most 127 arguments in SQLite's default build: the body, then two a field.
_FIELDS_PER_SET = 60


class Shape(NamedTuple):
    """A statement over rows; it changes one row of the table for each, or `conflict` is the error.

    Its one parameter is a JSON array of rows [id, version, body or fields, version demanded].
    Without a `conflict`, any number of changes is right.
    """

    sql: str
    conflict: type[AlreadyExists] | type[VersionConflict] | None


class Step(NamedTuple):
    """One write: its shape and its row, which document that is, and the version it will have."""

    shape: Shape
    row: str
    document: tuple[str, str]
    version: str


class WriteSet:
    """The writes of one batch. ValueError for an impossible collection, id, field or value."""

    def __init__(self, writes: Sequence[Write]) -> None:
        # Drawn at once: a call into the system costs more than a version.
        drawn = iter_unpack("=Q", secrets.token_bytes(8 * len(writes)))
        self.steps = [
            _step(write, str(number >> 1)) for write, (number,) in zip(writes, drawn, strict=True)
        ]
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
    rows: dict[Shape, list[str]] = {}
    documents = set()
    count = 0
    for one in sets:
        for step in one.steps:
            rows.setdefault(step.shape, []).append(step.row)
            documents.add(step.document)
            count += 1
    return len(documents) == count and all(
        _applied(connection, shape, shape_rows) for shape, shape_rows in rows.items()
    )


def _applied(connection: sqlite3.Connection, shape: Shape, rows: Sequence[str]) -> bool:
    changed = connection.execute(shape.sql, (f"[{','.join(rows)}]",)).rowcount
    return shape.conflict is None or changed == len(rows)


def _step(write: Write, version: str) -> Step:
    """A write's shape and row.

    Each write has a version drawn at random, so that a document that was deleted and created again
    never meets a version somebody still holds, and no counter is shared between processes.
    """
    check_id(write.id)
    demanded = None if isinstance(write, Create) else write.if_version
    names = tuple(write.fields) if isinstance(write, Update) else ()
    shape = _shape(type(write), write.collection, demanded is not None, names)
    if demanded is not None and not (demanded.isascii() and demanded.isdecimal()):
        demanded = ""  # matches nothing: no such version was ever given out
    if isinstance(write, Delete):
        version = ""
    fields = "null" if isinstance(write, Delete) else to_json(write.fields)
    row = f'[{to_json(write.id)},{version or "null"},{fields},"{demanded or ""}"]'
    return Step(shape, row, (write.collection, write.id), version)


@lru_cache(maxsize=256)
def _shape(kind: type[Write], collection: str, demands: bool, names: tuple[str, ...]) -> Shape:
    """The statement for writes of this kind; `names` are the fields that an Update sets."""
    name = table(collection)
    matched = f"{name}.id = value ->> 0"
    if demands:
        matched += f" AND {name}.version = value ->> 3"
    insert = (
        f"INSERT INTO {name} SELECT value ->> 0, value ->> 1, value -> 2"
        " FROM json_each(?) WHERE TRUE ON CONFLICT"
    )
    if kind is Create:
        return Shape(f"{insert} DO NOTHING", AlreadyExists)
    if kind is Put and not demands:
        return Shape(
            f"{insert} (id) DO UPDATE SET version = excluded.version, body = excluded.body",
            VersionConflict,
        )
    if kind is Delete:
        return Shape(
            f"DELETE FROM {name} WHERE rowid IN"
            f" (SELECT {name}.rowid FROM json_each(?) CROSS JOIN {name} WHERE {matched})",
            VersionConflict if demands else None,
        )
    body = "value -> 2" if kind is Put else _merged(names)
    return Shape(
        f"UPDATE {name} SET version = value ->> 1, body = {body} FROM json_each(?) WHERE {matched}",
        VersionConflict,
    )


def _merged(names: Sequence[str]) -> str:
    """The SQL for a body with these of its top-level fields set to the row's."""
    expression = "body"
    for start in range(0, len(names), _FIELDS_PER_SET):
        pairs = "".join(
            f", {path(name)}, json(value -> '$[2].{name}')"
            for name in names[start : start + _FIELDS_PER_SET]
        )
        expression = f"json_set({expression}{pairs})"
    return expression
