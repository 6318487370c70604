"""The SQLite store's own parts: its thread, its files, its failures, its indexes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.cursors import encode_cursor
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Document,
    Filter,
    MissingIndex,
    Put,
    Query,
    StoreBusy,
    StoreUnavailable,
    Update,
    VersionConflict,
    Write,
)
from server.services.ports.indexes import Index, check_query, load_indexes
from server.services.sqlite import expiry, queries, schema
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.value_rows import _sql as one_statement
from server.services.sqlite.write_statements import WriteSet
from tests.support.stream import eventually

ROOT = Path(__file__).parents[4]
INDEXES = load_indexes(ROOT / "infra" / "firestore.indexes.json")
BOUND_S = 60.0
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def new_client(path: Path, **options: Any) -> SqliteClient:
    return SqliteClient(path, INDEXES, SystemClock(), Metrics(), **options)


@contextlib.asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteClient]:
    client = new_client(path, **options)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
async def client(path: Path) -> AsyncIterator[SqliteClient]:
    async with opened(path) as client:
        yield client


@contextlib.asynccontextmanager
async def held_up(client: SqliteClient) -> AsyncIterator[threading.Event]:
    """Keeps the writer's thread busy until the event is set, or the block ends."""
    loop, busy, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(busy.set)
        release.wait(BOUND_S)

    holding = asyncio.create_task(client.writer.run(hold))
    try:
        await asyncio.wait_for(busy.wait(), BOUND_S)
        yield release
    finally:
        release.set()
        await asyncio.gather(holding, return_exceptions=True)


def failures(client: SqliteClient, kind: str) -> float:
    registry = client.metrics.registry
    return registry.get_sample_value("bas_store_failures_total", {"kind": kind}) or 0.0


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def make_no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("no database " * 1000)


def damage(path: Path) -> None:
    """Overwrites all but the first pages."""
    content = path.read_bytes()[: 4096 * 60]
    path.write_bytes(content.ljust(path.stat().st_size, b"\xff"))


async def test_waiting_writes_share_one_commit(client: SqliteClient) -> None:
    async with held_up(client) as release:
        before = client.writer.commits
        writes = [
            asyncio.create_task(client.write([Create("zones", f"z{n}", {"n": n})]))
            for n in range(100)
        ]
        asyncio.get_running_loop().call_soon(release.set)
        await asyncio.gather(*writes)
    assert client.writer.commits - before == 2  # the commit that made them wait, and their own


async def test_a_conflict_does_not_affect_the_other_writes_of_its_group(
    client: SqliteClient,
) -> None:
    (version,) = await client.write([Create("zones", "taken", {"n": 0})])
    async with held_up(client) as release:
        before = client.writer.commits
        writes = [
            asyncio.create_task(client.write(batch))
            for batch in (
                [Create("zones", "a", {}), Put("zones", "taken", {"n": 1}, version)],
                [Create("zones", "b", {}), Put("zones", "taken", {"n": 2}, version)],
                [Create("zones", "c", {}), Create("zones", "a", {})],
                [Create("zones", "d", {})],
            )
        ]
        asyncio.get_running_loop().call_soon(release.set)
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert client.writer.commits - before == 2
    assert [type(outcome) for outcome in outcomes] == [list, VersionConflict, AlreadyExists, list]
    page = await client.query(Query("zones"), 10)
    assert [document.id for document in page.documents] == ["a", "d", "taken"]
    assert page.documents[2].fields == {"n": 1}


async def test_a_job_with_a_bug_fails_alone(client: SqliteClient) -> None:
    def bug(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO zones VALUES ('bug', 1, '{}')")
        raise KeyError("bug")

    outcomes = await asyncio.gather(
        client.writer.run(bug), client.write([Create("zones", "a", {})]), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [KeyError, list]
    assert await client.get("zones", "bug") is None


async def test_a_write_to_a_full_queue_is_refused_at_once(path: Path) -> None:
    async with opened(path, max_waiting=3) as client:
        async with held_up(client) as release:
            writes = [
                asyncio.create_task(client.write([Create("zones", f"z{n}", {})])) for n in range(5)
            ]
            asyncio.get_running_loop().call_soon(release.set)
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [list] * 3 + [StoreBusy] * 2
        assert failures(client, "queue_full") == 2
        await client.write([Create("zones", "after", {})])


async def test_a_write_that_timed_out_before_its_turn_is_never_executed(
    client: SqliteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_up(client):
        with monkeypatch.context() as hurried:
            hurried.setattr(client.writer, "_timeout_s", 0.05)
            with pytest.raises(StoreUnavailable):
                await client.write([Create("zones", "late", {})])
            with pytest.raises(StoreUnavailable):
                await client.ping()
    assert failures(client, "write_timeout") == 2
    await client.write([Create("zones", "next", {})])
    assert await client.get("zones", "late") is None


async def test_a_write_whose_caller_gave_up_before_its_turn_is_never_executed(
    client: SqliteClient,
) -> None:
    async with held_up(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.write([Create("zones", "late", {})])
    await client.write([Create("zones", "next", {})])
    assert await client.get("zones", "late") is None


async def test_the_duration_of_every_write_is_measured(client: SqliteClient) -> None:
    await client.write([Create("zones", "a", {})])
    with pytest.raises(AlreadyExists):
        await client.write([Create("zones", "a", {})])
    assert client.metrics.registry.get_sample_value("bas_store_seconds_count") == 2


async def test_close_commits_accepted_writes_and_refuses_later_calls(path: Path) -> None:
    client = new_client(path)
    await client.open()
    async with held_up(client) as release:
        writes = [
            asyncio.create_task(client.write([Create("zones", f"z{n}", {})])) for n in range(50)
        ]
        closing = asyncio.create_task(client.close())
        asyncio.get_running_loop().call_soon(release.set)
        await asyncio.gather(*writes)
        await closing
    for call in (
        client.write([Create("zones", "late", {})]),
        client.get("zones", "z1"),
        client.query(Query("zones"), 1),
        client.aggregate(Query("zones")),
        client.ping(),
        client.delete_expired(0, 1),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await client.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("sqlite")]
    assert sorted(p.name for p in path.parent.iterdir()) == ["store.db"]
    async with opened(path) as again:
        assert (await again.aggregate(Query("zones"))).count == 50


async def test_a_client_that_is_not_open_is_unavailable_and_can_be_closed(path: Path) -> None:
    client = new_client(path)
    assert not path.parent.exists()
    with pytest.raises(StoreUnavailable):
        await client.get("zones", "a")
    with pytest.raises(StoreUnavailable):
        await client.write([Create("zones", "a", {})])
    await client.close()


async def test_a_file_that_is_no_database_cannot_be_opened(path: Path) -> None:
    make_no_database(path)
    before = set(threading.enumerate())  # those of an earlier test may end later
    client = new_client(path)
    with pytest.raises(StoreUnavailable, match=r"cannot be opened: .*store\.db"):
        await client.open()
    await client.close()
    begun = {one for one in set(threading.enumerate()) - before if one.name.startswith("sqlite")}
    # One that could not connect is at its end.
    await eventually(lambda: not any(one.is_alive() for one in begun), "its threads have ended")


async def test_an_index_that_cannot_be_created_prevents_the_start(path: Path) -> None:
    client = SqliteClient(path, [Index("zones", ("a b",), "x", "asc")], SystemClock(), Metrics())
    with pytest.raises(ValueError, match="a b"):
        await asyncio.wait_for(client.open(), BOUND_S)
    await client.close()


async def test_a_damaged_database_is_unavailable(path: Path) -> None:
    async with opened(path) as client:
        await client.write([Create("zones", f"z{n}", {"text": "x" * 2000}) for n in range(300)])
    damage(path)
    async with opened(path) as client:
        with pytest.raises(StoreUnavailable):
            await client.query(Query("zones", (Filter("text", "==", "y"),)), 1)
        assert failures(client, "read_error") == 1


async def test_folder_and_files_are_accessible_only_to_the_owner(path: Path) -> None:
    async with opened(path) as client:
        await client.write([Create("zones", "a", {})])
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
        assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


async def test_a_written_document_is_there_after_a_restart(path: Path) -> None:
    async with opened(path) as client:
        (version,) = await client.write([Create("never_declared", "a", {"n": 1})])
    async with opened(path) as client:
        assert await client.get("never_declared", "a") == Document("a", version, {"n": 1})


LOAD = """
import asyncio, sys
from pathlib import Path
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.sqlite.client import SqliteClient
from server.services.ports.documents import Create

async def main(path, prefix, each):
    client = SqliteClient(Path(path), [], SystemClock(), Metrics(), write_timeout_s=30)
    await client.open()
    async def device(number):
        for n in range(int(each)):
            name = f"{prefix}-{number}-{n}"
            await client.write([Create("first", name, {"n": n}), Create("second", name, {"n": n})])
            print(name, flush=True)
    await asyncio.gather(*(device(number) for number in range(8)))
    await client.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_every_acknowledged_write_is_kept_after_kill_9(path: Path) -> None:
    child = python(LOAD, path, "child", 1_000_000)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(500)]
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate(timeout=BOUND_S)
    acknowledged += [line for line in rest.split("\n")[:-1] if line]
    assert child.returncode == -signal.SIGKILL
    async with opened(path) as client:
        for start in range(0, len(acknowledged), 500):
            names = acknowledged[start : start + 500]
            assert set(await client.get_many("first", names)) == set(names)
            assert set(await client.get_many("second", names)) == set(names)
        counts = [(await client.aggregate(Query(name))).count for name in ("first", "second")]
        assert counts[0] == counts[1] >= len(acknowledged)


async def test_another_process_can_write_to_the_same_file(path: Path) -> None:
    async with opened(path, write_timeout_s=30) as client:
        child = python(LOAD, path, "child", 25)
        for n in range(200):
            await client.write([Create("first", f"own-{n}", {"n": n})])
        output, _ = await asyncio.to_thread(child.communicate, timeout=30)
        assert child.returncode == 0
        assert len(output.split()) == 200
        assert (await client.aggregate(Query("first"))).count == 400
        assert (await client.aggregate(Query("second"))).count == 200


async def test_several_processes_can_open_a_new_file_at_the_same_time(path: Path) -> None:
    children = [python(LOAD, path, f"child{n}", 2) for n in range(4)]
    for child in children:
        await asyncio.to_thread(child.communicate, timeout=30)
    assert [child.returncode for child in children] == [0] * 4
    async with opened(path) as client:
        assert (await client.aggregate(Query("first"))).count == 4 * 16


async def test_a_write_waits_for_another_program_s_lock_for_a_limited_time(path: Path) -> None:
    async with opened(path, write_timeout_s=0.5) as client:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                await client.write([Create("zones", "a", {})])
            assert await client.get("zones", "a") is None

            waiting = asyncio.create_task(client.write([Create("zones", "b", {})]))
            asyncio.get_running_loop().call_later(0.05, foreign.execute, "ROLLBACK")
            await waiting
        # SQLite gives up, or on a busy machine the client before it.
        assert failures(client, "write_error") + failures(client, "write_timeout") == 1
        page = await client.query(Query("zones"), 10)
        assert [document.id for document in page.documents] == ["b"]


async def test_a_full_disk_is_unavailable_until_there_is_room(client: SqliteClient) -> None:
    async def limit_to(pages: int) -> None:
        limit = f"PRAGMA max_page_count = {pages}"
        await client.writer.run(lambda connection: connection.execute(limit).fetchone())

    await client.write([Create("zones", "before", {"n": 1})])
    await limit_to(1)  # for SQLite this means: no further page
    big = Put("zones", "big", {"text": "x" * 100_000})
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await client.write([Put("zones", "before", {"n": 2}), big])
    assert await client.get("zones", "big") is None
    document = await client.get("zones", "before")
    assert document is not None
    assert document.fields == {"n": 1}
    assert failures(client, "write_error") == 2

    await limit_to(1_000_000)
    await client.write([big])
    assert await client.get("zones", "big") is not None


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Keeps any file of this process from growing beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_failed_commit_acknowledges_no_write_of_its_group(
    client: SqliteClient, path: Path
) -> None:
    await client.write([Create("zones", "before", {})])
    async with held_up(client) as release:
        commits = client.writer.commits
        with file_size_limit(path.with_name("store.db-wal").stat().st_size):
            writes = [
                asyncio.create_task(client.write([Create("zones", f"z{n}", {})])) for n in range(9)
            ]
            asyncio.get_running_loop().call_soon(release.set)
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 9
        assert client.writer.commits - commits == 1  # the job that made them wait wrote nothing
    await client.write([Create("zones", "after", {})])
    page = await client.query(Query("zones"), 20)
    assert [document.id for document in page.documents] == ["after", "before"]


async def test_a_read_that_timed_out_is_interrupted(path: Path) -> None:
    async with opened(path, read_timeout_s=0.05, readers=1) as client:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await client.readers.run(lambda connection: connection.execute(ENDLESS).fetchone())
        assert failures(client, "read_timeout") == 3
    async with opened(path, readers=1) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.readers.run(lambda connection: connection.execute(ENDLESS).fetchone())
        assert await client.get("zones", "a") is None  # the only reader is free again


async def test_a_read_beyond_the_limit_is_refused_and_close_stops_the_others(path: Path) -> None:
    async with opened(path, readers=1, max_waiting=2, read_timeout_s=BOUND_S) as client:
        loop, busy = asyncio.get_running_loop(), asyncio.Event()

        def endless(connection: sqlite3.Connection) -> object:
            loop.call_soon_threadsafe(busy.set)
            return connection.execute(ENDLESS).fetchone()

        running = asyncio.create_task(client.readers.run(endless))
        await asyncio.wait_for(busy.wait(), BOUND_S)
        reads = [asyncio.create_task(client.get("zones", "a")) for _ in range(3)]
        with pytest.raises(StoreUnavailable):
            await reads[2]
        with pytest.raises(StoreUnavailable):
            await client.query(Query("zones"), 1)
        assert failures(client, "queue_full") == 2
        await asyncio.wait_for(client.close(), BOUND_S)
        outcomes = await asyncio.gather(running, *reads[:2], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3


async def test_readers_cannot_write(client: SqliteClient) -> None:
    with pytest.raises(StoreUnavailable):
        await client.readers.run(lambda connection: connection.execute("DELETE FROM zones"))


async def test_one_batch_of_retention_deletes_at_most_its_limit(client: SqliteClient) -> None:
    await client.write(
        [Create("sessions", f"s{n}", {"expire_at": n}) for n in range(10)]
        + [Create("telemetry", f"t{n}", {"expire_at": n}) for n in range(10)]
        + [
            Create("telemetry", "text", {"expire_at": "0"}),
            Create("telemetry", "null", {"expire_at": None}),
            Create("telemetry", "true", {"expire_at": True}),
            Create("telemetry", "none", {}),
        ]
    )
    assert await client.delete_expired(5, 7) == 7
    assert await client.delete_expired(5, 7) == 3
    assert await client.delete_expired(5, 7) == 0
    for collection in ("sessions", "telemetry"):
        left = Filter("expire_at", ">", 0)
        page = await client.query(Query(collection, (left,), "expire_at"), 1)
        assert page.documents[0].fields["expire_at"] == 5
    assert (await client.aggregate(Query("telemetry"))).count == 9


async def plan_of(client: SqliteClient, text: str, parameters: Any) -> str:
    """How SQLite reads the tables, and whether it sorts; without the step that builds the row."""
    rows: list[tuple[Any, ...]] = await client.readers.run(
        lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()
    )
    return "; ".join(row[3] for row in rows if "(subquery" not in row[3])


@pytest.mark.parametrize(
    "index",
    [one for one in INDEXES if one.then is None and one.collection != "zones"],
    ids=lambda index: index.name,
)
async def test_the_query_of_each_declared_index_uses_an_index(
    client: SqliteClient, index: Index
) -> None:
    own = schema.own_index(index)
    equal = tuple(Filter(field, "==", "x") for field in index.equal)
    window = (Filter(index.order_by, ">=", 1), Filter(index.order_by, "<", 9))
    name = f"USING INDEX {own.name} ({'<expr>=? AND ' * len(own.equal)}"
    cursor = encode_cursor(Query("x", order_by="y"), Document("id", "1", {"y": 5}))
    inside = "<expr>>? AND <expr><?"
    behind = "<expr><?" if index.direction == "desc" else "<expr>>?"
    for filters, after, bounds in (
        (equal, None, ""),
        (equal + window, None, inside),
        (equal, cursor, behind),
        (equal + window, cursor, inside),
    ):
        query = Query(index.collection, filters, index.order_by, index.direction)
        check_query(query, set(INDEXES))
        plan = await plan_of(client, *queries.select(query, 10, after))
        expected = name + bounds if bounds else name.removesuffix(" AND ")
        assert plan == f"SEARCH {index.collection} {expected})"


async def test_a_declared_index_serves_only_its_own_direction(client: SqliteClient) -> None:
    tenant = Filter("tenant_id", "==", "x")
    assert (
        await client.query(Query("zones", (tenant,), "last_seen_ms", "desc"), 1)
    ).documents == []
    with pytest.raises(MissingIndex):
        await client.query(Query("zones", (tenant,), "last_seen_ms", "asc"), 1)


@pytest.mark.parametrize(
    "write",
    [
        Put("zones", "a", {}, "1"),
        Update("zones", "a", {"n": 1}),
        Delete("zones", "a"),
        Delete("zones", "a", "1"),
    ],
)
async def test_writes_find_their_documents_by_id(client: SqliteClient, write: Write) -> None:
    (step,) = WriteSet([write]).steps
    sql = one_statement(step.shape.before, step.shape.behind, len(step.row), 1)
    plan = await plan_of(client, sql, step.row)
    assert "sqlite_autoindex_zones_1 (id=?)" in plan
    assert "SCAN zones" not in plan


async def test_look_ups_and_retention_use_their_indexes(client: SqliteClient) -> None:
    plan = await plan_of(client, *queries.select_ids("zones", ["a", "b"]))
    assert plan == "SEARCH zones USING INDEX sqlite_autoindex_zones_1 (id=?)"
    for collection in {index.collection for index in INDEXES} - schema.EXPIRY_NOT_INDEXED:
        plan = await plan_of(client, expiry.delete_statement(collection), (5, "b", 0, 10))
        assert f"USING INDEX {collection}.expire_at (<expr><?)" in plan
        assert "SCAN" not in plan
    found = (5, "b", 0, 10, "[]")
    plan = await plan_of(client, expiry.delete_statement("zones", by_ids=True), found)
    assert "sqlite_autoindex_zones_1 (id=?)" in plan
    assert "SCAN zones" not in plan


async def test_an_aggregate_over_many_documents_delays_no_other_read(client: SqliteClient) -> None:
    release = threading.Event()
    busy = asyncio.create_task(client.reports.run(lambda connection: release.wait(60)))
    figures = asyncio.create_task(client.aggregate(Query("things")))
    try:
        for _ in range(20):
            async with asyncio.timeout(30):
                assert await client.get("things", "none") is None
        assert not figures.done()
    finally:
        release.set()
    await busy
    assert (await figures).count == 0


def test_the_index_file_is_parsed_as_by_firestore() -> None:
    assert Index("telemetry", ("device_id", "tenant_id"), "timestamp_ms", "desc") in INDEXES
    assert Index("sessions", ("username",), "expire_at", "asc") in INDEXES


async def test_a_deleted_document_remains_in_no_index(client: SqliteClient) -> None:
    fields = {"tenant_id": "t", "device_id": "d", "timestamp_ms": 1, "expire_at": 2}
    await client.write([Create("telemetry", "a", fields)])
    await client.write([Delete("telemetry", "a")])
    checked = await client.readers.run(
        lambda connection: connection.execute("PRAGMA integrity_check").fetchall()
    )
    assert checked == [("ok",)]
    query = Query("telemetry", (Filter("tenant_id", "==", "t"),), "timestamp_ms", "desc")
    assert (await client.query(query, 1)).documents == []
