"""FirestoreClient beyond the contract: lost answers, a server that hangs or is gone, its bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.base import (
    PAGE_MAX,
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
from server.services.firestore.client import FirestoreClient
from server.services.firestore.firestore_connection import emulator_client
from server.services.firestore.indexes import Index
from tests.support.cutting_proxy import CuttingProxy
from tests.support.firestore import FirestoreEmulator, fresh_project, need_firestore
from tests.support.stream import eventually

INDEXES = [Index("things", ("owner",), "expire_at", "asc")]
BOUND_S = 3.0
RECOVERY_S = 15.0


@asynccontextmanager
async def opened(host: str, project: str = "") -> AsyncIterator[FirestoreClient]:
    client = init_client(host, INDEXES, SystemClock(), Metrics(), project or fresh_project())
    try:
        yield client
    finally:
        await client.close()


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


@pytest.fixture
def emulator() -> Any:
    """An emulator of the test's own, to be stopped and killed."""
    need_firestore()
    with FirestoreEmulator() as one:
        yield one


async def outcome(call: Awaitable[object]) -> tuple[object, float]:
    """What a call returned or raised, and after how many seconds."""
    began = time.monotonic()
    try:
        result: object = await call
    except Exception as error:  # noqa: BLE001 - judged by the test
        result = error
    return result, time.monotonic() - began


async def until_it_answers(client: FirestoreClient) -> None:
    async def answers() -> bool:
        return not isinstance((await outcome(client.ping()))[0], StoreUnavailable)

    await eventually(answers, "Firestore answers", RECOVERY_S)


@pytest.mark.parametrize("answers", [1, 2])
@pytest.mark.parametrize("kind", ["create", "put", "put_version", "update", "update_version"])
async def test_a_write_whose_answer_was_lost_is_known_to_have_succeeded(
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


async def test_a_batch_whose_answer_was_lost_has_one_version_for_all_it_wrote(
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


async def test_a_deletion_of_a_version_whose_answer_was_lost_is_not_called_a_conflict(
    shaky: FirestoreClient, proxy: CuttingProxy
) -> None:
    (old,) = await shaky.write([Create("things", "a", {})])
    proxy.lose = 1
    with pytest.raises(StoreUnavailable):
        await shaky.write([Delete("things", "a", old)])
    assert await shaky.get("things", "a") is None


async def test_writes_that_shared_a_commit_whose_answer_was_lost_are_each_told_the_truth(
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


async def test_writes_that_wait_go_out_together(client: FirestoreClient) -> None:
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


async def test_one_refused_batch_leaves_those_that_waited_with_it_alone(
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


CALLS: dict[str, Callable[[FirestoreClient], Awaitable[object]]] = {
    "get": lambda c: c.get("things", "a"),
    "write": lambda c: c.write([Put("things", "a", {})]),
    "query": lambda c: c.query(Query("things"), 5),
    "long query": lambda c: c.query(Query("things"), PAGE_MAX),
    "aggregate": lambda c: c.aggregate(Query("things")),
    "ping": lambda c: c.ping(),
}


async def test_a_store_that_hangs_is_unavailable_in_time_and_comes_back(
    emulator: FirestoreEmulator,
) -> None:
    async with opened(emulator.host) as client:
        await client.write([Put("things", "a", {"n": 1})])
        emulator.pause()
        results = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        for name, (result, seconds) in zip(CALLS, results, strict=True):
            assert isinstance(result, StoreUnavailable), name
            assert seconds < BOUND_S, name
        # The breaker is open now: nobody waits for what does not answer.
        refused = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        assert all(isinstance(result, StoreUnavailable) for result, _ in refused)
        assert sum(seconds < 0.2 for _, seconds in refused) >= len(CALLS) - 1
        emulator.resume()
        await until_it_answers(client)
        assert await client.write([Put("things", "a", {"n": 2})])


async def test_a_store_that_is_gone_is_unavailable_in_time_and_comes_back(
    emulator: FirestoreEmulator,
) -> None:
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.kill()
        results = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        for name, (result, seconds) in zip(CALLS, results, strict=True):
            assert isinstance(result, StoreUnavailable), name
            assert seconds < BOUND_S, name
            assert emulator.host in str(result), name
        emulator.start()
        await until_it_answers(client)
        assert await client.write([Create("things", "a", {})])


async def test_no_write_that_was_acknowledged_is_missing_after_hangs(
    emulator: FirestoreEmulator,
) -> None:
    acknowledged: set[str] = set()
    ended = asyncio.Event()

    async def post(client: FirestoreClient, poster: int) -> None:
        n = 0
        while not ended.is_set():
            n += 1
            result, seconds = await outcome(
                client.write(
                    [
                        Create("things", f"p{poster}n{n}", {}),
                        Put("zones", f"z{poster % 10}", {"n": n}),
                    ]
                )
            )
            assert seconds < BOUND_S
            if isinstance(result, list):
                acknowledged.add(f"p{poster}n{n}")
            else:
                assert isinstance(result, StoreUnavailable)
                await asyncio.sleep(0.02)

    async with opened(emulator.host) as client:
        async with asyncio.TaskGroup() as posters:
            for poster in range(20):
                posters.create_task(post(client, poster))
            for hang_s in (0.3, 1.5, 0):
                goal = len(acknowledged) + 100

                await eventually(
                    lambda goal=goal: len(acknowledged) >= goal, "100 writes", RECOVERY_S
                )
                emulator.pause()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.get("things", "x"), hang_s)
                emulator.resume()
            ended.set()
        names = sorted(acknowledged)
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            assert set(await client.get_many("things", part)) == set(part)


async def test_what_was_accepted_is_stored_before_the_client_closes(
    firestore: FirestoreEmulator,
) -> None:
    project = fresh_project()
    async with opened(firestore.host, project) as client:
        writes = [
            asyncio.create_task(client.write([Create("things", f"a{n}", {})])) for n in range(300)
        ]
        await asyncio.sleep(0)
    assert [len(await write) for write in writes] == [1] * 300
    for call in CALLS.values():
        assert isinstance((await outcome(call(client)))[0], StoreUnavailable)
    async with opened(firestore.host, project) as client:
        assert (await client.aggregate(Query("things"))).count == 300


async def test_a_time_of_expiry_is_a_time_in_firestore_and_a_number_here(
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


async def test_names_that_firestore_keeps_for_itself_or_that_mean_something_here_are_free(
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
async def test_a_document_that_firestore_refuses_is_a_wrong_value_and_harms_no_other(
    client: FirestoreClient, fault: Any
) -> None:
    names = [f"a{n}" for n in range(60)]
    outcomes = await asyncio.gather(
        *(client.write([Create("things", n, {"x": fault if n == "a40" else 1})]) for n in names),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(40), ValueError)
    assert [one for one in outcomes if isinstance(one, Exception)] == []


async def test_a_text_that_is_none_harms_no_other_write(client: FirestoreClient) -> None:
    outcomes = await asyncio.gather(
        *(
            client.write([Create("things", f"a{n}", {"x": "\ud800" * (n == 40)})])
            for n in range(60)
        ),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(40), ValueError)
    assert [one for one in outcomes if isinstance(one, Exception)] == []


async def test_a_commit_stays_below_what_firestore_takes(client: FirestoreClient) -> None:
    text = "x" * 900_000
    outcomes = await asyncio.gather(
        *(client.write([Create("things", f"a{n}", {"x": text})]) for n in range(30))
    )
    assert len(outcomes) == 30


async def test_a_client_that_closes_tells_those_who_still_wait(emulator: FirestoreEmulator) -> None:
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.pause()
        waiting = [asyncio.create_task(outcome(client.get("things", "a"))) for _ in range(3)]
        await asyncio.sleep(0)
        await client.close()
        for result, seconds in await asyncio.gather(*waiting):
            assert isinstance(result, StoreUnavailable)
            assert seconds < 1
        emulator.resume()


async def test_a_queue_that_is_full_refuses_at_once(firestore: FirestoreEmulator) -> None:
    google = emulator_client(firestore.host, fresh_project())
    client = FirestoreClient(google, INDEXES, SystemClock(), Metrics(), max_waiting=10)
    outcomes = await asyncio.gather(
        *(client.write([Create("things", f"a{n}", {})]) for n in range(40)), return_exceptions=True
    )
    assert sum(isinstance(one, StoreUnavailable) for one in outcomes) == 40 - 8 - 10
    await client.close()
