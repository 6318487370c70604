"""Whose each zone is, in a table of its own: found by tenant, and not written by posts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bas_server import INDEXES
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.documents import Create, Delete, Filter, Put, Query, Update
from server.services.ports.indexes import load_indexes
from server.services.sqlite import queries
from server.services.sqlite.client import SqliteClient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bas.db"


def opened(path: Path) -> SqliteClient:
    return SqliteClient(path, load_indexes(INDEXES), SystemClock(), Metrics())


def plan_of(path: Path, text: str, parameters: Any) -> list[str]:
    """How SQLite reads the tables, without the step that builds the row."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()
    return [row[3] for row in rows if "(subquery" not in row[3]]


async def test_the_zones_of_a_tenant_are_found_without_a_look_at_others(
    path: Path,
) -> None:
    tenant = Filter("tenant_id", "==", "x")
    queries_of_zones = (
        Query("zones", (tenant,)),
        Query("zones", (tenant,), "last_seen_ms", "desc"),
        Query("zones", (tenant, Filter("trust_state", "==", "silent"))),
    )
    async with opened(path):
        pass
    for query in queries_of_zones:
        found, *others = plan_of(path, *queries.select(query, 10, None))
        assert found == "SEARCH zones USING INDEX sqlite_autoindex_zones_1 (id=?)"
        assert "SEARCH zone_tenants USING PRIMARY KEY (tenant_id=?)" in others


async def test_a_post_writes_no_index_of_its_zone(path: Path) -> None:
    def zone(name: str, seen_ms: int) -> Put:
        fields = {"tenant_id": "x", "device_id": name, "last_seen_ms": seen_ms, "text": "x" * 300}
        return Put("zones", f"x_{name}", fields)

    async with opened(path) as client:
        await client.write([zone(f"{number:03}", 1) for number in range(200)])
        before = wal_pages(path)
        for number in range(2, 12):
            await client.write([zone("100", number)])
        assert wal_pages(path) - before == 10


def wal_pages(path: Path) -> int:
    """How many pages the write-ahead log has taken since it was begun."""
    return (Path(f"{path}-wal").stat().st_size - 32) // (4096 + 24)


async def test_the_zones_of_a_tenant_are_those_whose_document_says_so(path: Path) -> None:
    async def of(client: SqliteClient, tenant: Any) -> list[str]:
        page = await client.query(Query("zones", (Filter("tenant_id", "==", tenant),)), 100)
        return [document.id for document in page.documents]

    async with opened(path) as client:
        owners = {"a": "x", "b": "x", "c": "y", "d": 1, "e": None, "f": True, "g": "x"}
        await client.write([Create("zones", name, {"tenant_id": t}) for name, t in owners.items()])
        await client.write([Create("zones", "h", {})])
        await client.write([Put("zones", "b", {"tenant_id": "y"}), Delete("zones", "g")])
        await client.write([Update("zones", "c", {"tenant_id": "x"}), Put("zones", "d", {})])
        assert (await of(client, "x"), await of(client, "y")) == (["a", "c"], ["b"])
        assert (await of(client, 1), await of(client, True)) == ([], ["f"])


async def test_zones_of_an_earlier_version_are_found_by_their_tenant(path: Path) -> None:
    async with opened(path) as client:
        zone = {"tenant_id": "x", "last_seen_ms": 5}
        await client.write([Create("zones", name, zone) for name in "abc"])
    with closing(sqlite3.connect(path)) as connection:
        for event in ("INSERT", "DELETE", "UPDATE"):
            connection.execute(f'DROP TRIGGER "zone_tenants.{event}"')
        connection.execute("DROP TABLE zone_tenants")
        keys = "json_extract(body, '$.tenant_id'), json_extract(body, '$.last_seen_ms') desc"
        connection.execute(f'CREATE INDEX "zones.tenant_id.last_seen_ms.desc" ON zones ({keys})')
    async with opened(path) as client:
        query = Query("zones", (Filter("tenant_id", "==", "x"),), "last_seen_ms", "desc")
        assert len((await client.query(query, 10)).documents) == 3
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    # A server of that version may still run beside this one, and its queries name the index.
    assert "zones.tenant_id.last_seen_ms.desc" in names
