"""FirestoreClient beyond its contract: lost answers, group commits, the limits of Firestore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.google.client import FirestoreClient
from server.services.firestore.google.connection import emulator_client
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Document,
    Filter,
    Put,
    Query,
    StoreUnavailable,
    Update,
    VersionConflict,
    Write,
)
from tests.support.cutting_proxy import CuttingProxy
from tests.support.firestore import INDEXES, opened
from tools.firestore_emulator import FirestoreEmulator, fresh_project


@pytest.fixture
async def client(firestore: FirestoreEmulator) -> AsyncIterator[FirestoreClient]:
    async with opened(firestore.host) as one:
        yield one


@pytest.fixture
async def proxy(firestore: FirestoreEmulator) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(firestore.port).running() as one:
        yield one


@pytest.fixture
async def shaky(proxy: CuttingProxy) -> AsyncIterator[FirestoreClient]:
    """A client behind the proxy."""
    async with opened(f"127.0.0.1:{proxy.port}") as one:
        yield one


@pytest.mark.parametrize("answers", [1, 2])
@pytest.mark.parametrize("kind", ["create", "put", "put_version", "update", "update_version"])
async def test_a_write_whose_answer_was_lost_returns_the_stored_version(
    shaky: FirestoreClient, proxy: CuttingProxy, kind: str, answers: int
) -> None:
    (old,) = await shaky.write([Create("things", "old", {"n": 1})])
    write: Write = {
        "create": Create("things", "new", {"n": 2}),
        "put": Put("things", "old", {"n": 2}),
        "put_version": Put("things", "old", {"n": 2}, old),
        "update": Update("things", "old", {"n": 2}),
        "update_version": Update("things", "old", {"n": 2}, old),
    }[kind]
    proxy.lose = answers
    (version,) = await shaky.write([write])
    assert proxy.lost == answers
    assert version != old
    assert await shaky.get("things", write.id) == Document(write.id, version, {"n": 2})


async def test_a_batch_whose_answer_was_lost_returns_the_stored_versions(
    shaky: FirestoreClient, proxy: CuttingProxy
) -> None:
    (old,) = await shaky.write([Create("things", "old", {})])
    proxy.lose = 1
    gone, created = await shaky.write([Delete("things", "old", old), Create("things", "new", {})])
    assert gone == ""
    assert await shaky.get("things", "new") == Document("new", created, {})


async def test_a_conflict_after_a_lost_answer_is_still_a_conflict(
    shaky: FirestoreClient, proxy: CuttingProxy
) -> None:
    (old,) = await shaky.write([Create("things", "a", {"n": 1})])
    await shaky.write([Put("things", "a", {"n": 2})])
    proxy.lose = 1
    with pytest.raises(AlreadyExists):
        await shaky.write([Create("things", "a", {"n": 3})])
    proxy.lose = 1
    with pytest.raises(VersionConflict):
        await shaky.write([Put("things", "a", {"n": 3}, old)])
    assert proxy.lost == 2
    document = await shaky.get("things", "a")
    assert document is not None
    assert document.fields == {"n": 2}


async def test_a_conditional_deletion_whose_answer_was_lost_raises_no_conflict(
    shaky: FirestoreClient, proxy: CuttingProxy
) -> None:
    (old,) = await shaky.write([Create("things", "a", {})])
    proxy.lose = 1
    with pytest.raises(StoreUnavailable):
        await shaky.write([Delete("things", "a", old)])
    assert await shaky.get("things", "a") is None


async def test_each_write_of_a_commit_whose_answer_was_lost_gets_its_own_result(
    shaky: FirestoreClient, proxy: CuttingProxy
) -> None:
    await shaky.write([Create("things", "taken", {})])
    proxy.lose = 3
    names = [f"t{n}" for n in range(100)] + ["taken"]
    outcomes = await asyncio.gather(
        *(shaky.write([Create("things", name, {"by": name})]) for name in names),
        return_exceptions=True,
    )
    assert proxy.lost == 3
    assert isinstance(outcomes.pop(), AlreadyExists)
    stored = await shaky.get_many("things", names[:-1])
    assert outcomes == [[stored[name].version] for name in names[:-1]]


async def test_of_20_creates_of_one_id_by_two_processes_exactly_one_wins(
    firestore: FirestoreEmulator,
) -> None:
    project = fresh_project()
    async with opened(firestore.host, project) as one, opened(firestore.host, project) as other:
        outcomes = await asyncio.gather(
            *(
                (one if n % 2 else other).write([Create("things", "one", {"by": n})])
                for n in range(20)
            ),
            return_exceptions=True,
        )
        winners = [n for n, result in enumerate(outcomes) if isinstance(result, list)]
        assert len(winners) == 1
        assert sum(isinstance(result, AlreadyExists) for result in outcomes) == 19
        document = await one.get("things", "one")
        assert document is not None
        assert document.fields == {"by": winners[0]}


async def test_waiting_writes_are_committed_together(client: FirestoreClient) -> None:
    await client.write([Put("things", "first", {})])
    before = client.writer.commits
    await asyncio.gather(
        *(
            client.write([Create("things", f"a{n}", {}), Create("others", f"a{n}", {})])
            for n in range(508)
        )
    )
    # 8 commits begin at once, of one batch each; the other 500 batches fill two.
    assert client.writer.commits - before == 10
    assert (await client.aggregate(Query("things"))).count == 509


async def test_a_refused_batch_does_not_fail_the_batches_that_waited_with_it(
    client: FirestoreClient,
) -> None:
    await client.write([Create("things", "taken", {})])
    names = [*(f"a{n}" for n in range(30)), "taken", *(f"b{n}" for n in range(30))]
    outcomes = await asyncio.gather(
        *(client.write([Create("things", name, {})]) for name in names), return_exceptions=True
    )
    refused = [
        name for name, one in zip(names, outcomes, strict=True) if isinstance(one, Exception)
    ]
    assert refused == ["taken"]
    assert (await client.aggregate(Query("things"))).count == 61


async def test_a_closing_client_first_stores_the_writes_that_it_accepted(
    firestore: FirestoreEmulator,
) -> None:
    project = fresh_project()
    async with opened(firestore.host, project) as client:
        writes = [
            asyncio.create_task(client.write([Create("things", f"a{n}", {})])) for n in range(300)
        ]
        await asyncio.sleep(0)
    assert [len(await write) for write in writes] == [1] * 300
    for call in (client.get("things", "a"), client.write([Put("things", "a", {})])):
        with pytest.raises(StoreUnavailable, match="closed"):
            await call
    async with opened(firestore.host, project) as client:
        assert (await client.aggregate(Query("things"))).count == 300


async def test_expire_at_is_a_timestamp_in_firestore_and_a_number_in_the_client(
    firestore: FirestoreEmulator,
) -> None:
    project = fresh_project()
    times = [1_790_000_000_000, 1_790_000_000_001, -1, 0, 253_402_300_799_999]
    async with opened(firestore.host, project) as client:
        await client.write(
            [
                Create(
                    "things", f"t{n}", {"owner": "x", "expire_at": at, "inner": {"expire_at": at}}
                )
                for n, at in enumerate(times)
            ]
        )
        query = Query("things", (Filter("owner", "==", "x"),), "expire_at")
        found, cursor = [], None
        while True:
            page = await client.query(query, 2, cursor)
            found += [document.fields["expire_at"] for document in page.documents]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == sorted(times)
        later = (Filter("owner", "==", "x"), Filter("expire_at", ">", 1_790_000_000_000))
        page = await client.query(Query("things", later, "expire_at"), 9)
        assert [document.id for document in page.documents] == ["t1", "t4"]
        exact = Query("things", (Filter("expire_at", "==", 0),))
        assert [document.id for document in (await client.query(exact, 9)).documents] == ["t3"]
    raw = emulator_client(firestore.host, project)
    stored = (await raw.collection("things").document("t1").get()).to_dict() or {}
    assert stored["expire_at"].timestamp() == 1_790_000_000.001
    assert stored["inner"] == {"expire_at": 1_790_000_000_001}
    await raw._firestore_api.transport.close()


async def test_field_names_that_firestore_or_the_client_reserve_can_be_stored(
    client: FirestoreClient,
) -> None:
    names = ["", "~", "~[", "~x", "_write", "__name__", "__x__", "a.b", "`", "\\", "A b", "ü\n"]
    fields = {name: {inner: [[inner], [[]]] for inner in names} for name in names}
    (version,) = await client.write([Create("things", "a", fields)])
    assert await client.get("things", "a") == Document("a", version, fields)
    (version,) = await client.write([Update("things", "a", {"_write": 7, "n": 1})])
    assert await client.get("things", "a") == Document(
        "a", version, {**fields, "_write": 7, "n": 1}
    )
    found = await client.query(Query("things", (Filter("_write", "==", 7),)), 1)
    assert len(found.documents) == 1


@pytest.mark.parametrize("fault", ["y" * 1_200_000, [[[[[[[[[[[[]]]]]]]]]]]]], ids=["long", "deep"])
async def test_a_document_that_firestore_refuses_raises_valueerror_and_fails_no_other_write(
    client: FirestoreClient, fault: Any
) -> None:
    names = [f"a{n}" for n in range(60)]
    outcomes = await asyncio.gather(
        *(client.write([Create("things", n, {"x": fault if n == "a40" else 1})]) for n in names),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(40), ValueError)
    assert [one for one in outcomes if isinstance(one, Exception)] == []


async def test_a_text_that_is_not_valid_unicode_fails_no_other_write(
    client: FirestoreClient,
) -> None:
    outcomes = await asyncio.gather(
        *(
            client.write([Create("things", f"a{n}", {"x": "\ud800" * (n == 40)})])
            for n in range(60)
        ),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(40), ValueError)
    assert [one for one in outcomes if isinstance(one, Exception)] == []


async def test_a_commit_stays_below_the_size_limit_of_firestore(client: FirestoreClient) -> None:
    text = "x" * 900_000
    outcomes = await asyncio.gather(
        *(client.write([Create("things", f"a{n}", {"x": text})]) for n in range(30))
    )
    assert len(outcomes) == 30


async def test_a_full_queue_refuses_a_write_at_once(firestore: FirestoreEmulator) -> None:
    google = emulator_client(firestore.host, fresh_project())
    client = FirestoreClient(google, INDEXES, SystemClock(), Metrics(), max_waiting=10)
    outcomes = await asyncio.gather(
        *(client.write([Create("things", f"a{n}", {})]) for n in range(40)), return_exceptions=True
    )
    assert sum(isinstance(one, StoreUnavailable) for one in outcomes) == 40 - 8 - 10
    await client.close()
