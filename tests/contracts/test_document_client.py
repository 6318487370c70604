"""The contract of DocumentClient: each test runs on every implementation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.common.clock import SystemClock
from server.common.errors import Invalid
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.base import document_id
from server.services.ports.documents import (
    BATCH_MAX,
    PAGE_MAX,
    Aggregate,
    AlreadyExists,
    Create,
    Delete,
    Document,
    DocumentClient,
    Fields,
    Filter,
    MissingIndex,
    Put,
    Query,
    Update,
    VersionConflict,
    Write,
)
from server.services.ports.indexes import Index, needed_index
from server.services.sqlite.client import SqliteClient
from tests.support.forms import amount
from tools.firestore_emulator import FirestoreEmulator, fresh_project

INDEXES = [
    Index("things", ("owner",), "rank", "asc"),
    Index("things", ("owner",), "rank", "desc"),
    Index("things", ("color", "owner"), "rank", "desc"),
    Index("things", ("owner",), "x", "asc"),
    Index("things", ("owner",), "x", "desc"),
]

same_client = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def open_sqlite(request: pytest.FixtureRequest, resources: AsyncExitStack) -> DocumentClient:
    folder: Path = request.getfixturevalue("tmp_path")
    client = SqliteClient(folder / "store.db", INDEXES, SystemClock(), Metrics())
    await client.open()
    resources.push_async_callback(client.close)
    return client


async def open_firestore(
    request: pytest.FixtureRequest, resources: AsyncExitStack
) -> DocumentClient:
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    client = init_client(emulator.host, INDEXES, SystemClock(), Metrics(), fresh_project())
    resources.push_async_callback(client.close)
    return client


Opener = Callable[[pytest.FixtureRequest, AsyncExitStack], Awaitable[DocumentClient]]


@pytest.fixture(
    params=[pytest.param(open_sqlite, id="sqlite"), pytest.param(open_firestore, id="firestore")]
)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[DocumentClient]:
    opener: Opener = request.param
    async with AsyncExitStack() as resources:
        yield await opener(request, resources)


async def everything(client: DocumentClient, query: Query, limit: int = 3) -> list[Document]:
    """All documents of a query, page by page."""
    found: list[Document] = []
    cursor = None
    while True:
        page = await client.query(query, limit, cursor)
        assert len(page.documents) <= limit
        found += page.documents
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


async def ids(client: DocumentClient, query: Query, limit: int = 3) -> list[str]:
    return [document.id for document in await everything(client, query, limit)]


async def fill(client: DocumentClient, **documents: Fields) -> None:
    await client.write([Create("things", name, fields) for name, fields in documents.items()])


async def test_a_created_document_is_read_back(client: DocumentClient) -> None:
    fields: Fields = {
        "text": 'ä"\\\u2028\n\x00\U0001f600',
        "whole": -(2**63),
        "big": 2**63 - 1,
        "real": 0.1,
        "yes": True,
        "nothing": None,
        "list": [1, [2.5, "x"], {}],
        "map": {"Any key": {"deeper": []}},
    }
    (version,) = await client.write([Create("things", "a", fields)])
    assert await client.get("things", "a") == Document("a", version, fields)


async def test_a_missing_document_is_none(client: DocumentClient) -> None:
    assert await client.get("things", "a") is None
    assert await client.get("never_written", "a") is None
    assert await client.get_many("never_written", ["a"]) == {}
    assert await ids(client, Query("never_written")) == []


async def test_a_taken_id_is_not_created_again(client: DocumentClient) -> None:
    await fill(client, a={"n": 1})
    with pytest.raises(AlreadyExists) as refused:
        await client.write([Create("things", "a", {"n": 2})])
    assert (refused.value.collection, refused.value.doc_id) == ("things", "a")
    document = await client.get("things", "a")
    assert document is not None
    assert document.fields == {"n": 1}


async def test_put_creates_or_replaces_a_whole_document(client: DocumentClient) -> None:
    (first,) = await client.write([Put("things", "a", {"n": 1, "old": True})])
    (second,) = await client.write([Put("things", "a", {"n": 2})])
    assert first != second
    assert await client.get("things", "a") == Document("a", second, {"n": 2})


async def test_update_sets_top_level_fields_and_keeps_the_others(client: DocumentClient) -> None:
    await fill(client, a={"n": 1, "map": {"x": 1}, "gone": 5, "kept": [1]})
    (version,) = await client.write(
        [Update("things", "a", {"n": 2, "map": {"y": 2}, "gone": None, "new": "ü"})]
    )
    assert await client.get("things", "a") == Document(
        "a", version, {"n": 2, "map": {"y": 2}, "gone": None, "kept": [1], "new": "ü"}
    )


async def test_update_accepts_200_fields_or_no_field(client: DocumentClient) -> None:
    many = {f"f{i}": i for i in range(200)}
    await fill(client, a={"n": 1})
    (before,) = await client.write([Update("things", "a", many)])
    (version,) = await client.write([Update("things", "a", {})])
    assert version != before
    assert await client.get("things", "a") == Document("a", version, {"n": 1, **many})


async def test_update_of_a_missing_document_is_a_conflict(client: DocumentClient) -> None:
    with pytest.raises(VersionConflict) as refused:
        await client.write([Update("things", "a", {"n": 1})])
    assert (refused.value.collection, refused.value.doc_id) == ("things", "a")


async def test_delete_removes_a_document_and_accepts_a_missing_one(client: DocumentClient) -> None:
    await fill(client, a={})
    assert await client.write([Delete("things", "a")]) == [""]
    assert await client.get("things", "a") is None
    assert await client.write([Delete("things", "a")]) == [""]


@pytest.mark.parametrize("version", ["stale", "missing", "", "1", "nonsense", "\ud800", "9" * 40])
@pytest.mark.parametrize("kind", [Put, Update, Delete])
async def test_a_conditional_write_succeeds_only_on_its_version(
    client: DocumentClient, kind: Any, version: str
) -> None:
    def conditional(doc_id: str, version: str) -> Write:
        write: Write = (
            Delete("things", doc_id, version)
            if kind is Delete
            else kind("things", doc_id, {"n": 9}, version)
        )
        return write

    (stale,) = await client.write([Create("things", "a", {"n": 1})])
    (current,) = await client.write([Put("things", "a", {"n": 2})])
    with pytest.raises(VersionConflict):
        await client.write([conditional("a", stale if version == "stale" else version)])
    with pytest.raises(VersionConflict):
        await client.write([conditional("b", current)])
    assert await client.get("things", "a") == Document("a", current, {"n": 2})
    assert await client.get("things", "b") is None

    await client.write([conditional("a", current)])
    document = await client.get("things", "a")
    assert document is None if kind is Delete else document and document.fields == {"n": 9}


async def test_a_document_created_again_never_reuses_an_old_version(
    client: DocumentClient,
) -> None:
    seen = set()
    for _ in range(5):
        (version,) = await client.write([Create("things", "a", {"n": 1})])
        seen.add(version)
        await client.write([Delete("things", "a")])
    assert len(seen) == 5
    await client.write([Create("things", "a", {"n": 1})])
    for version in seen:
        with pytest.raises(VersionConflict):
            await client.write([Put("things", "a", {"n": 2}, if_version=version)])


async def test_get_many_returns_the_documents_that_exist(client: DocumentClient) -> None:
    await fill(client, a={"n": 1}, b={"n": 2}, c={"n": 3})
    found = await client.get_many("things", ["c", "x", "a", "a"])
    assert {doc_id: document.fields["n"] for doc_id, document in found.items()} == {"c": 3, "a": 1}
    assert all(document.id == doc_id for doc_id, document in found.items())
    assert await client.get_many("things", []) == {}
    await client.get_many("things", [str(i) for i in range(BATCH_MAX)])
    with pytest.raises(ValueError, match="501"):
        await client.get_many("things", [str(i) for i in range(BATCH_MAX + 1)])


async def test_a_working_store_answers_a_ping(client: DocumentClient) -> None:
    async with asyncio.timeout(60):
        assert await client.ping() is None


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**63,
        -(2**63) - 1,
        "\ud800",
        b"bytes",
        (1, 2),
        {1: 2},
        {"\ud800": 1},
        {"deep": [math.nan]},
        pytest.param(object(), id="object"),
        {1, 2},
        Text("x"),
    ],
    ids=repr,
)
async def test_a_value_that_is_not_json_is_refused(client: DocumentClient, value: Any) -> None:
    await fill(client, a={"n": 1})
    for write in (
        Create("things", "b", {"x": value}),
        Put("things", "b", {"x": value}),
        Update("things", "a", {"x": value}),
    ):
        with pytest.raises(ValueError, match=r".+"):
            await client.write([Put("things", "c", {}), write])
    with pytest.raises(ValueError, match=r".+"):
        await client.query(Query("things", (Filter("x", "==", value),)), 1)
    assert await ids(client, Query("things")) == ["a"]


async def test_a_value_nested_without_end_is_refused(client: DocumentClient) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        await client.write([Create("things", "a", {"x": value})])
    while value:  # free one level at a time: freeing all at once would recurse
        value = value.pop()


@pytest.mark.parametrize("doc_id", ["", "a/b", ".", "..", "__a__", "\ud800", "x" * 1501])
async def test_an_impossible_id_is_not_written_and_not_found(
    client: DocumentClient, doc_id: str
) -> None:
    for write in (
        Create("things", doc_id, {}),
        Put("things", doc_id, {}),
        Update("things", doc_id, {}),
        Delete("things", doc_id),
    ):
        with pytest.raises(ValueError, match="id"):
            await client.write([write])
    assert await client.get("things", doc_id) is None
    assert await client.get_many("things", [doc_id]) == {}


@pytest.mark.parametrize("name", ["", "a b", 'x"y', "Things", "a1", "sqlite_x", "a;", "x\n"])
async def test_an_impossible_collection_is_refused(client: DocumentClient, name: str) -> None:
    for call in (
        client.get(name, "a"),
        client.get_many(name, ["a"]),
        client.write([Create(name, "a", {})]),
        client.query(Query(name), 1),
        client.aggregate(Query(name)),
    ):
        with pytest.raises(ValueError, match="collection"):
            await call


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a'", 'a"', "A", "1a", "a\n", "a[0]"])
async def test_an_impossible_field_name_is_refused(client: DocumentClient, name: str) -> None:
    await fill(client, a={"n": 1})
    for call in (
        client.query(Query("things", (Filter(name, "==", 1),)), 1),
        client.query(Query("things", order_by=name), 1),
        client.aggregate(Query("things"), name),
        client.write([Update("things", "a", {name: 1})]),
    ):
        with pytest.raises(ValueError, match="field"):
            await call


async def test_a_batch_has_1_to_500_writes(client: DocumentClient) -> None:
    with pytest.raises(ValueError, match="batch"):
        await client.write([])
    with pytest.raises(ValueError, match="batch"):
        await client.write([Put("things", str(i), {}) for i in range(BATCH_MAX + 1)])
    versions = await client.write([Put("things", str(i), {}) for i in range(BATCH_MAX)])
    assert len(versions) == BATCH_MAX


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (Create("things", "taken", {}), AlreadyExists),
        (Update("things", "missing", {}), VersionConflict),
        (Put("things", "taken", {}, if_version="1"), VersionConflict),
        (Delete("things", "taken", if_version="1"), VersionConflict),
    ],
    ids=["create", "update", "put", "delete"],
)
async def test_a_batch_is_written_whole_or_not_at_all(
    client: DocumentClient, refused: Write, error: type[Exception]
) -> None:
    await fill(client, taken={"n": 1}, other={"n": 1})
    before = await everything(client, Query("things"))
    with pytest.raises(error):
        await client.write(
            [
                Create("things", "new", {}),
                Put("things", "taken", {"n": 2}),
                Update("things", "other", {"n": 2}),
                refused,
                Delete("things", "other"),
            ]
        )
    assert await everything(client, Query("things")) == before


async def test_writes_of_one_document_in_a_batch_are_applied_in_order(
    client: DocumentClient,
) -> None:
    versions = await client.write(
        [
            Create("things", "a", {"n": 1}),
            Delete("things", "a"),
            Create("things", "a", {"n": 2}),
            Update("things", "a", {"m": 3}),
        ]
    )
    assert await client.get("things", "a") == Document("a", versions[3], {"n": 2, "m": 3})
    with pytest.raises(VersionConflict):
        await client.write([Put("things", "a", {}), Put("things", "a", {}, versions[3])])


async def test_the_first_write_that_fails_is_the_one_reported(client: DocumentClient) -> None:
    await fill(client, a={}, b={})
    with pytest.raises(AlreadyExists) as refused:
        await client.write([Create("things", "b", {}), Update("things", "x", {})])
    assert refused.value.doc_id == "b"


async def test_a_batch_may_span_collections(client: DocumentClient) -> None:
    await client.write([Create("things", "a", {"n": 1}), Create("others", "a", {"n": 2})])
    first, second = await client.get("things", "a"), await client.get("others", "a")
    assert first is not None
    assert second is not None
    assert (first.fields["n"], second.fields["n"]) == (1, 2)


async def test_of_50_callers_creating_one_id_exactly_one_wins(client: DocumentClient) -> None:
    outcomes = await asyncio.gather(
        *(
            client.write([Create("things", f"by{n}", {}), Create("things", "one", {"by": n})])
            for n in range(50)
        ),
        return_exceptions=True,
    )
    winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, list)]
    assert len(winners) == 1
    assert all(isinstance(o, list | AlreadyExists) for o in outcomes)
    document = await client.get("things", "one")
    assert document is not None
    assert document.fields == {"by": winners[0]}
    assert await ids(client, Query("things")) == [f"by{winners[0]}", "one"]


async def test_of_20_updates_of_one_version_exactly_one_wins(client: DocumentClient) -> None:
    (version,) = await client.write([Create("things", "a", {"by": None})])
    outcomes = await asyncio.gather(
        *(client.write([Update("things", "a", {"by": n}, version)]) for n in range(20)),
        return_exceptions=True,
    )
    winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, list)]
    assert len(winners) == 1
    assert all(isinstance(o, list | VersionConflict) for o in outcomes)
    document = await client.get("things", "a")
    assert document is not None
    assert document.fields == {"by": winners[0]}


async def test_every_read_after_a_write_returns_the_written_document(
    client: DocumentClient,
) -> None:
    async def write_and_look(n: int) -> None:
        for i in range(10):
            (version,) = await client.write([Put("things", f"t{n}", {"n": i})])
            looks = await asyncio.gather(*(client.get("things", f"t{n}") for _ in range(3)))
            assert looks == [Document(f"t{n}", version, {"n": i})] * 3

    await asyncio.gather(*(write_and_look(n) for n in range(8)))


async def test_a_client_still_works_after_its_callers_are_cancelled(client: DocumentClient) -> None:
    calls: list[asyncio.Task[Any]] = []
    for n in range(20):
        calls.append(asyncio.create_task(client.write([Put("things", f"t{n}", {"n": n})])))
        calls.append(asyncio.create_task(client.get("things", "t0")))
        calls.append(asyncio.create_task(client.query(Query("things"), 5)))
    asyncio.get_running_loop().call_soon(lambda: [call.cancel() for call in calls[::2]])
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert not [o for o in outcomes if isinstance(o, Exception)]
    await client.write([Create("things", "after", {})])
    assert await client.get("things", "after") is not None


async def test_filters_compare_values_of_one_type_only(client: DocumentClient) -> None:
    values: dict[str, Any] = {
        "false": False,
        "five": 5,
        "list": ["1"],
        "map": {"a": 1},
        "null": None,
        "one": 1,
        "one_real": 1.0,
        "text": "1",
        "text_list": '["1"]',
        "text_nul": "1\x00x",
        "true": True,
        "zero": 0,
    }
    await fill(client, **{name: {"x": value} for name, value in values.items()}, without={"y": 1})

    async def found(op: Any, value: Any) -> list[str]:
        order = None if op == "==" else "x"
        query = Query("things", (Filter("x", op, value),), order)
        return sorted(await ids(client, query))

    assert await found("==", True) == ["true"]
    assert await found("==", False) == ["false"]
    assert await found("==", 1) == ["one", "one_real"]
    assert await found("==", 1.0) == ["one", "one_real"]
    assert await found("==", 0) == ["zero"]
    assert await found("==", "1") == ["text"]
    assert await found("==", "1\x00x") == ["text_nul"]
    assert await found("==", "1\x00y") == []
    assert await found("==", '["1"]') == ["text_list"]
    assert await found("==", '{"a":1}') == []
    assert await found(">", 0) == ["five", "one", "one_real"]
    assert await found("<=", 1.5) == ["one", "one_real", "zero"]
    assert await found(">=", False) == ["false", "true"]
    assert await found(">", False) == ["true"]
    assert await found("<", "2") == ["text", "text_nul"]
    assert await found(">", "0") == ["text", "text_list", "text_nul"]
    assert await found("<", -100) == []


async def test_large_integers_and_reals_compare_exactly(client: DocumentClient) -> None:
    await fill(client, a={"x": 2**53}, b={"x": 2**53 + 1}, c={"x": float(2**53)})
    assert await ids(client, Query("things", (Filter("x", "==", 2**53),))) == ["a", "c"]
    assert await ids(client, Query("things", (Filter("x", ">", 2.0**53),), "x")) == ["b"]


async def test_a_query_ordered_by_a_field_omits_documents_without_it(
    client: DocumentClient,
) -> None:
    await fill(client, a={"rank": 2}, b={}, c={"rank": None}, d={"rank": 1}, e={"rank": -5})
    assert await ids(client, Query("things", order_by="rank"), 2) == ["c", "e", "d", "a"]
    backwards = Query("things", order_by="rank", direction="desc")
    assert await ids(client, backwards, 2) == ["a", "d", "e", "c"]
    assert (await client.aggregate(Query("things", order_by="rank"))).count == 4


async def test_ties_are_broken_by_id_in_the_same_direction(client: DocumentClient) -> None:
    await fill(client, b={"rank": 1}, a={"rank": 1}, d={"rank": 0}, c={"rank": 1})
    assert await ids(client, Query("things", order_by="rank"), 1) == ["d", "a", "b", "c"]
    backwards = Query("things", order_by="rank", direction="desc")
    assert await ids(client, backwards, 1) == ["c", "b", "a", "d"]


async def test_a_query_without_an_order_is_ordered_by_id(client: DocumentClient) -> None:
    await fill(client, b={"x": 1}, Z={"x": 1}, a={"x": 1}, ä={"x": 1}, aa={"x": 2})
    assert await ids(client, Query("things")) == ["Z", "a", "aa", "b", "ä"]
    filtered = Query("things", (Filter("x", "==", 1),))
    assert await ids(client, filtered, 1) == ["Z", "a", "b", "ä"]


async def test_every_page_of_a_window_respects_both_limits(client: DocumentClient) -> None:
    await fill(client, **{f"t{n:02}": {"owner": "x", "rank": n} for n in range(20)})
    for direction in ("asc", "desc"):
        window = Query(
            "things",
            (Filter("owner", "==", "x"), Filter("rank", ">", 4), Filter("rank", "<=", 12)),
            "rank",
            direction,
        )
        expected = [f"t{n:02}" for n in range(5, 13)]
        assert await ids(client, window) == (expected if direction == "asc" else expected[::-1])


async def test_contradictory_filters_match_nothing(client: DocumentClient) -> None:
    await fill(client, a={"x": 1})
    query = Query("things", (Filter("x", "==", 1), Filter("x", "==", 2)))
    assert await ids(client, query) == []


@pytest.mark.parametrize("limit", [0, -1, PAGE_MAX + 1])
async def test_a_limit_out_of_range_is_refused(client: DocumentClient, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        await client.query(Query("things"), limit)
    assert (await client.query(Query("things"), PAGE_MAX)).documents == []


async def test_a_range_on_another_field_than_the_order_is_refused(client: DocumentClient) -> None:
    for order in (None, "rank"):
        query = Query("things", (Filter("x", "<", 1),), order)
        with pytest.raises(ValueError, match="order_by"):
            await client.query(query, 1)
        with pytest.raises(ValueError, match="order_by"):
            await client.aggregate(query)


@pytest.mark.parametrize(
    "query",
    [
        Query("things", (Filter("x", "!=", 1),), "x"),  # type: ignore[arg-type]
        Query("things", (Filter("x", "= 1 OR 1", 1),), "x"),  # type: ignore[arg-type]
        Query("things", order_by="x", direction="down"),  # type: ignore[arg-type]
    ],
)
async def test_an_unknown_operator_or_direction_is_refused(
    client: DocumentClient, query: Query
) -> None:
    with pytest.raises(ValueError, match="Not a"):
        await client.query(query, 1)


async def test_a_query_without_its_index_is_refused(client: DocumentClient) -> None:
    owner, color = Filter("owner", "==", "x"), Filter("color", "==", "y")
    for query in (
        Query("others", (owner,), "rank"),
        Query("things", (color,), "rank"),
        Query("things", (owner,), "other"),
        Query("things", (owner, color), "rank", "asc"),
    ):
        assert needed_index(query) is not None
        with pytest.raises(MissingIndex):
            await client.query(query, 1)
        with pytest.raises(MissingIndex):
            await client.aggregate(query)
    for query in (
        Query("things", (owner,), "rank", "asc"),
        Query("things", (owner,), "rank", "desc"),
        Query("things", (owner, color), "rank", "desc"),
        Query("things", (color, owner), "rank", "desc"),
        Query("others", (owner, color)),
        Query("others", (), "anything"),
    ):
        assert (await client.query(query, 1)).documents == []


async def test_an_aggregate_counts_all_documents_and_averages_the_numbers(
    client: DocumentClient,
) -> None:
    await fill(
        client,
        a={"x": 1, "owner": "o"},
        b={"x": 2.5, "owner": "o"},
        c={"x": "100", "owner": "o"},
        d={"x": True, "owner": "o"},
        e={"x": None, "owner": "o"},
        f={"owner": "o"},
        g={"x": 7, "owner": "p"},
    )
    owned = Query("things", (Filter("owner", "==", "o"),))
    assert await client.aggregate(owned) == Aggregate(6)
    assert await client.aggregate(owned, "x") == Aggregate(6, 1.75, 1.0, 2.5)
    assert await client.aggregate(owned, "owner") == Aggregate(6)
    nobody = Query("things", (Filter("owner", "==", "nobody"),))
    assert await client.aggregate(nobody, "x") == Aggregate(0)
    some = Query("things", (Filter("x", ">=", 2),), "x", "desc")
    assert await client.aggregate(some, "x") == Aggregate(2, 4.75, 2.5, 7.0)


async def test_a_last_page_that_is_full_has_no_cursor(client: DocumentClient) -> None:
    await fill(client, a={}, b={})
    assert (await client.query(Query("things"), 1)).next_cursor is not None
    assert (await client.query(Query("things"), 2)).next_cursor is None
    assert (await client.query(Query("things"), 3)).next_cursor is None


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_paging_continues_correctly_after_inserts_and_deletes(
    client: DocumentClient, direction: Any
) -> None:
    await fill(client, **{f"t{n:02}": {"owner": "x", "rank": n // 4} for n in range(12)})
    query = Query("things", (Filter("owner", "==", "x"),), "rank", direction)
    page = await client.query(query, 5)
    first = [document.id for document in page.documents]
    last = first[-1]
    assert page.next_cursor is not None
    await client.write(
        [
            Delete("things", last),  # the document that the cursor names
            Create("things", f"{last}!", {"owner": "x", "rank": 1}),  # same rank, next id
            Create("things", "t", {"owner": "x", "rank": 1}),  # same rank, smallest id
            Put("things", "t11" if direction == "asc" else "t00", {"owner": "y", "rank": 0}),
            Create("things", "low", {"owner": "x", "rank": -1}),
            Create("things", "top", {"owner": "x", "rank": 9}),
        ]
    )
    rest: list[str] = []
    cursor: str | None = page.next_cursor
    while cursor is not None:
        page = await client.query(query, 2, cursor)
        rest += [document.id for document in page.documents]
        cursor = page.next_cursor
    if direction == "asc":
        assert first == ["t00", "t01", "t02", "t03", "t04"]
        assert rest == ["t04!", "t05", "t06", "t07", "t08", "t09", "t10", "top"]
    else:
        assert first == ["t11", "t10", "t09", "t08", "t07"]
        assert rest == ["t06", "t05", "t04", "t", "t03", "t02", "t01", "low"]


async def test_a_cursor_is_safe_in_a_url(client: DocumentClient) -> None:
    await fill(client, **{f"ü?{n}&": {"rank": "~/+ü\x00"} for n in range(9)})
    for query in (Query("things"), Query("things", order_by="rank")):
        cursor = (await client.query(query, 1)).next_cursor
        assert cursor is not None
        assert cursor.isascii()
        assert cursor.replace("-", "").replace("_", "").isalnum()
        assert len(await ids(client, query, 2)) == 9


CURSORS = (
    st.text()
    | st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+/")
    | st.text(st.characters(categories=["Cs", "Cc", "Lu"]))
    | st.binary()
    | st.none().map(lambda _: 5)
)


@given(cursor=CURSORS, at=st.integers(0, 60), put=st.characters())
@same_client
async def test_a_malformed_cursor_raises_no_error_but_invalid_cursor(
    client: DocumentClient, cursor: Any, at: int, put: str
) -> None:
    await client.write([Put("things", f"id{n}", {"rank": n}) for n in range(3)])
    codes: set[str] = set()
    for query in (Query("things"), Query("things", order_by="rank")):
        genuine = (await client.query(query, 1)).next_cursor
        assert genuine is not None
        spoilt = genuine[:at] + put + genuine[at + 1 :]
        for attempt in (cursor, spoilt, genuine[:at] + genuine[at + 1 :], genuine + put):
            try:
                await client.query(query, 1, attempt)
            except Invalid as error:
                codes.add(error.code)
    assert codes <= {"INVALID_CURSOR"}


@pytest.mark.parametrize("cursor", ["", "A", "!", "bnVsbA", "W10", b"W10", "é", "\ud800", 7])
@pytest.mark.parametrize("order", [None, "rank"])
async def test_a_cursor_that_the_client_never_returned_is_invalid(
    client: DocumentClient, cursor: Any, order: str | None
) -> None:
    with pytest.raises(Invalid) as refused:
        await client.query(Query("things", order_by=order), 1, cursor)
    assert refused.value.code == "INVALID_CURSOR"


@given(
    one=st.lists(st.text("ab_%/5F2é", max_size=4), min_size=1, max_size=3),
    other=st.lists(st.text("ab_%/5F2é", max_size=4), min_size=1, max_size=3),
)
def test_different_parts_never_make_the_same_document_id(one: list[str], other: list[str]) -> None:
    assert (document_id(*one) == document_id(*other)) == (one == other)
    assert "/" not in document_id(*one)


class Model:
    """The expected content of the store, as plain dicts."""

    def __init__(self) -> None:
        self.documents: dict[str, Fields] = {}

    def write(self, writes: list[tuple[str, str, Fields, bool | None]]) -> bool:
        """Apply (kind, id, fields, condition holds) tuples, all or none; True if applied."""
        new = {doc_id: dict(fields) for doc_id, fields in self.documents.items()}
        for kind, doc_id, fields, condition in writes:
            if condition is False or (condition and doc_id not in self.documents):
                return False
            if (kind == "create" and doc_id in new) or (kind == "update" and doc_id not in new):
                return False
            if kind == "delete":
                new.pop(doc_id, None)
            elif kind == "update":
                new[doc_id].update(fields)
            else:
                new[doc_id] = dict(fields)
        self.documents = new
        return True

    def query(self, query: Query) -> list[str]:
        by = query.order_by
        found = [
            doc_id
            for doc_id, fields in self.documents.items()
            if all(self._matches(fields, one) for one in query.filters)
            and (by is None or by in fields)
        ]
        if by is None:
            return sorted(found)

        def sort_key(doc_id: str) -> tuple[Any, ...]:
            value = self.documents[doc_id][by]
            return (False, 0, doc_id) if value is None else (True, value, doc_id)

        return sorted(found, key=sort_key, reverse=query.direction == "desc")

    @staticmethod
    def _matches(fields: Fields, one: Filter) -> bool:
        if one.field not in fields or kind_of(fields[one.field]) != kind_of(one.value):
            return False
        value, bound = fields[one.field], one.value
        return bool(
            {
                "==": lambda: value == bound,
                "<": lambda: value < bound,
                "<=": lambda: value <= bound,
                ">": lambda: value > bound,
                ">=": lambda: value >= bound,
            }[one.op]()
        )


def kind_of(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


NUMBERS = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.sampled_from(["x", "y", "1", 1, 1.0, True, False, 0, "x\x00", "é"]) | NUMBERS
IDS = st.sampled_from(["a", "b", "c", "d_e", "é", "Z"])


@st.composite
def histories(
    draw: st.DrawFn,
) -> tuple[list[list[tuple[str, str, Fields, bool | None]]], list[Query]]:
    """Batches of writes, and queries; the ranks are all numbers or all texts, or null."""
    ranks = draw(st.sampled_from([NUMBERS, st.text(st.characters(min_codepoint=1, codec="utf-8"))]))
    documents = st.fixed_dictionaries(
        {},
        optional={
            "owner": st.sampled_from(["x", "y", 1, True]),
            "color": SCALARS,
            "rank": st.none() | ranks,
        },
    )
    writes = st.one_of(
        st.tuples(st.just("create"), IDS, documents, st.none()),
        st.tuples(st.sampled_from(["put", "update"]), IDS, documents, st.none() | st.booleans()),
        st.tuples(st.just("delete"), IDS, st.just({}), st.none() | st.booleans()),
    )
    batches = draw(
        st.lists(
            st.lists(writes, min_size=1, max_size=3, unique_by=lambda one: one[1]), max_size=12
        )
    )
    owner = st.builds(Filter, st.just("owner"), st.just("=="), st.sampled_from(["x", "y", 1, True]))
    color = st.builds(Filter, st.just("color"), st.just("=="), SCALARS)
    rank = st.builds(Filter, st.just("rank"), st.sampled_from(["<", "<=", ">", ">="]), ranks)
    bounds = st.lists(rank, max_size=2)
    queries = st.one_of(
        st.builds(lambda equal: Query("things", tuple(equal)), st.lists(owner | color, max_size=2)),
        st.builds(
            lambda more, direction: Query("things", tuple(more), "rank", direction),
            bounds,
            st.sampled_from(["asc", "desc"]),
        ),
        st.builds(
            lambda one, more, direction: Query("things", (one, *more), "rank", direction),
            owner,
            bounds,
            st.sampled_from(["asc", "desc"]),
        ),
        st.builds(
            lambda one, two, more: Query("things", (one, two, *more), "rank", "desc"),
            owner,
            color,
            bounds,
        ),
    )
    return batches, draw(st.lists(queries, min_size=1, max_size=6))


def to_write(one: tuple[str, str, Fields, bool | None], held: dict[str, str]) -> Write:
    """Convert a write of the model; a condition that holds becomes the current version."""
    kind, doc_id, fields, condition = one
    version = None if condition is None else held.get(doc_id, "1") if condition else "1"
    if kind == "create":
        return Create("things", doc_id, fields)
    if kind == "delete":
        return Delete("things", doc_id, version)
    return (Put if kind == "put" else Update)("things", doc_id, fields, version)


@given(history=histories(), limit=st.integers(1, 4))
@settings(same_client, max_examples=amount(60, 2000))
async def test_any_history_of_writes_leaves_the_same_documents_as_a_plain_model(
    client: DocumentClient, history: Any, limit: int
) -> None:
    batches, queries = history
    for document in await everything(client, Query("things")):
        await client.write([Delete("things", document.id)])
    model = Model()
    held: dict[str, str] = {}
    for batch in batches:
        try:
            versions = await client.write([to_write(one, held) for one in batch])
        except (AlreadyExists, VersionConflict):
            assert not model.write(batch)
            continue
        assert model.write(batch)
        for (_, doc_id, _, _), version in zip(batch, versions, strict=True):
            held[doc_id] = version
        held = {doc_id: version for doc_id, version in held.items() if version}

    stored = {document.id: document for document in await everything(client, Query("things"))}
    assert {doc_id: document.fields for doc_id, document in stored.items()} == model.documents
    assert {doc_id: document.version for doc_id, document in stored.items()} == held
    assert await client.get_many("things", list(model.documents)) == stored
    for query in queries:
        expected = model.query(query)
        assert await ids(client, query, limit) == expected
        assert (await client.aggregate(query)).count == len(expected)
