"""The indexes of infra/firestore.indexes.json, compared with the queries that the stores make."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.alarms.alarm import Alarm
from server.alarms.alarms_store import AlarmsStore, SlotRecord
from server.alarms.notice_models import WaitingNotice
from server.alarms.outbox import OutboxStore
from server.alarms.targets_store import NoticeTargetsStore
from server.auth.attempts import Attempts
from server.auth.back_off import BackOff
from server.auth.known_addresses import Known
from server.common.metrics import Metrics
from server.services.firestore.audit_check import ChainCheck
from server.services.firestore.audit_linker import AuditLinker
from server.services.firestore.document_history import DocumentHistory, StoredReading
from server.services.firestore.google.values import TOKEN
from server.services.firestore.models import ApiToken, AuditEntry, Session, ZoneRecord
from server.services.firestore.service_factory import Stores, create_stores
from server.services.ports.documents import Aggregate, MissingIndex, Page, Query
from server.services.ports.indexes import (
    FIGURES,
    Index,
    figures_indexes,
    load_indexes,
    needed_index,
)
from server.services.ports.readings import Span
from server.services.sqlite.client import SqliteClient
from tests.support.clock import ManualClock
from tests.support.histories import reading, rows_of
from tests.support.notices import an_alarm

ROOT = Path(__file__).parents[4]
FILE = ROOT / "infra" / "firestore.indexes.json"
DECLARED = load_indexes(FILE)
OVERRIDES: list[dict[str, Any]] = json.loads(FILE.read_text())["fieldOverrides"]
EXEMPT = {(one["collectionGroup"], one["fieldPath"]) for one in OVERRIDES if one["indexes"] == []}
# Fields that have another value in each write, or many values.
GROWS = r"_(ms|at)$|utc_timestamp|^last_(access|used)$|^gaps$|^doubted$|^addresses$|^chain$"
# Collections with thousands of documents; in the others a growing field does no harm.
BUSY: dict[str, type[msgspec.Struct]] = {
    "telemetry": StoredReading,
    "zones": ZoneRecord,
    "alarms": Alarm,
    "alarm_slots": SlotRecord,
    "sessions": Session,
    "audit_log": AuditEntry,
    "login_attempts": Attempts,
    "known_addresses": Known,
    "api_tokens": ApiToken,
}


async def _first(found: AsyncIterator[Any]) -> object:
    return await anext(found, None)


def _linker(stores: Stores) -> AuditLinker:
    (linker,) = (one for one in stores.upkeep if isinstance(one, AuditLinker))
    return linker


async def _all(steps: AsyncIterator[object]) -> list[object]:
    return [step async for step in steps]


async def _page_of_alarms(stores: Stores, **which: str | None) -> object:
    alarms = AlarmsStore(stores.client)
    await alarms.page_of_alarms("t", 5, since_ms=1, **which)  # type: ignore[arg-type]
    return await alarms.page_of_alarms("t", 5, **which)  # type: ignore[arg-type]


async def _state_of_outbox(stores: Stores) -> object:
    waiting = WaitingNotice(
        tenant_id="t", target_id="x", made_ms=1, due_ms=9, alarm=an_alarm(tenant_id="t")
    )
    await stores.client.write([OutboxStore.storing("n", waiting)])
    return await OutboxStore(stores.client).state(2)


# Every function of a store that queries, called in every form that makes a different query.
CALLS: dict[str, list[Callable[[Stores], Awaitable[object]]]] = {
    "seen_between": [lambda s: _first(s.zones.seen_between("t", 1, 2))],
    "count_by_trust": [lambda s: s.zones.count_by_trust("t", ("never", "ok"))],
    "of_all_tenants": [lambda s: _first(s.zones.of_all_tenants())],
    "page_of_zones": [lambda s: s.zone_directory.page_of_zones("t", 5)],
    "in_state": [lambda s: _first(s.zones.in_state("fault"))],
    "all_open": [lambda s: _first(AlarmsStore(s.client).all_open())],
    "limits_since": [lambda s: _first(s.zone_settings.limits_since(1))],
    "count_open": [lambda s: AlarmsStore(s.client).count_open("t")],
    "page_of_alarms": [
        partial(_page_of_alarms, state=state, device_id=device_id)
        for state in (None, "open", "cleared")
        for device_id in (None, "d")
    ],
    "query_recent": [lambda s: s.audit.query_recent("t", 5)],
    "page": [
        lambda s: s.telemetry.history.page("t", None, 5),
        lambda s: s.telemetry.history.page("t", "d", 5),
        lambda s: s.telemetry.history.page("t", None, 5, Span(1, 2)),
        lambda s: s.telemetry.history.page("t", "d", 5, Span(1, 2)),
    ],
    "figures": [
        lambda s: s.telemetry.history.figures("t", None, Span(1, 2)),
        lambda s: s.telemetry.history.figures("t", "d", Span(1, 2)),
    ],
    "points": [lambda s: s.telemetry.history.points("t", "d", 1, 1, 1)],
    "_all": [lambda s: s.telemetry.history.missing(rows_of([reading()]))],
    "scan": [lambda s: s.telemetry.history.scan(5)],
    "query_page": [
        lambda s: s.audit.query_page("t", 5),
        lambda s: s.audit.query_page("t", 5, username="u"),
        lambda s: s.audit.query_page("t", 5, action="a"),
        lambda s: s.audit.query_page("t", 5, username="u", action="a"),
        lambda s: s.audit.query_page("t", 5, username="u", action="a", start_ms=1, end_ms=2),
    ],
    "link_all": [lambda s: _linker(s).link_all()],
    "_found_end": [lambda s: _linker(s)._found_end("t")],
    "_mark_earlier": [lambda s: _linker(s)._mark_earlier()],
    "_unmarked": [lambda s: _first(_linker(s)._unmarked())],
    "run": [lambda s: _first(ChainCheck(s.client, ManualClock(), "t").run())],
    "_find_unnumbered": [lambda s: ChainCheck(s.client, ManualClock(), "t")._find_unnumbered()],
    "last_seen": [lambda s: s.zones.last_seen("t")],
    "all": [lambda s: s.zones.all("t")],
    "count": [lambda s: s.zones.count("t"), lambda s: s.telemetry.history.count()],
    "list_devices": [lambda s: s.devices.list_devices("t")],
    "any": [lambda s: s.users.any()],
    "active_admins": [lambda s: s.users.active_admins()],
    "page_of_users": [
        lambda s: s.users.page_of_users(None, 5),
        lambda s: s.users.page_of_users("t", 5),
    ],
    "tenant_ids": [lambda s: s.tenants.tenant_ids(), lambda s: s.telemetry.history.tenant_ids()],
    "count_of": [lambda s: s.tenants.figures("t")],
    "delete_readings_of": [lambda s: _all(s.telemetry.history.delete_readings_of("t", "d"))],
    "delete_of": [lambda s: _all(s.tenants.delete_tenant("t", lambda _: []))],
    "forget_user": [lambda s: BackOff(s.client, s.reads, ManualClock(), free=1).forget_user("u")],
    "list_tokens": [lambda s: s.tokens.list_tokens(), lambda s: s.tokens.list_tokens("t")],
    "targets_of": [lambda s: NoticeTargetsStore(s.client).targets_of("t")],
    "due": [lambda s: OutboxStore(s.client).due(1, 5)],
    "of_target": [lambda s: OutboxStore(s.client).of_target("t", "x", 5)],
    "state": [_state_of_outbox],
    "sessions_of": [lambda s: s.sessions.sessions_of("u")],
}


class Asked(SqliteClient):
    """The embedded store, which records its queries."""

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
        """All indexes that the recorded queries need."""
        needed = {index for query in self.queries if (index := needed_index(query))}
        return needed.union(*(figures_indexes(*one) for one in self.figures))


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    """A store on which every query of the stores was made."""
    client = Asked(tmp_path / "store.db")
    await client.open()
    stores = create_stores(client, DocumentHistory(client, 1), ManualClock(), 1, Metrics())
    for calls in CALLS.values():
        for call in calls:
            await call(stores)
    yield client
    await client.close()


def test_this_file_calls_every_function_that_queries() -> None:
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


async def test_every_query_has_its_index_and_every_index_has_a_query(asked: Asked) -> None:
    assert asked.indexes == set(DECLARED)
    assert len(DECLARED) == len(set(DECLARED))


async def test_the_parser_of_the_file_knows_the_fields_with_aggregates(asked: Asked) -> None:
    assert {field for _, field in asked.figures} == FIGURES


async def test_no_query_needs_the_index_of_a_field_that_is_exempt(asked: Asked) -> None:
    alone = set()
    for query in asked.queries:
        if needed_index(query) is None:
            alone |= {(query.collection, one.field) for one in query.filters}
            alone.add((query.collection, query.order_by or "__name__"))
    assert ("devices", "tenant_id") in alone
    assert alone & EXEMPT == set()


@pytest.mark.parametrize("collection", BUSY)
def test_growing_fields_and_the_token_are_exempt_from_indexes(collection: str) -> None:
    names = msgspec.structs.fields(BUSY[collection])
    growing = {one.encode_name for one in names if re.search(GROWS, one.encode_name)}
    assert {field for name, field in EXEMPT if name == collection} == {*growing, TOKEN}


@pytest.mark.parametrize("collection", BUSY)
def test_firestore_is_configured_to_delete_expired_documents(collection: str) -> None:
    kept = {one["collectionGroup"] for one in OVERRIDES if one.get("ttl") is True}
    assert "expire_at" in {one.encode_name for one in msgspec.structs.fields(BUSY[collection])}
    assert kept == set(BUSY)
    assert all(one["fieldPath"] == "expire_at" for one in OVERRIDES if "ttl" in one)


async def test_aggregates_without_their_indexes_are_refused(asked: Asked) -> None:
    query, field = asked.figures[0]
    for index in figures_indexes(query, field):
        asked._indexes = frozenset(DECLARED) - {index}
        with pytest.raises(MissingIndex, match=re.escape(index.name)):
            await asked.aggregate(query, field)
