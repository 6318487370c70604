"""Checks ids, collection and field names and JSON values against Firestore's limits."""

from __future__ import annotations

import math
import re
from typing import Annotated

import msgspec

# https://firebase.google.com/docs/firestore/quotas
DEPTH_MAX = 20
ID_BYTES_MAX = 1500
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

# Every document with such a field belongs to a tenant and a device, so the name is not empty.
Name = Annotated[str, msgspec.Meta(min_length=1)]
Integer = Annotated[int, msgspec.Meta(ge=INTEGER_MIN, le=INTEGER_MAX)]
# Not NaN, not infinite, and within 64 bits if it is written as an integer.
Finite = Annotated[float, msgspec.Meta(ge=-(2.0**63), lt=2.0**63)]

# Types whose values are all valid.
_PLAIN = frozenset({str, bool, type(None)})
# Matches the ids of readings and of most zones; this check is faster than the full one.
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")
_NO_ID = re.compile(r"\.|\.\.|__.*__|.*[/\0].*", re.DOTALL)
# Two underscores begin Firestore's own names, `sqlite_` SQLite's.
_COLLECTION = re.compile(r"(?!sqlite_|__)[a-z_]+")
_FIELD = re.compile(r"(?!__)[a-z_][a-z0-9_]*")


def is_id(doc_id: str) -> bool:
    """Whether a document may have this id: by Firestore's rules, and without a NUL."""
    if _PLAIN_ID.fullmatch(doc_id):
        return True
    try:
        size = len(doc_id.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= ID_BYTES_MAX and not _NO_ID.fullmatch(doc_id)


def check_id(doc_id: str) -> None:
    """Raise ValueError for an id that no document may have."""
    if not (_PLAIN_ID.fullmatch(doc_id) or is_id(doc_id)):
        raise ValueError(f"Not a document id: {doc_id!r}")


def check_collection(name: str) -> None:
    """Raise ValueError for a name that no collection may have."""
    if not _COLLECTION.fullmatch(name):
        raise ValueError(f"Not a collection name: {name!r}")


def check_field(name: str) -> None:
    """Raise ValueError for a name that no query and no Update may use."""
    if not _FIELD.fullmatch(name):
        raise ValueError(f"Not a field name: {name!r}")


def check(value: object, depth: int = 0) -> None:
    """Raise ValueError for a value that is not JSON of at most DEPTH_MAX levels."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if isinstance(value, int) and kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise ValueError("An integer does not fit into 64 bits")
    elif isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise ValueError("A number is not finite")
    elif depth >= DEPTH_MAX:
        raise ValueError("A value is nested too deeply")
    elif isinstance(value, dict):
        _check_fields(value, depth)
    elif isinstance(value, list):
        for inner in value:
            check(inner, depth + 1)
    else:
        raise ValueError(f"Not a JSON value: {kind.__name__}")


def _check_fields(fields: dict[object, object], depth: int) -> None:
    for key, value in fields.items():
        if type(key) is not str:
            raise ValueError(f"Not a field name: {key!r}")
        # Most fields have these types; a function call for each would be most of the time.
        kind = type(value)
        if kind in _PLAIN or (kind is int and INTEGER_MIN <= value <= INTEGER_MAX):  # type: ignore[operator]
            continue
        check(value, depth + 1)
