"""The cache of documents: it is used for a moment, and never older than this process's writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from server.auth.attempts import AttemptLimiter
from server.common.metrics import Metrics
from server.services.firestore.cache import documents as module
from server.services.firestore.cache.client import CachingClient
from server.services.firestore.cache.documents import LIFE_S
from server.services.ports.documents import Create, Delete, Document, Put, Update, VersionConflict
from server.services.site.ports import NoNotices, SharedSite
from server.services.sqlite.client import SqliteClient
from tests.support.clock import ManualClock

EVER = 10**15
SESSION = {"digest": "abc", "expire_at": EVER}


class Asked(SqliteClient):
    """The embedded store, which counts the requested documents, and can be made to wait."""

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
    """A client over a store where reads are expensive, with every collection."""

    async def tip_of(tenant_id: str) -> str:
        return ""

    alone = SharedSite(NoNotices(), None, tip_of)
    return CachingClient(store, [*LIFE_S, "zones"], alone, clock, Metrics())


async def test_a_document_that_was_just_read_is_not_read_again(client, store):
    await client.write([Create("sessions", "one", SESSION)])
    first = await client.copies.get("sessions", "one")
    second = await client.copies.get("sessions", "one")
    assert first == second
    assert first is not None
    assert first.fields == SESSION
    assert store.asked == ["one"]


@pytest.mark.parametrize("collection", LIFE_S)
async def test_no_cached_document_is_older_than_its_lifetime(client, store, clock, collection):
    await client.write([Create(collection, "one", {"value": 1})])
    await client.copies.get(collection, "one")
    await store.write(
        [Put(collection, "one", {"value": 2})]
    )  # by another process, without a notice
    clock.advance(LIFE_S[collection])
    document = await client.copies.get(collection, "one")
    assert document is not None
    assert document.fields["value"] == 2


async def test_a_cached_session_ends_with_the_session(client, store, clock):
    await client.write([Create("sessions", "one", {"expire_at": clock.now_ms() + 500})])
    await client.copies.get("sessions", "one")
    clock.advance(0.5)
    await client.copies.get("sessions", "one")
    assert store.asked == ["one", "one"]


async def test_cached_documents_that_were_read_together_do_not_all_expire_together(
    client, store, clock
):
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
async def test_a_process_reads_its_own_write(client, write, after):
    await client.write([Create("users", "one", {"role": "operator"})])
    await client.copies.get("users", "one")
    await client.write([write])
    document = await client.copies.get("users", "one")
    assert (document.fields if document else None) == after


async def test_a_missing_document_is_found_after_it_is_created(client):
    assert await client.copies.get("devices", "one") is None
    await client.write([Create("devices", "one", {"key_digest": "x"})])
    document = await client.copies.get("devices", "one")
    assert document is not None
    assert document.fields == {"key_digest": "x"}


async def test_a_read_that_a_write_overtook_is_not_cached(client, store):
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


async def test_a_cached_document_s_lifetime_starts_before_a_slow_read(client, store, clock):
    await client.write([Create("users", "one", {"role": "admin"})])
    store.may_answer.clear()
    reading = asyncio.create_task(client.copies.get("users", "one"))
    await store.has_read.wait()
    await store.write(
        [Put("users", "one", {"role": "read-only"})]
    )  # by another process, without a notice
    clock.advance(LIFE_S["users"])
    store.may_answer.set()
    await reading
    document = await client.copies.get("users", "one")
    assert document is not None
    assert document.fields["role"] == "read-only"


async def test_a_refused_write_drops_the_cached_document_that_caused_it(client, store):
    (version,) = await client.write([Create("devices", "one", {"value": 1})])
    await client.copies.get("devices", "one")
    await store.write([Put("devices", "one", {"value": 2})])  # by another process, without a notice
    with pytest.raises(VersionConflict):
        await client.write([Put("devices", "one", {"value": 3}, if_version=version)])
    document = await client.copies.get("devices", "one")
    assert document is not None
    assert document.fields == {"value": 2}


@pytest.mark.parametrize(
    ("collection", "times"),
    [
        *(("sessions", 2), ("users", 2), ("device_keys", 2)),
        *(("devices", 1), ("login_attempts", 1), ("zone_settings", 1)),
    ],
)
async def test_a_missing_document_is_cached_only_in_collections_where_that_is_common(
    client, store, collection, times
):
    for _ in range(2):
        assert await client.copies.get(collection, "one") is None
    assert len(store.asked) == times


async def test_failures_that_a_log_in_reset_are_not_read_with_every_request(client, store, clock):
    limiter = AttemptLimiter(
        client, client.copies, clock, "user", limit=5, window_s=900, lock_s=900
    )
    before = await limiter.standing("reader")
    await client.write([limiter.forgetting("reader", before)])
    store.asked.clear()
    for _ in range(3):
        assert await limiter.locked(["reader"]) == {}
    assert len(store.asked) == 1


async def test_no_cached_document_contains_a_hash_of_a_password(client, store):
    """ASVS 5.0 v5.0.0-15.3.1: copies, in Redis too, have only what checks of roles need."""
    hashes = {"password_hash": "argon2", "password_history": ["argon2", "pbkdf2"]}
    await client.write([Create("users", "one", {"role": "admin", **hashes})])
    for _ in range(2):
        document = await client.copies.get("users", "one")
        assert document is not None
        assert document.fields == {"role": "admin", "password_hash": "", "password_history": []}
    stored = await client.get("users", "one")
    assert stored is not None
    assert stored.fields == {"role": "admin", **hashes}


async def test_other_collections_are_always_read_from_the_store(client, store):
    await client.write([Create("zones", "one", {})])
    for _ in range(3):
        assert await client.copies.get("zones", "one") is not None
    assert len(store.asked) == 3


async def test_many_different_names_do_not_fill_the_cache(client, store, monkeypatch):
    monkeypatch.setattr(module, "COPIES_MAX", 10)
    for number in range(50):
        await client.copies.get("devices", f"made-up-{number}")
    assert len(client.copies) == 10


async def test_one_call_may_request_cached_and_uncached_documents(client, store):
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
