"""Copies of documents: read from memory for a moment, never older than a write of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from server.auth.rate_limit import AttemptLimiter
from server.metrics import Metrics
from server.neighbours import Neighbours
from server.notices import NoNotices
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore import copies as module
from server.services.firestore.base import (
    Create,
    Delete,
    Document,
    Put,
    Update,
    VersionConflict,
)
from server.services.firestore.caching import CachingClient
from server.services.firestore.copies import LIFE_S
from tests.support.clock import ManualClock

EVER = 10**15
SESSION = {"digest": "abc", "expire_at": EVER}


class Asked(SqliteClient):
    """The embedded store, which counts the documents it was asked for, and may be held up."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        super().__init__(path, [], clock, Metrics())
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_read = asyncio.Event()

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        self.asked += doc_ids
        found = await super().get_many(collection, doc_ids)
        self.has_read.set()
        await self.may_answer.wait()
        return found


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Asked]:
    async with Asked(tmp_path / "bas.db", clock) as client:
        yield client


@pytest.fixture
def client(store: Asked, clock: ManualClock) -> CachingClient:
    """Every collection is kept where reads are dear."""

    async def place(tenant_id: str) -> str:
        return ""

    alone = Neighbours(NoNotices(), None, place)
    return CachingClient(store, [*LIFE_S, "zones"], alone, clock, Metrics())


async def test_what_was_read_a_moment_ago_is_not_read_again(client, store):
    await client.write([Create("sessions", "one", SESSION)])
    first = await client.copies.get("sessions", "one")
    second = await client.copies.get("sessions", "one")
    assert first == second
    assert first is not None
    assert first.fields == SESSION
    assert store.asked == ["one"]


@pytest.mark.parametrize("collection", LIFE_S)
async def test_no_copy_is_older_than_its_life(client, store, clock, collection):
    await client.write([Create(collection, "one", {"value": 1})])
    await client.copies.get(collection, "one")
    await store.write([Put(collection, "one", {"value": 2})])  # by another process, unheard
    clock.advance(LIFE_S[collection])
    document = await client.copies.get(collection, "one")
    assert document is not None
    assert document.fields["value"] == 2


async def test_a_copy_of_a_session_ends_with_the_session(client, store, clock):
    await client.write([Create("sessions", "one", {"expire_at": clock.now_ms() + 500})])
    await client.copies.get("sessions", "one")
    clock.advance(0.5)
    await client.copies.get("sessions", "one")
    assert store.asked == ["one", "one"]


async def test_copies_read_together_do_not_all_end_together(client, store, clock):
    ids = [str(number) for number in range(200)]
    await client.write([Create("devices", one, {}) for one in ids])
    await client.copies.get_many("devices", ids)
    store.asked.clear()
    clock.advance(LIFE_S["devices"] * 0.875)
    await client.copies.get_many("devices", ids)
    assert 50 < len(store.asked) < 150


@pytest.mark.parametrize(
    ("write", "after"),
    [
        (Put("users", "one", {"role": "admin"}), {"role": "admin"}),
        (Update("users", "one", {"role": "admin"}), {"role": "admin"}),
        (Delete("users", "one"), None),
    ],
)
async def test_who_wrote_reads_what_was_written(client, write, after):
    await client.write([Create("users", "one", {"role": "operator"})])
    await client.copies.get("users", "one")
    await client.write([write])
    document = await client.copies.get("users", "one")
    assert (document.fields | {"password_hash": ""} if document else None) == (
        after | {"password_hash": ""} if after else None
    )


async def test_what_was_not_there_is_found_once_it_is_created(client):
    assert await client.copies.get("devices", "one") is None
    await client.write([Create("devices", "one", {"key_digest": "x"})])
    document = await client.copies.get("devices", "one")
    assert document is not None
    assert document.fields == {"key_digest": "x"}


async def test_a_read_that_a_write_overtook_is_not_remembered(client, store):
    await client.write([Create("users", "one", {"role": "admin"})])
    store.may_answer.clear()
    reading = asyncio.create_task(client.copies.get("users", "one"))
    await store.has_read.wait()
    await client.write([Update("users", "one", {"role": "read-only"})])
    store.may_answer.set()
    await reading
    document = await client.copies.get("users", "one")
    assert document is not None
    assert document.fields["role"] == "read-only"


async def test_the_time_that_a_slow_store_took_counts_to_a_copys_life(client, store, clock):
    await client.write([Create("users", "one", {"role": "admin"})])
    store.may_answer.clear()
    reading = asyncio.create_task(client.copies.get("users", "one"))
    await store.has_read.wait()
    await store.write([Put("users", "one", {"role": "read-only"})])  # by another process, unheard
    clock.advance(LIFE_S["users"])
    store.may_answer.set()
    await reading
    document = await client.copies.get("users", "one")
    assert document is not None
    assert document.fields["role"] == "read-only"


async def test_a_refused_write_drops_the_copy_that_made_it_fail(client, store):
    (version,) = await client.write([Create("devices", "one", {"value": 1})])
    await client.copies.get("devices", "one")
    await store.write([Put("devices", "one", {"value": 2})])  # by another process, unheard
    with pytest.raises(VersionConflict):
        await client.write([Put("devices", "one", {"value": 3}, if_version=version)])
    document = await client.copies.get("devices", "one")
    assert document is not None
    assert document.fields == {"value": 2}


@pytest.mark.parametrize(
    ("collection", "times"),
    [("sessions", 2), ("users", 2), ("device_keys", 2), ("devices", 1), ("login_attempts", 1)],
)
async def test_only_what_is_missing_as_a_rule_is_remembered_as_missing(
    client, store, collection, times
):
    for _ in range(2):
        assert await client.copies.get(collection, "one") is None
    assert len(store.asked) == times


async def test_the_failures_that_a_log_in_forgot_are_not_read_with_every_request(
    client, store, clock
):
    limiter = AttemptLimiter(
        client, client.copies, clock, "user", limit=5, window_s=900, lock_s=900
    )
    before = await limiter.standing("reader")
    await client.write([limiter.forgetting("reader", before)])
    store.asked.clear()
    for _ in range(3):
        assert await limiter.locked(["reader"]) == {}
    assert len(store.asked) == 1


async def test_no_copy_has_a_password_hash(client, store):
    await client.write([Create("users", "one", {"role": "admin", "password_hash": "argon2"})])
    for _ in range(2):
        document = await client.copies.get("users", "one")
        assert document is not None
        assert document.fields == {"role": "admin", "password_hash": ""}
    stored = await client.get("users", "one")
    assert stored is not None
    assert stored.fields["password_hash"] == "argon2"


async def test_other_collections_are_always_read_from_the_store(client, store):
    await client.write([Create("zones", "one", {})])
    for _ in range(3):
        assert await client.copies.get("zones", "one") is not None
    assert len(store.asked) == 3


async def test_a_crowd_of_names_does_not_fill_the_memory(client, store, monkeypatch):
    monkeypatch.setattr(module, "COPIES_MAX", 10)
    for number in range(50):
        await client.copies.get("devices", f"made-up-{number}")
    assert len(client.copies) == 10


async def test_one_call_mixes_what_is_known_and_what_is_not(client, store):
    await client.write([Create("devices", one, {"name": one}) for one in ("a", "b", "c")])
    await client.copies.get("devices", "b")
    store.asked.clear()
    found = await client.copies.get_many("devices", ["a", "b", "none", "c"])
    assert {key: document.fields["name"] for key, document in found.items()} == {
        "a": "a",
        "b": "b",
        "c": "c",
    }
    assert sorted(store.asked) == ["a", "c", "none"]
