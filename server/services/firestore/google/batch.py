"""Folds a batch of writes into one effect for each document, and finds its conflicts; pure."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    DocumentKey,
    Fields,
    Put,
    Update,
    VersionConflict,
    Write,
    plain,
)
from server.services.ports.values import check, check_collection, check_field, check_id

# The largest time of a Firestore Timestamp, the year 9999, in nanoseconds.
VERSION_MAX = 253_402_300_799_999_999_999
# The version of a write in this batch: no caller can know it yet.
_NEW = object()

_encoder = msgspec.json.Encoder()


class Kind(enum.Enum):
    """The change that an effect makes to a document."""

    SET = enum.auto()
    MERGE = enum.auto()
    DELETE = enum.auto()


class Demand(NamedTuple):
    """A precondition of a document: it exists or not, or has a version (nanoseconds)."""

    exists: bool | None = None
    version: int | None = None


class Effect(NamedTuple):
    """A batch's precondition for one document, and its change of the document."""

    demand: Demand
    kind: Kind
    fields: Fields


class Stored(NamedTuple):
    """A stored document's version, and the token of the batch that wrote it last."""

    version: str
    token: str


class WriteRefused(Exception):
    """A commit was refused because of a precondition; this attempt wrote nothing.

    `unsure`: an earlier attempt was not answered and may have written the commit.
    """

    def __init__(self, detail: str, *, unsure: bool) -> None:
        super().__init__(detail)
        self.unsure = unsure


class FoldedBatch:
    """Writes that are applied together or not at all.

    Firestore takes one write for each document in a commit, so the writes to a document are folded
    into one. `token` marks the documents that the batch wrote; `size` is roughly the bytes of its
    fields. `impossible`: a write is refused in any state of the store. Raises ValueError for an
    invalid collection, id, field or value.
    """

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.token = secrets.token_urlsafe(9)
        self.size = 0
        self.impossible = False
        self.effects: dict[DocumentKey, Effect] = {}
        for write in writes:
            self.size += _checked_size(write)
            self._fold(write)

    @property
    def leaves_marks(self) -> bool:
        """Whether the stored documents show afterwards that the batch was applied."""
        return any(effect.kind is not Kind.DELETE for effect in self.effects.values())

    def versions(self, version: str) -> list[str]:
        """The version of each write after the batch was stored at `version`."""
        return ["" if isinstance(write, Delete) else version for write in self.writes]

    def refusal(
        self, stored: Mapping[DocumentKey, Stored]
    ) -> AlreadyExists | VersionConflict | None:
        """The error of the first write that the stored documents do not allow, or None."""
        versions: dict[DocumentKey, object] = {
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
            # An `if_version` cannot be the version that this same batch is about to write.
            self.impossible |= version is not None or (
                (isinstance(write, Create) and exists) or (isinstance(write, Update) and not exists)
            )
        match write:
            case Create() | Put():
                effect = Effect(demand, Kind.SET, plain(write.fields))
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
    """Check a write and return the rough size of its fields in bytes. Raises ValueError."""
    check_collection(write.collection)
    check_id(write.id)
    if isinstance(write, Delete):
        return 0
    if not isinstance(write.fields, msgspec.Struct):
        check(write.fields)
    if isinstance(write, Update):
        for name in write.fields:
            check_field(name)
    return len(_encoder.encode(write.fields))


def _time_of(version: str) -> int | None:
    """A version as a time in Unix nanoseconds; None for an invalid version.

    Firestore's times have microseconds. It refuses a finer time instead of comparing it.
    """
    if not (version.isascii() and version.isdecimal()) or len(version) > len(str(VERSION_MAX)):
        return None
    time = int(version)
    return time if time <= VERSION_MAX and time % 1000 == 0 and str(time) == version else None
