"""Writes as rows of a VALUES: any number of them, each one found, none invented by the filling."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.embedded import schema
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import (
    AlreadyExists,
    Create,
    Delete,
    Filter,
    Put,
    Query,
    Update,
    VersionConflict,
)
from server.services.firestore.indexes import load_indexes
from server.services.firestore.models import Reading, ZoneRecord
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.firestore.zones_store import ZonesStore

INDEXES = load_indexes(Path(__file__).parents[3] / "infra" / "firestore.indexes.json")
NUMBERS = [1, 2, 4, 5, 63, 64, 65, 255, 256, 257, 500]


def new_client(path: Path) -> SqliteClient:
    return SqliteClient(path / "store.db", INDEXES, SystemClock(), Metrics())


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[SqliteClient]:
    async with new_client(tmp_path) as client:
        yield client


@pytest.mark.parametrize("number", NUMBERS)
async def test_any_number_of_writes_is_written(client: SqliteClient, number: int) -> None:
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
async def test_one_conflict_among_any_number_of_writes_writes_nothing(
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
async def test_a_version_that_was_never_given_out_is_a_conflict(
    client: SqliteClient, version: str
) -> None:
    await client.write([Create("things", "a", {})])
    for write in (Put("things", "a", {}, version), Delete("things", "a", version)):
        with pytest.raises(VersionConflict):
            await client.write([write])
    assert await client.get("things", "a") is not None


async def test_a_database_of_an_earlier_version_loses_the_indexes_that_nothing_is_served_by(
    tmp_path: Path,
) -> None:
    def reading(sensor_ok: bool, temp_tenths: int) -> Create:
        reading = Reading(
            tenant_id="t",
            device_id="d",
            timestamp_ms=5,
            temp_tenths=temp_tenths,
            setpoint_tenths=230,
            deadband_tenths=10,
            cool_active=False,
            heat_active=True,
            state="IDLE",
            sensor_ok=sensor_ok,
        )
        return TelemetryStore.creation(f"{temp_tenths}", reading)

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
        await client.write([reading(True, 200), reading(False, 300), reading(True, 210)])
    async with new_client(tmp_path) as client:
        names = await client.readers.run(
            lambda connection: connection.execute("SELECT name FROM sqlite_schema").fetchall()
        )
        assert not [name for (name,) in names if "sensor_ok" in name]
        figures = await TelemetryStore(client).get_device_statistics("t", "d", 0, 10)
        assert (figures.total_records, figures.sensor_failures) == (3, 1)
        assert (figures.min_temperature, figures.max_temperature) == (200, 210)
        bad = (Filter("tenant_id", "==", "t"), Filter("sensor_ok", "==", False))
        page = await client.query(Query("telemetry", bad, "timestamp_ms", "desc"), 10)
        assert [document.id for document in page.documents] == ["300"]


async def test_zones_with_and_without_their_defaults_are_the_same_zones(
    client: SqliteClient,
) -> None:
    store = ZonesStore(client)
    never_heard = ZoneRecord(tenant_id="t", device_id="set", setpoint_tenths=200)
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
    await client.write([store.zone_write(never_heard, None), Create("zones", "t_old", whole)])
    old = ZoneRecord(tenant_id="t", device_id="old", last_seen_ms=5)
    assert await store.all("t") == [old, never_heard]
    assert await store.count("t") == 2
    read = await store.get("t", "old")
    await client.write([store.zone_write(read.zone, read.version)])
    assert (await store.get("t", "old")).zone == old
    document = await client.get("zones", "t_old")
    assert document is not None
    assert document.fields == {"tenant_id": "t", "device_id": "old", "last_seen_ms": 5}
