"""FoldedBatch: one effect and one precondition for each document, and the first refused write."""

from __future__ import annotations

import pytest

from server.services.firestore.google.batch import Demand, Effect, FoldedBatch, Kind, Stored
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Put,
    Update,
    VersionConflict,
    Write,
)

KEY = ("things", "a")
VERSION = "1790000000000001000"
STORED = {KEY: Stored(VERSION, "someone's")}
ABSENT, PRESENT, ANY = Demand(exists=False), Demand(exists=True), Demand()
AT_VERSION = Demand(version=int(VERSION))


def create(**fields: int) -> Write:
    return Create(*KEY, fields)


def put(version: str | None = None, **fields: int) -> Write:
    return Put(*KEY, fields, version)


def update(version: str | None = None, **fields: int) -> Write:
    return Update(*KEY, fields, version)


def delete(version: str | None = None) -> Write:
    return Delete(*KEY, version)


@pytest.mark.parametrize(
    ("writes", "effect"),
    [
        ([create(n=1)], Effect(ABSENT, Kind.SET, {"n": 1})),
        ([put(n=1)], Effect(ANY, Kind.SET, {"n": 1})),
        ([put(VERSION, n=1)], Effect(AT_VERSION, Kind.SET, {"n": 1})),
        ([update(n=1)], Effect(PRESENT, Kind.MERGE, {"n": 1})),
        ([update(VERSION, n=1)], Effect(AT_VERSION, Kind.MERGE, {"n": 1})),
        ([delete()], Effect(ANY, Kind.DELETE, {})),
        ([delete(VERSION)], Effect(AT_VERSION, Kind.DELETE, {})),
        ([create(n=1), update(m=2)], Effect(ABSENT, Kind.SET, {"n": 1, "m": 2})),
        ([create(n=1), delete()], Effect(ABSENT, Kind.DELETE, {})),
        ([create(n=1), delete(), create(m=2)], Effect(ABSENT, Kind.SET, {"m": 2})),
        ([put(VERSION, n=1), put(m=2)], Effect(AT_VERSION, Kind.SET, {"m": 2})),
        ([update(n=1), update(n=2, m=2)], Effect(PRESENT, Kind.MERGE, {"n": 2, "m": 2})),
        ([update(n=1), put(m=2)], Effect(PRESENT, Kind.SET, {"m": 2})),
        ([update(n=1), delete()], Effect(PRESENT, Kind.DELETE, {})),
        ([delete(), create(n=1)], Effect(ANY, Kind.SET, {"n": 1})),
        ([delete(), put(n=1)], Effect(ANY, Kind.SET, {"n": 1})),
    ],
    ids=repr,
)
def test_several_writes_of_one_document_are_folded_into_one(
    writes: list[Write], effect: Effect
) -> None:
    batch = FoldedBatch(writes)
    assert batch.effects == {KEY: effect}
    assert not batch.impossible


@pytest.mark.parametrize(
    "writes",
    [
        [create(), create()],
        [put(), create()],
        [update(), create()],
        [delete(), update()],
        [put(), put(VERSION)],
        [put(), put("written")],
        [delete(), delete(VERSION)],
        [update("nonsense")],
        [put("")],
        [put("1")],
        [put("01000")],
        [put("9" * 40)],
        [delete("٣" * 4)],
    ],
    ids=repr,
)
def test_a_batch_that_no_stored_state_allows_is_always_refused(writes: list[Write]) -> None:
    batch = FoldedBatch(writes)
    assert batch.impossible
    assert batch.refusal({}) is not None
    assert batch.refusal(STORED) is not None


@pytest.mark.parametrize(
    ("write", "missing", "there", "changed"),
    [
        (create(), None, AlreadyExists, AlreadyExists),
        (put(), None, None, None),
        (put(VERSION), VersionConflict, None, VersionConflict),
        (update(), VersionConflict, None, None),
        (update(VERSION), VersionConflict, None, VersionConflict),
        (delete(), None, None, None),
        (delete(VERSION), VersionConflict, None, VersionConflict),
    ],
    ids=repr,
)
def test_a_write_is_refused_when_the_stored_document_does_not_meet_its_precondition(
    write: Write, missing: type | None, there: type | None, changed: type | None
) -> None:
    batch = FoldedBatch([write])
    later = {KEY: Stored("1790000000000002000", "another's")}
    for stored, expected in (({}, missing), (STORED, there), (later, changed)):
        refusal = batch.refusal(stored)
        assert (refusal and type(refusal)) is expected
        assert refusal is None or (refusal.collection, refusal.doc_id) == KEY


def test_a_refusal_names_the_first_refused_write() -> None:
    batch = FoldedBatch([Put("things", "b", {}), update(), Update("things", "c", {}), create()])
    refusal = batch.refusal({})
    assert isinstance(refusal, VersionConflict)
    assert refusal.doc_id == "a"


def test_only_a_batch_that_stores_a_document_leaves_a_mark() -> None:
    assert FoldedBatch([delete(), Create("things", "b", {})]).leaves_marks
    assert not FoldedBatch([create(), delete()]).leaves_marks
    assert FoldedBatch([create()]).token != FoldedBatch([create()]).token


def test_a_deletion_has_no_version() -> None:
    assert FoldedBatch([create(), delete(), put()]).versions("5") == ["5", "", "5"]
