"""RoutingClient, with two SQLite files as its two stores."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.routing import RoutingClient, collections_on_firestore
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Page,
    Put,
    Query,
    StoreUnavailable,
    VersionConflict,
    Write,
)
from server.services.sqlite.client import SqliteClient


@dataclass
class Routed:
    """A RoutingClient that stores `things` and `notes` in `away` and all else in `home`."""

    client: RoutingClient
    home: SqliteClient
    away: SqliteClient
    metrics: Metrics

    @property
    def parts_lost(self) -> float:
        labels = {"kind": "part_lost"}
        return self.metrics.registry.get_sample_value("bas_store_failures_total", labels) or 0.0


@pytest.fixture
async def routed(tmp_path: Path) -> AsyncIterator[Routed]:
    """A RoutingClient with two open and empty stores."""
    home, away = (
        SqliteClient(tmp_path / name / "bas.db", [], SystemClock(), Metrics())
        for name in ("home", "away")
    )
    await home.open()
    await away.open()
    metrics = Metrics()
    others = {"things": away, "notes": away}
    yield Routed(RoutingClient(home, others, metrics), home, away, metrics)
    await away.close()
    await home.close()


async def ids(store: SqliteClient | RoutingClient, collection: str) -> list[str]:
    page: Page = await store.query(Query(collection), 100)
    return [document.id for document in page.documents]


async def test_a_collection_is_written_only_to_its_own_store(routed: Routed) -> None:
    await routed.client.write([Create("things", "t", {})])
    await routed.client.write([Create("zones", "z", {})])
    assert (await ids(routed.away, "things"), await ids(routed.home, "things")) == (["t"], [])
    assert (await ids(routed.away, "zones"), await ids(routed.home, "zones")) == ([], ["z"])


@pytest.mark.parametrize("collection", ["things", "zones"])
async def test_a_collection_is_read_from_its_own_store(routed: Routed, collection: str) -> None:
    own, other = routed.home, routed.away
    if collection == "things":
        own, other = other, own
    await own.write([Create(collection, "a", {"n": 1}), Create(collection, "b", {"n": 3})])
    await other.write([Create(collection, name, {"n": 99}) for name in ("a", "c")])
    document = await own.get(collection, "a")
    assert await routed.client.get(collection, "a") == document
    assert set(await routed.client.get_many(collection, ["a", "b", "c"])) == {"a", "b"}
    assert await ids(routed.client, collection) == ["a", "b"]
    figures = await routed.client.aggregate(Query(collection), "n")
    assert (figures.count, figures.maximum) == (2, 3)


async def test_pages_continue_in_the_same_store(routed: Routed) -> None:
    await routed.client.write([Create("things", name, {}) for name in "abc"])
    first = await routed.client.query(Query("things"), 2)
    rest = await routed.client.query(Query("things"), 2, first.next_cursor)
    assert [document.id for document in rest.documents] == ["c"]


async def test_each_write_of_a_batch_over_both_stores_gets_its_version_at_its_index(
    routed: Routed,
) -> None:
    await routed.client.write([Create("things", "old", {})])
    keys = [("zones", "a"), ("things", "b"), ("zones", "c"), ("notes", "d")]
    batch: list[Write] = [Create(*key, {}) for key in keys]
    versions = await routed.client.write([*batch, Delete("things", "old")])
    for (collection, name), version in zip(keys, versions, strict=False):
        document = await routed.client.get(collection, name)
        assert document is not None
        assert document.version == version
    assert versions[4] == ""
    assert await ids(routed.client, "things") == ["b"]


async def test_a_batch_for_one_store_is_written_completely_or_not_at_all(routed: Routed) -> None:
    await routed.client.write([Create("notes", "taken", {})])
    with pytest.raises(AlreadyExists):
        await routed.client.write([Create("things", "new", {}), Create("notes", "taken", {})])
    assert await ids(routed.client, "things") == []


async def test_a_batch_that_the_first_write_s_store_refuses_is_not_written_anywhere(
    routed: Routed,
) -> None:
    with pytest.raises(VersionConflict):
        await routed.client.write(
            [Put("zones", "z", {}, if_version="stale"), Create("notes", "n", {})]
        )
    assert await ids(routed.client, "notes") == []
    assert routed.parts_lost == 0


@pytest.mark.parametrize("first", ["zones", "things"])
async def test_nothing_is_written_when_the_first_write_s_store_is_away(
    routed: Routed, first: str
) -> None:
    gone, other = (routed.home, routed.away) if first == "zones" else (routed.away, routed.home)
    second = "notes" if first == "zones" else "zones"
    await gone.close()
    with pytest.raises(StoreUnavailable):
        await routed.client.write([Create(first, "a", {}), Create(second, "b", {})])
    assert await ids(other, second) == []
    assert routed.parts_lost == 0


async def test_the_writes_for_another_store_that_is_away_are_lost_logged_and_counted(
    routed: Routed, caplog: pytest.LogCaptureFixture
) -> None:
    await routed.away.close()
    with caplog.at_level(logging.ERROR):
        versions = await routed.client.write(
            [Create("zones", "a", {}), Create("notes", "n", {}), Create("zones", "b", {})]
        )
    assert await ids(routed.client, "zones") == ["a", "b"]
    assert [bool(version) for version in versions] == [True, False, True]
    assert "a part of a batch was not stored (notes)" in caplog.text
    assert routed.parts_lost == 1


async def test_a_batch_only_for_a_store_that_is_away_is_refused(routed: Routed) -> None:
    await routed.away.close()
    with pytest.raises(StoreUnavailable):
        await routed.client.write([Create("notes", "n", {})])
    assert routed.parts_lost == 0


async def test_an_empty_batch_is_refused(routed: Routed) -> None:
    with pytest.raises(ValueError, match="1 to 500"):
        await routed.client.write([])


async def test_ping_calls_every_store(routed: Routed) -> None:
    await routed.client.ping()
    await routed.away.close()
    with pytest.raises(StoreUnavailable):
        await routed.client.ping()
    await routed.home.ping()


@dataclass
class Switched:
    """The switches that are on."""

    use_firestore_telemetry: bool = False
    use_firestore_auth: bool = False
    use_firestore_audit: bool = False


@pytest.mark.parametrize(
    ("switched", "moved"),
    [
        (Switched(), set()),
        (
            Switched(use_firestore_telemetry=True),
            {
                *("telemetry", "zones", "tenant_settings", "zone_settings"),
                *("devices", "device_keys", "probes"),
                *("alarms", "alarm_slots", "notice_targets", "outbox"),
            },
        ),
        (
            Switched(use_firestore_auth=True),
            {
                *("users", "usernames", "tenants", "api_tokens", "api_token_names"),
                *("sessions", "login_attempts", "known_addresses"),
            },
        ),
        (Switched(use_firestore_audit=True), {"audit_log", "audit_chain", "audit_secrets"}),
        (
            Switched(use_firestore_auth=True, use_firestore_audit=True),
            {
                *("users", "usernames", "tenants", "api_tokens", "api_token_names"),
                *("sessions", "login_attempts", "known_addresses"),
                *("audit_log", "audit_chain", "audit_secrets"),
            },
        ),
    ],
)
def test_each_switch_moves_its_own_collections(switched: Switched, moved: set[str]) -> None:
    assert set(collections_on_firestore(switched)) == moved
