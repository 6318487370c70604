"""A batch of writes as one effect a document, and which of the writes a state refuses; pure."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.services.firestore.base import (
    AlreadyExists,
    Create,
    Delete,
    Fields,
    Put,
    Update,
    VersionConflict,
    Write,
)
from server.services.firestore.values import check, check_collection, check_field, check_id

Key = tuple[str, str]
"""A collection and a document's id."""

# The largest time of a Firestore Timestamp, the year 9999, in nanoseconds.
VERSION_MAX = 253_402_300_799_999_999_999
# A version that nobody can name yet.
_NEW = object()

_encoder = msgspec.json.Encoder()


class Kind(enum.Enum):
    """What becomes of a document."""

    SET = enum.auto()
    MERGE = enum.auto()
    DELETE = enum.auto()


class Demand(NamedTuple):
    """What must hold for a document before: it exists or not, or has a version (nanoseconds)."""

    exists: bool | None = None
    version: int | None = None


class Effect(NamedTuple):
    """What a batch demands of one document, and makes of it."""

    demand: Demand
    kind: Kind
    fields: Fields


class Stored(NamedTuple):
    """A document as it is found: its version, and the token of the batch that wrote it last."""

    version: str
    token: str


class Refused(Exception):
    """A commit was refused for a precondition: nothing of it was written, now.

    `unsure`: an earlier attempt of it was not answered, and may have been the one that counts.
    """

    def __init__(self, detail: str, *, unsure: bool) -> None:
        super().__init__(detail)
        self.unsure = unsure


class Batch:
    """Writes that are applied whole or not at all.

    Firestore takes one write a document in a commit, so those of one document are folded into one.
    `token` marks the documents it wrote; `size` is about the bytes of its fields. `impossible`:
    whatever is stored, a write is refused.
    ValueError for an impossible collection, id, field or value.
    """

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.token = secrets.token_urlsafe(9)
        self.size = 0
        self.impossible = False
        self.effects: dict[Key, Effect] = {}
        for write in writes:
            self.size += _checked_size(write)
            self._fold(write)

    @property
    def leaves_marks(self) -> bool:
        """Whether it can be told from what is stored afterwards that the batch was applied."""
        return any(effect.kind is not Kind.DELETE for effect in self.effects.values())

    def versions(self, version: str) -> list[str]:
        """The version of each write when all were stored at `version`."""
        return ["" if isinstance(write, Delete) else version for write in self.writes]

    def refusal(self, stored: Mapping[Key, Stored]) -> AlreadyExists | VersionConflict | None:
        """The error of the first write that could not be applied over what is stored."""
        versions: dict[Key, object] = {
            key: found.version for key, found in stored.items() if key in self.effects
        }
        for write in self.writes:
            key = (write.collection, write.id)
            there = versions.get(key)
            if isinstance(write, Create):
                if there is not None:
                    return AlreadyExists(*key)
            elif write.if_version is not None:
                if there != write.if_version:
                    return VersionConflict(*key)
            elif isinstance(write, Update) and there is None:
                return VersionConflict(*key)
            versions[key] = None if isinstance(write, Delete) else _NEW
        return None

    def _fold(self, write: Write) -> None:
        key = (write.collection, write.id)
        before = self.effects.get(key)
        version = None if isinstance(write, Create) else write.if_version
        if before is None:
            demand = self._demand(write, version)
        else:
            demand = before.demand
            exists = before.kind is not Kind.DELETE
            # Whoever names a version cannot mean the one that this very batch will write.
            self.impossible |= version is not None or (
                (isinstance(write, Create) and exists) or (isinstance(write, Update) and not exists)
            )
        match write:
            case Create() | Put():
                effect = Effect(demand, Kind.SET, write.fields)
            case Update():
                kind = Kind.MERGE if before is None else before.kind
                old = {} if before is None else before.fields
                effect = Effect(demand, kind, {**old, **write.fields})
            case Delete():
                effect = Effect(demand, Kind.DELETE, {})
        self.effects[key] = effect

    def _demand(self, write: Write, version: str | None) -> Demand:
        if version is not None:
            nanoseconds = _time_of(version)
            self.impossible |= nanoseconds is None
            return Demand(version=nanoseconds)
        if isinstance(write, Create):
            return Demand(exists=False)
        return Demand(exists=True if isinstance(write, Update) else None)


def _checked_size(write: Write) -> int:
    """About how many bytes a write's fields are; ValueError if it cannot be made at all."""
    check_collection(write.collection)
    check_id(write.id)
    if isinstance(write, Delete):
        return 0
    check(write.fields)
    if isinstance(write, Update):
        for name in write.fields:
            check_field(name)
    return len(_encoder.encode(write.fields))


def _time_of(version: str) -> int | None:
    """The time, in Unix nanoseconds, that a version is; None for what never was one.

    Firestore's times have microseconds: it refuses a finer one instead of finding it different.
    """
    if not (version.isascii() and version.isdecimal()) or len(version) > len(str(VERSION_MAX)):
        return None
    time = int(version)
    return time if time <= VERSION_MAX and time % 1000 == 0 and str(time) == version else None
