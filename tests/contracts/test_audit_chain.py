"""The hash chain over audit entries, on each store: what it notices, and what it must not notice.

OWASP ASVS 5.0, V16.4.2: logs are protected from unauthorized access and cannot be modified. The
chain does not prevent a change by somebody who may write to the store, but shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bas_server import INDEXES
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.audit_chain import ENDS, ENTRIES, ChainLink, link_hash
from server.services.firestore.audit_check import ChainCheck
from server.services.firestore.audit_linker import PAGE, AuditLinker
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import DAY_MS
from server.services.ports.documents import (
    Delete,
    Document,
    DocumentClient,
    Put,
    Query,
    Update,
    Write,
)
from server.services.ports.indexes import load_indexes
from server.services.sqlite.client import SqliteClient
from tests.support.clock import ManualClock
from tests.support.forms import amount
from tests.support.unreliable import Unreliable
from tools.firestore_emulator import FirestoreEmulator, fresh_project

DECLARED = load_indexes(INDEXES)
KEEP_DAYS = 180
T = "here"


class Log:
    """An audit log on a store, and the parts that link and check it."""

    def __init__(self, client: DocumentClient, clock: ManualClock) -> None:
        self.client, self.clock = client, clock
        self.audit = self.store()

    def store(self, keep_days: int = KEEP_DAYS) -> AuditStore:
        return AuditStore(self.client, self.clock, keep_days, Metrics())

    def linker(self) -> AuditLinker:
        return AuditLinker(self.client, self.clock, Metrics(), self.audit.made)

    async def add(self, count: int, tenant_id: str = T, **about: Any) -> None:
        """Store this many entries, a second apart."""
        for number in range(count):
            self.clock.advance(1)
            user = f"user {number}"
            about = {"username": user, "address": "192.0.2.1"} | about
            assert await self.audit.log_event("DONE", tenant_id=tenant_id, **about)

    async def link(self) -> None:
        assert await self.linker().link_all()

    async def check(self, tenant_id: str = T) -> ChainCheck:
        check = ChainCheck(self.client, self.clock, tenant_id)
        async for _ in check.run():
            pass
        return check

    async def entries(self) -> list[Document]:
        """All entries of the tenant T in the order of their numbers."""
        page = await self.client.query(Query(ENTRIES), 10_000)
        own = [one for one in page.documents if one.fields.get("tenant_id") == T]
        return sorted(own, key=lambda one: one.fields.get("link", 0))

    async def numbers(self) -> list[int]:
        return [one.fields["link"] for one in await self.entries()]


async def sqlite(request: pytest.FixtureRequest, clock: ManualClock) -> SqliteClient:
    folder: Path = request.getfixturevalue("tmp_path")
    client = SqliteClient(folder / "store.db", DECLARED, clock, Metrics())
    await client.open()
    return client


async def firestore(request: pytest.FixtureRequest, clock: ManualClock) -> Any:
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    return init_client(emulator.host, DECLARED, clock, Metrics(), fresh_project())


@pytest.fixture(params=[sqlite, firestore], ids=["sqlite", "firestore"])
async def log(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[Log]:
    async with AsyncExitStack() as resources:
        client = await request.param(request, clock)
        resources.push_async_callback(client.close)
        yield Log(client, clock)


def where(check: ChainCheck) -> tuple[int, str] | None:
    return (check.broken.number, check.broken.entry_id) if check.broken else None


async def test_entries_are_numbered_by_tenant_in_the_order_of_their_times(log: Log) -> None:
    for tenant in (T, "there", T):
        await log.add(2, tenant)
    await log.link()
    await log.add(1)
    assert await log.numbers() == [0, 1, 2, 3, 4]
    waiting, *numbered = await log.entries()
    times = [one.fields["timestamp_ms"] for one in (*numbered, waiting)]
    assert times == sorted(times)
    for tenant, linked, not_yet in ((T, 4, 1), ("there", 2, 0)):
        check = await log.check(tenant)
        assert (check.broken, check.linked, check.waiting) == (None, linked, not_yet)
        assert (check.first, check.last) == (1, linked)


async def test_more_entries_than_fit_into_a_write_are_all_linked(log: Log) -> None:
    count = 2 * PAGE + 1
    names = [log.audit.entry("DONE", tenant_id=T, username="", address="") for _ in range(count)]
    for start in range(0, count, PAGE):
        await log.client.write(names[start : start + PAGE])
    await log.link()
    check = await log.check()
    assert (check.broken, check.linked, check.waiting) == (None, count, 0)


async def test_an_empty_log_and_an_unknown_tenant_are_in_order(log: Log) -> None:
    await log.link()
    check = await log.check("nobody")
    assert (check.broken, check.linked, check.waiting, check.last) == (None, 0, 0, 0)


async def test_several_processes_that_link_at_once_give_each_entry_one_number(log: Log) -> None:
    linkers = [log.linker() for _ in range(4)]
    for _ in range(5):
        await log.add(7)
        for _ in range(20):
            if all(await asyncio.gather(*(one.link_all() for one in linkers))):
                break
    assert await log.numbers() == list(range(1, 36))
    assert (await log.check()).broken is None


Change = Callable[[Document], Write]


def changed(**fields: Any) -> Change:
    return lambda entry: Update(ENTRIES, entry.id, fields)


def link_changed(**fields: Any) -> Change:
    return lambda entry: Update(ENTRIES, entry.id, {"chain": entry.fields["chain"] | fields})


def relinked(entry: Document) -> Write:
    """Change an entry and make its own hash right again."""
    link = msgspec.convert(entry.fields["chain"], ChainLink)
    fields = entry.fields | {"username": "mallory"}
    link = msgspec.structs.replace(link, hash=link_hash(fields["link"], entry.id, fields, link))
    return Put(ENTRIES, entry.id, fields | {"chain": msgspec.to_builtins(link)})


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize(
    "change",
    [
        changed(username="mallory"),
        changed(success=False),
        changed(details={"setpoint_tenths": 211}),
        changed(timestamp_ms=1),
        changed(expire_at=1),
        changed(event_type="LOGIN_SUCCESS"),
        changed(new_field=None),
        link_changed(hash="0" * 64),
        link_changed(linked_ms=1),
        link_changed(after="0" * 64),
        link_changed(hash=7),
        changed(chain=None),
        relinked,
    ],
)
async def test_a_changed_entry_is_named(log: Log, change: Change, number: int) -> None:
    await log.add(5, details={"setpoint_tenths": 210})
    await log.link()
    entry = (await log.entries())[number - 1]
    await log.client.write([change(entry)])
    assert where(await log.check()) == (number, entry.id)


@pytest.mark.parametrize("gone", [[1], [3], [5], [2, 3], [1, 5], [4, 5], [1, 2, 3, 4, 5]])
async def test_a_deleted_entry_is_named_by_its_number(log: Log, gone: list[int]) -> None:
    await log.add(5)
    await log.link()
    entries = await log.entries()
    await log.client.write([Delete(ENTRIES, entries[number - 1].id) for number in gone])
    check = await log.check()
    assert where(check) == (gone[0], "")
    await log.add(1)
    await log.link()
    assert where(await log.check()) == (gone[0], "")


async def test_the_first_of_several_broken_places_is_named(log: Log) -> None:
    await log.add(6)
    await log.link()
    entries = await log.entries()
    await log.client.write(
        [
            Update(ENTRIES, entries[4].id, {"username": "mallory"}),
            Delete(ENTRIES, entries[3].id),
            Update(ENTRIES, entries[1].id, {"address": "192.0.2.9"}),
        ]
    )
    assert where(await log.check()) == (2, entries[1].id)


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("doc_id", ["0", "zzz"])
async def test_a_copy_of_an_entry_under_another_id_is_named(
    log: Log, doc_id: str, number: int
) -> None:
    await log.add(5)
    await log.link()
    entry = (await log.entries())[number - 1]
    await log.client.write([Put(ENTRIES, doc_id, entry.fields)])
    assert where(await log.check()) == (number, doc_id)


async def test_an_inserted_entry_without_a_number_is_named(log: Log) -> None:
    await log.add(3)
    await log.link()
    fields = {
        k: v for k, v in (await log.entries())[0].fields.items() if k not in ("link", "chain")
    }
    await log.client.write([Put(ENTRIES, "inserted", fields)])
    check = await log.check()
    assert (where(check), check.waiting) == ((0, "inserted"), 1)


@pytest.mark.parametrize("number", [-1, 9, "7", 1.5, None])
async def test_an_inserted_entry_with_a_made_up_number_is_named(log: Log, number: Any) -> None:
    await log.add(3)
    await log.link()
    fields = (await log.entries())[0].fields | {"link": number}
    await log.client.write([Put(ENTRIES, "inserted", fields)])
    check = await log.check()
    assert check.broken is not None
    assert check.broken.entry_id == "inserted" or check.broken.number == 4


async def test_an_entry_that_is_made_to_look_new_again_leaves_a_gap(log: Log) -> None:
    await log.add(3)
    await log.link()
    entry = (await log.entries())[1]
    again = {"link": 0, "chain": None, "username": "mallory"}
    await log.client.write([Update(ENTRIES, entry.id, again)])
    await log.link()
    assert where(await log.check()) == (2, "")


async def test_an_entry_that_is_moved_to_another_tenant_leaves_a_gap(log: Log) -> None:
    await log.add(3)
    await log.link()
    entry = (await log.entries())[1]
    await log.client.write([Update(ENTRIES, entry.id, {"tenant_id": "there"})])
    assert where(await log.check()) == (2, "")
    there = await log.check("there")
    assert there.broken is not None


async def test_a_deleted_or_changed_record_of_the_end_is_noticed(log: Log, caplog: Any) -> None:
    await log.add(3)
    await log.link()
    (end,) = (await log.client.query(Query(ENDS), 5)).documents
    await log.client.write([Update(ENDS, end.id, {"hash": "0" * 64})])
    assert where(await log.check()) == (3, (await log.entries())[2].id)
    await log.client.write([Update(ENDS, end.id, {"number": "3"})])
    assert "cannot be read" in str((await log.check()).broken)
    await log.add(1)
    await log.link()
    assert "new audit entries are not linked" in caplog.text
    await log.client.write([Delete(ENDS, end.id)])
    assert where(await log.check()) == (3, "")
    await log.link()
    assert "the record of the audit chain's end is gone" in caplog.text
    assert await log.numbers() == [1, 2, 3, 4]


async def deleted_by_retention(log: Log) -> int:
    """Delete every expired entry, as retention and Firestore's TTL do; return how many."""
    now = log.clock.now_ms()
    expired = [one for one in await log.entries() if one.fields["expire_at"] < now]
    if expired:
        await log.client.write([Delete(ENTRIES, one.id) for one in expired])
    return len(expired)


async def test_entries_that_retention_deleted_are_not_missed(log: Log) -> None:
    for _ in range(4):
        await log.add(2)
        await log.link()
        log.clock.advance(KEEP_DAYS / 3 * DAY_MS / 1000)
    assert await deleted_by_retention(log) == 4
    check = await log.check()
    assert (check.broken, check.first, check.last) == (None, 5, 8)
    log.clock.advance(KEEP_DAYS * DAY_MS / 1000)
    assert await deleted_by_retention(log) == 4
    assert (await log.check()).broken is None
    await log.add(1)
    await log.link()
    check = await log.check()
    assert (check.broken, check.first, check.last) == (None, 9, 9)


async def test_an_entry_that_is_deleted_before_it_expires_is_missed_beside_expired_ones(
    log: Log,
) -> None:
    await log.add(2)
    await log.link()
    log.clock.advance((KEEP_DAYS - 1) * DAY_MS / 1000)
    await log.add(3)
    await log.link()
    log.clock.advance(2 * DAY_MS / 1000)
    assert await deleted_by_retention(log) == 2
    await log.client.write([Delete(ENTRIES, (await log.entries())[0].id)])
    assert where(await log.check()) == (1, "")


async def test_older_entries_that_were_imported_expire_without_a_gap(log: Log) -> None:
    await log.add(2)
    await log.link()
    old = log.clock.now_ms() - (KEEP_DAYS - 10) * DAY_MS
    about: dict[str, Any] = {"tenant_id": T, "username": "u", "address": ""}
    await log.client.write([log.audit.entry("OLD", **about, at_ms=old + n) for n in range(3)])
    await log.link()
    await log.add(2)
    await log.link()
    check = await log.check()
    assert (check.broken, check.late, check.linked) == (None, 3, 7)
    log.clock.advance(20 * DAY_MS / 1000)
    assert await deleted_by_retention(log) == 3
    assert await log.numbers() == [1, 2, 6, 7]
    assert (await log.check()).broken is None


async def test_entries_of_an_earlier_version_are_linked_by_the_next_process(log: Log) -> None:
    await log.add(3)
    for entry in await log.entries():
        old = {k: v for k, v in entry.fields.items() if k not in ("link", "chain")}
        await log.client.write([Put(ENTRIES, entry.id, old)])
    await log.client.write([Put(ENTRIES, "no entry", {"n": 1})])
    check = await log.check()
    assert (check.broken, check.waiting) == (None, 3)
    await log.link()
    check = await log.check()
    assert (check.broken, check.linked, check.waiting) == (None, 3, 0)


async def test_what_is_stored_linked_and_deleted_during_a_check_breaks_nothing(log: Log) -> None:
    await log.add(PAGE)
    await log.link()
    check = ChainCheck(log.client, log.clock, T)
    async for _ in check.run():
        await log.add(2)
        await log.link()
    assert check.broken is None


async def test_an_entry_that_is_deleted_while_it_is_linked_delays_the_others_only(log: Log) -> None:
    await log.add(3)
    gone = (await log.entries())[1].id
    client = Unreliable(log.client)
    client.before_write = lambda: log.client.write([Delete(ENTRIES, gone)])
    linker = AuditLinker(client, log.clock, Metrics(), log.audit.made)
    assert await linker.link_all() is False
    assert await log.numbers() == [0, 0]
    assert await linker.link_all() is True
    assert await log.numbers() == [1, 2]
    assert (await log.check()).broken is None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner)
    ),
    max_leaves=8,
)


@settings(
    max_examples=amount(30, 300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(details=st.dictionaries(st.text(max_size=5).filter(str.isascii), values, max_size=4))
async def test_every_value_that_a_store_takes_is_the_same_when_it_is_checked(
    log: Log, details: dict[str, Any]
) -> None:
    await log.add(1, details=details)
    await log.link()
    check = await log.check()
    assert (check.broken, check.waiting) == (None, 0)
