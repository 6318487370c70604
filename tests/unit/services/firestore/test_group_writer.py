"""How batches share commits, and how each batch ends when a commit is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.google.batch import DocumentKey, FoldedBatch, Stored, WriteRefused
from server.services.firestore.google.group_commit import IN_FLIGHT_MAX, GroupCommit
from server.services.ports.documents import AlreadyExists, Create, Delete, Put, StoreUnavailable


class Store:
    """A store that refuses to create existing documents; each answer waits for `go`."""

    def __init__(self) -> None:
        self.documents: dict[DocumentKey, Stored] = {}
        self.commits: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.lose_answer_of: str | None = None
        self.writer = GroupCommit(
            self.commit,
            self.read,
            SystemClock(),
            Metrics(),
            target="a database",
            timeout_s=1.0,
            max_waiting=2000,
        )

    async def commit(self, batches: Sequence[FoldedBatch], deadline: float) -> list[list[str]]:
        self.commits.append([key[1] for batch in batches for key in batch.effects])
        await self.go.wait()
        for batch in batches:
            for key, effect in batch.effects.items():
                if effect.demand.exists is False and key in self.documents:
                    raise WriteRefused(f"{key} exists", unsure=False)
        for batch in batches:
            for key in batch.effects:
                self.documents[key] = Stored("5000", batch.token)
                if key[1] == self.lose_answer_of:
                    self.lose_answer_of = None
                    raise WriteRefused(
                        "the second attempt met the first one's success", unsure=True
                    )
        return [batch.versions("5000") for batch in batches]

    async def read(
        self, keys: Iterable[DocumentKey], deadline: float
    ) -> Mapping[DocumentKey, Stored]:
        return {key: self.documents[key] for key in keys if key in self.documents}

    def create(self, *names: str) -> asyncio.Task[list[str]]:
        batch = FoldedBatch([Create("things", name, {}) for name in names])
        return asyncio.create_task(self.writer.run(batch))


@pytest.fixture
async def store() -> Store:
    return Store()


async def held(store: Store) -> list[asyncio.Task[list[str]]]:
    """Starts as many commits as may be in flight; none is answered before `go`."""
    store.go.clear()
    tasks = [store.create(f"held{n}") for n in range(IN_FLIGHT_MAX)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(store.commits) == IN_FLIGHT_MAX
    store.commits.clear()
    return tasks


async def test_waiting_batches_share_one_commit_in_their_order(store: Store) -> None:
    tasks = await held(store)
    tasks += [store.create(f"a{n}", f"b{n}") for n in range(3)]
    await asyncio.sleep(0)
    assert store.commits == []
    store.go.set()
    await asyncio.gather(*tasks)
    assert store.commits == [["a0", "b0", "a1", "b1", "a2", "b2"]]


async def test_a_commit_has_at_most_500_writes_and_no_batch_is_split(store: Store) -> None:
    tasks = await held(store)
    tasks += [store.create(*(f"{n}x{i}" for i in range(200))) for n in range(4)]
    store.go.set()
    await asyncio.gather(*tasks)
    assert [len(commit) for commit in store.commits] == [400, 400]


async def test_a_commit_has_at_most_4_megabytes(store: Store) -> None:
    tasks = await held(store)
    for n in range(6):
        batch = FoldedBatch([Create("things", f"a{n}", {"x": "y" * 1_500_000})])
        tasks.append(asyncio.create_task(store.writer.run(batch)))
    store.go.set()
    await asyncio.gather(*tasks)
    assert [len(commit) for commit in store.commits] == [2, 2, 2]


async def test_batches_that_share_a_document_do_not_share_a_commit(store: Store) -> None:
    tasks = await held(store)
    for _ in range(3):
        batch = FoldedBatch([Put("things", "same", {})])
        tasks.append(asyncio.create_task(store.writer.run(batch)))
    store.go.set()
    await asyncio.gather(*tasks)
    assert store.commits == [["same"]] * 3


async def test_a_batch_whose_caller_gave_up_is_not_sent(store: Store) -> None:
    tasks = await held(store)
    given_up, wanted = store.create("given up"), store.create("wanted")
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    store.go.set()
    await asyncio.gather(*tasks, wanted)
    assert store.commits == [["wanted"]]


async def test_a_refused_commit_is_sent_again_batch_by_batch(store: Store) -> None:
    store.documents["things", "taken"] = Stored("1000", "someone's")
    tasks = await held(store)
    tasks += [store.create(name) for name in ("a", "taken", "b")]
    store.go.set()
    *_, a, taken, b = await asyncio.gather(*tasks, return_exceptions=True)
    assert store.commits[:4] == [["a", "taken", "b"], ["a"], ["taken"], ["b"]]
    assert a == b == ["5000"]
    assert isinstance(taken, AlreadyExists)


async def test_an_earlier_success_of_the_same_batch_is_recognised_by_the_document(
    store: Store,
) -> None:
    store.lose_answer_of = "a"
    assert await store.create("a") == ["5000"]


async def test_a_deletion_that_may_have_taken_effect_is_not_reported_as_a_conflict(
    store: Store,
) -> None:
    async def refused(batches: Sequence[FoldedBatch], deadline: float) -> list[list[str]]:
        raise WriteRefused("not at that version", unsure=True)

    writer = GroupCommit(
        refused,
        store.read,
        SystemClock(),
        Metrics(),
        target="a database",
        timeout_s=1.0,
        max_waiting=10,
    )
    with pytest.raises(StoreUnavailable, match="may have taken effect"):
        await writer.run(FoldedBatch([Delete("things", "a", "5000")]))


async def test_accepted_batches_are_stored_before_the_writer_closes(store: Store) -> None:
    tasks = await held(store)
    tasks.append(store.create("waiting"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.writer.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.create("late")
    store.go.set()
    await closing
    assert all(task.done() for task in tasks)
    assert store.commits == [["waiting"]]


async def test_a_writer_that_cannot_finish_its_batches_still_closes(store: Store) -> None:
    tasks = await held(store)
    async with asyncio.timeout(60):
        await store.writer.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, StoreUnavailable) for one in outcomes)


async def test_an_unexpected_error_makes_the_store_unavailable_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(batches: Sequence[FoldedBatch], deadline: float) -> list[list[str]]:
        raise ZeroDivisionError

    writer = GroupCommit(
        broken,
        Store().read,
        SystemClock(),
        Metrics(),
        target="a database",
        timeout_s=1.0,
        max_waiting=10,
    )
    with pytest.raises(StoreUnavailable):
        await writer.run(FoldedBatch([Put("things", "a", {})]))
    assert "ZeroDivisionError" in caplog.text
