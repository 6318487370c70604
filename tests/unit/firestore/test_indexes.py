"""What infra/firestore.indexes.json declares, against the queries that the stores make."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.auth.rate_limit import Attempts
from server.metrics import Metrics
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import Aggregate, MissingIndex, Page, Query
from server.services.firestore.firestore_values import TOKEN
from server.services.firestore.indexes import (
    FIGURES,
    Index,
    figures_indexes,
    load_indexes,
    needed_index,
)
from server.services.firestore.models import AuditEntry, Reading, Session, ZoneRecord
from server.services.firestore.service_factory import Stores, create_stores
from tests.support.clock import ManualClock

ROOT = Path(__file__).parents[3]
FILE = ROOT / "infra" / "firestore.indexes.json"
DECLARED = load_indexes(FILE)
OVERRIDES: list[dict[str, Any]] = json.loads(FILE.read_text())["fieldOverrides"]
EXEMPT = {(one["collectionGroup"], one["fieldPath"]) for one in OVERRIDES if one["indexes"] == []}
# Fields that have another value in each write, or many of them.
GROWS = r"_(ms|at)$|utc_timestamp|^gaps$|^doubted$"
# Where documents come by the thousand; in the others a growing field hurts nobody.
BUSY: dict[str, type[msgspec.Struct]] = {
    "telemetry": Reading,
    "zones": ZoneRecord,
    "sessions": Session,
    "audit_log": AuditEntry,
    "login_attempts": Attempts,
}


async def _first(zones: AsyncIterator[ZoneRecord]) -> object:
    return await anext(zones, None)


# Every function of a store that queries, called in every form that makes another query.
CALLS: dict[str, list[Callable[[Stores], Awaitable[object]]]] = {
    "last_heard": [lambda s: _first(s.zones.last_heard("t", 1, 2))],
    "count_by_trust": [lambda s: s.zones.count_by_trust("t", ("never", "ok"))],
    "of_all_tenants": [lambda s: _first(s.zones.of_all_tenants())],
    "query_recent": [
        lambda s: s.telemetry.query_recent("t"),
        lambda s: s.telemetry.query_recent("t", "d"),
        lambda s: s.audit.query_recent("t", 5),
    ],
    "query_window": [
        lambda s: s.telemetry.query_window("t", None, 1, 2, 5),
        lambda s: s.telemetry.query_window("t", "d", 1, 2, 5),
    ],
    "query_recent_paginated": [
        lambda s: s.telemetry.query_recent_paginated("t", None, 5, None),
        lambda s: s.telemetry.query_recent_paginated("t", "d", 5, None),
    ],
    "get_device_statistics": [
        lambda s: s.telemetry.get_device_statistics("t", None, 1, 2),
        lambda s: s.telemetry.get_device_statistics("t", "d", 1, 2),
    ],
    "query_events": [
        lambda s: s.audit.query_events("t", 5),
        lambda s: s.audit.query_events("t", 5, username="u"),
        lambda s: s.audit.query_events("t", 5, action="a"),
        lambda s: s.audit.query_events("t", 5, window=(1, 2)),
        lambda s: s.audit.query_events("t", 5, action="a", window=(1, 2)),
    ],
    "heard_last": [lambda s: s.zones.heard_last("t")],
    "all": [lambda s: s.zones.all("t")],
    "count": [lambda s: s.zones.count("t")],
    "list_devices": [lambda s: s.devices.list_devices("t")],
    "any": [lambda s: s.users.any()],
    "list_users": [lambda s: s.users.list_users()],
    "sessions_of": [lambda s: s.sessions.sessions_of("u")],
}


class Asked(SqliteClient):
    """The embedded store, which remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, DECLARED, ManualClock(), Metrics())
        self.queries: list[Query] = []
        self.figures: list[tuple[Query, str]] = []

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        self.queries.append(query)
        return await super().query(query, limit, cursor)

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        self.queries.append(query)
        if field is not None:
            self.figures.append((query, field))
        return await super().aggregate(query, field)

    @property
    def indexes(self) -> set[Index]:
        """All that what was asked needs."""
        needed = {index for query in self.queries if (index := needed_index(query))}
        return needed.union(*(figures_indexes(*one) for one in self.figures))


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    """A store that every query of the stores was made on."""
    client = Asked(tmp_path / "store.db")
    await client.open()
    stores = create_stores(client, ManualClock(), 1, Metrics())
    for calls in CALLS.values():
        for call in calls:
            await call(stores)
    yield client
    await client.close()


def test_every_function_that_queries_is_called_here() -> None:
    found = set()
    for path in (ROOT / "server").rglob("*.py"):
        if "services/embedded" in path.as_posix() or path.name in {"client.py", "caching.py"}:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.AsyncFunctionDef) and re.search(
                r"_client\.(query|aggregate)\(", ast.unparse(function)
            ):
                found.add(function.name)
    assert found == set(CALLS)


async def test_every_query_has_its_index_and_every_index_a_query(asked: Asked) -> None:
    assert asked.indexes == set(DECLARED)
    assert len(DECLARED) == len(set(DECLARED))


async def test_the_fields_with_figures_are_known_to_the_reader_of_the_file(asked: Asked) -> None:
    assert {field for _, field in asked.figures} == FIGURES


async def test_no_query_needs_the_index_of_a_field_that_has_none(asked: Asked) -> None:
    alone = set()
    for query in asked.queries:
        if needed_index(query) is None:
            alone |= {(query.collection, one.field) for one in query.filters}
            alone.add((query.collection, query.order_by or "__name__"))
    assert ("devices", "tenant_id") in alone
    assert alone & EXEMPT == set()


@pytest.mark.parametrize("collection", BUSY)
def test_fields_that_grow_and_the_token_have_no_index_of_their_own(collection: str) -> None:
    names = msgspec.structs.fields(BUSY[collection])
    growing = {one.encode_name for one in names if re.search(GROWS, one.encode_name)}
    assert {field for name, field in EXEMPT if name == collection} == {*growing, TOKEN}


@pytest.mark.parametrize("collection", BUSY)
def test_documents_that_expire_are_deleted_by_firestore(collection: str) -> None:
    kept = {one["collectionGroup"] for one in OVERRIDES if one.get("ttl") is True}
    assert "expire_at" in {one.encode_name for one in msgspec.structs.fields(BUSY[collection])}
    assert kept == set(BUSY)
    assert all(one["fieldPath"] == "expire_at" for one in OVERRIDES if "ttl" in one)


async def test_figures_without_their_indexes_are_refused(asked: Asked) -> None:
    query, field = asked.figures[0]
    for index in figures_indexes(query, field):
        asked._indexes = frozenset(DECLARED) - {index}
        with pytest.raises(MissingIndex, match=re.escape(index.name)):
            await asked.aggregate(query, field)
