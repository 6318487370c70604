"""Writes as rows of a VALUES clause: any number is found, and its padding adds none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.document_history import DocumentHistory
from server.services.firestore.models import ZoneRecord
from server.services.firestore.zones_store import ZonesStore
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    DemandUnmet,
    EmptyFields,
    Filter,
    Put,
    Query,
    Update,
    VersionConflict,
)
from server.services.ports.indexes import load_indexes
from server.services.ports.readings import NewRow, Reading, Span
from server.services.sqlite import schema
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.reading_history import SqliteHistory

INDEXES = load_indexes(Path(__file__).parents[4] / "infra" / "firestore.indexes.json")
NUMBERS = [1, 2, 4, 5, 63, 64, 65, 255, 256, 257, 500]


def new_client(path: Path) -> SqliteClient:
    return SqliteClient(path / "store.db", INDEXES, SystemClock(), Metrics())


def row(sensor_ok: bool, temp_tenths: int, timestamp_ms: int = 5) -> NewRow:
    reading = Reading(
        tenant_id="t",
        device_id="d",
        timestamp_ms=timestamp_ms,
        temp_tenths=temp_tenths,
        setpoint_tenths=230,
        deadband_tenths=10,
        cool_active=False,
        heat_active=True,
        state="IDLE",
        sensor_ok=sensor_ok,
    )
    return NewRow(f"{temp_tenths}", reading)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[SqliteClient]:
    async with new_client(tmp_path) as client:
        yield client


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_batch_of_any_size_is_written(client: SqliteClient, number: int) -> None:
    ids = [f"d{n}" for n in range(number)]
    versions = await client.write([Create("things", one, {"n": 1}) for one in ids])
    await client.write([Update("things", one, {"m": one}) for one in ids])
    found = await client.get_many("things", ids)
    assert {one: found[one].fields for one in ids} == {one: {"n": 1, "m": one} for one in ids}
    with pytest.raises(VersionConflict):
        await client.write([Put("things", ids[-1], {}, if_version=versions[-1])])
    current = [(one, found[one].version) for one in ids]
    await client.write([Put("things", one, {"p": 1}, if_version=at) for one, at in current])
    assert {one.fields["p"] for one in (await client.get_many("things", ids)).values()} == {1}
    await client.write([Put("things", one, {"q": 1}) for one in [*ids[1:], "new"]])
    assert (await client.aggregate(Query("things"))).count == number + 1
    await client.write([Delete("things", one) for one in ids])
    assert (await client.aggregate(Query("things"))).count == 1


@pytest.mark.parametrize("number", NUMBERS)
async def test_one_conflict_in_a_batch_of_any_size_prevents_all_its_writes(
    client: SqliteClient, number: int
) -> None:
    (version,) = await client.write([Create("things", "old", {})])
    new = [Create("things", f"d{n}", {}) for n in range(number - 1)]
    with pytest.raises(AlreadyExists, match="Already exists"):
        await client.write([*new, Create("things", "old", {})])
    with pytest.raises(VersionConflict):
        await client.write([*new, Put("things", "old", {}, if_version=str(int(version) ^ 1))])
    assert (await client.aggregate(Query("things"))).count == 1


@pytest.mark.parametrize("version", ["", "x", "-1", "٣", str(2**63), "9" * 40, "null"])
async def test_a_version_that_was_never_assigned_is_a_conflict(
    client: SqliteClient, version: str
) -> None:
    await client.write([Create("things", "a", {})])
    for write in (Put("things", "a", {}, version), Delete("things", "a", version)):
        with pytest.raises(VersionConflict):
            await client.write([write])
    assert await client.get("things", "a") is not None


async def test_unused_indexes_of_an_earlier_version_are_dropped(
    tmp_path: Path,
) -> None:
    earlier = [
        f'CREATE INDEX "{index.name}" ON telemetry ('
        + ", ".join([schema.value(field) for field in index.equal])
        + f", {schema.order_key(index.order_by)} {index.direction}, id {index.direction})"
        for index in INDEXES
        if index.collection == "telemetry" and index.then is None and "sensor_ok" in index.equal
    ]
    assert len(earlier) == 2
    async with new_client(tmp_path) as client:
        for statement in earlier:
            await client.writer.run(lambda connection, sql=statement: connection.execute(sql) and 0)
        rows = [row(True, 200), row(False, 300), row(True, 210)]
        await DocumentHistory(client, 1).write([], rows)
    async with new_client(tmp_path) as client:
        names = await client.readers.run(
            lambda connection: connection.execute("SELECT name FROM sqlite_schema").fetchall()
        )
        assert not [name for (name,) in names if "sensor_ok" in name]
        figures = await DocumentHistory(client, 1).figures("t", "d", Span(0, 10))
        assert (figures.count, figures.good) == (3, 2)
        assert (figures.minimum, figures.maximum) == (200, 210)
        bad = (Filter("tenant_id", "==", "t"), Filter("sensor_ok", "==", False))
        page = await client.query(Query("telemetry", bad, "timestamp_ms", "desc"), 10)
        assert [document.id for document in page.documents] == ["300"]


async def test_a_zone_with_and_without_stored_defaults_is_the_same_zone(
    client: SqliteClient,
) -> None:
    store = ZonesStore(client)
    without_reading = ZoneRecord(tenant_id="t", device_id="set", setpoint_tenths=200)
    whole = {
        "tenant_id": "t",
        "device_id": "old",
        "last_seen_ms": 5,
        "timestamp_ms": 0,
        "temp_tenths": 0,
        "sensor_ok": False,
        "cool": False,
        "heat": False,
        "fault": False,
        "cool_changed_ms": None,
        "cool_changed_wall_ms": 0,
        "run": "",
        "expire_at": None,
        "setpoint_tenths": None,
        "setpoint_rev": 0,
        "deadband_tenths": None,
        "deadband_rev": 0,
        "updated_by": "",
    }
    await client.write([store.zone_write(without_reading, None), Create("zones", "t_old", whole)])
    old = ZoneRecord(tenant_id="t", device_id="old", last_seen_ms=5)
    assert await store.all("t") == [old, without_reading]
    assert await store.count("t") == 2
    read = await store.get("t", "old")
    await client.write([store.zone_write(read.zone, read.version)])
    assert (await store.get("t", "old")).zone == old
    document = await client.get("zones", "t_old")
    assert document is not None
    assert document.fields == {"tenant_id": "t", "device_id": "old", "last_seen_ms": 5}


async def test_of_writes_that_come_together_only_those_with_an_unmet_demand_are_refused(
    client: SqliteClient,
) -> None:
    history, zones = SqliteHistory(client), ZonesStore(client)
    keys = {"empty": "", "null": None, "full": "digest"}
    await client.write([Create("devices", name, {"key": text}) for name, text in keys.items()])

    def write(number: int, name: str) -> Awaitable[list[str]]:
        zone = zones.zone_write(ZoneRecord(tenant_id="t", device_id=name), None)
        return history.write_if(
            [zone], [row(True, 200, number)], EmptyFields("devices", name, ("key",))
        )

    names = ["empty", "null", "full", "missing"]
    written = await asyncio.gather(*map(write, range(4), names), return_exceptions=True)
    assert [isinstance(one, DemandUnmet) for one in written] == [name == "full" for name in names]
    page = await history.page("t", "d", 10)
    assert [one.timestamp_ms for one in page.readings] == [3, 1, 0]
    assert [zone.device_id for zone in await zones.all("t")] == ["empty", "missing", "null"]


async def test_a_zone_s_expiry_has_no_index_also_in_a_file_of_an_earlier_version(
    tmp_path: Path,
) -> None:
    find = "SELECT name FROM sqlite_schema WHERE tbl_name = 'zones' AND name GLOB '*expire_at'"
    make = 'CREATE INDEX "zones.expire_at" ON zones (version)'
    async with new_client(tmp_path) as client:
        await client.writer.run(lambda connection: connection.execute(make) and 0)
    async with new_client(tmp_path) as client:
        assert await client.readers.run(lambda c: c.execute(find).fetchall()) == []
