"""Readings that an earlier version kept as documents: each is converted once, or put aside."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from server.services.firestore.document_history import DocumentHistory
from server.services.history.contents import content_of
from server.services.ports.documents import AlreadyExists, Create
from server.services.ports.readings import NewRow, Reading
from server.services.sqlite import conversion
from tests.component.services.sqlite.test_sealing import FIRST_MS, MINUTE_MS, Opened, opened
from tests.support.clock import HOUR_MS
from tests.support.histories import contents, reading, rows_of, scan_all, write_all
from tests.support.measured import STORED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Opened]:
    async with opened(path) as parts:
        yield parts


async def write_old(store: Opened, rows: Sequence[NewRow]) -> None:
    """Store readings as an earlier version did."""
    await write_all(DocumentHistory(store.client, 90), rows)


async def everything(store: Opened) -> list[Reading]:
    """All readings of a tenant in their order, newest first."""
    return (await store.history.page("default", None, 10_000)).readings


def mixture() -> list[NewRow]:
    """Readings of some devices and hours; several have the same time."""
    chance = random.Random(3)
    return rows_of(
        reading(
            FIRST_MS + chance.randrange(300) * MINUTE_MS,
            number,
            device_id=chance.choice(("attic", "lab", "roof")),
            device_ticks_ms=chance.choice((None, number)),
            clock=chance.choice(("", "unknown")),
        )
        for number in range(700)
    )


async def test_conversion_keeps_every_reading_and_their_order(store: Opened) -> None:
    await write_old(store, mixture())
    before = await everything(store)
    await store.pack()
    assert await store.keeper.unpacked() == 0
    assert list(map(content_of, await everything(store))) == list(map(content_of, before))
    assert contents(await scan_all(store.history)) == contents(mixture())


async def test_values_of_the_existing_server_are_converted_as_they_were_read(
    store: Opened,
) -> None:
    fields = msgspec.to_builtins(reading(FIRST_MS))
    await store.client.write(
        [
            Create(
                "telemetry",
                f"reading-{number:03}",
                fields
                | {"timestamp_ms": FIRST_MS - number}
                | {"temp_tenths": case.temp, "sensor_ok": case.sensor_ok},
            )
            for number, case in enumerate(STORED)
        ]
    )
    await store.pack()
    assert [
        (one.temp_tenths, one.sensor_ok, one.fault_reason) for one in await everything(store)
    ] == [case.read for case in STORED]


async def test_a_repeat_is_recognised_before_and_after_the_conversion(store: Opened) -> None:
    rows = [
        NewRow(f"{number:032x}", reading(FIRST_MS, number, source_digest=f"d{number}"))
        for number in range(5)
    ]
    await write_old(store, rows)
    again = [msgspec.structs.replace(row, remember_ms=HOUR_MS) for row in rows]
    for _ in range(2):
        found = await store.history.known("default", [row.id for row in rows])
        assert found == {row.id: row.reading for row in rows}
        for row in again:
            with pytest.raises(AlreadyExists):
                await store.history.write([], [row])
        await store.pack()
    assert await store.history.count() == 5


async def test_documents_that_are_no_readings_are_put_aside_and_logged(
    store: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(reading(FIRST_MS + number, number) for number in range(3))
    await write_old(store, rows)
    bad = [Create("telemetry", "no-device", {"tenant_id": "default"}), Create("telemetry", "x", {})]
    await store.client.write(bad)
    with caplog.at_level(logging.WARNING):
        await store.pack()
    assert contents(await everything(store)) == contents(rows)
    aside = await store.client.readers.run(
        lambda connection: connection.execute(
            "SELECT id, body FROM unreadable_readings ORDER BY id"
        ).fetchall()
    )
    assert aside == [("no-device", '{"tenant_id":"default"}'), ("x", "{}")]
    assert "'no-device'" in caplog.text
    assert "unreadable_readings" in caplog.text


async def test_readings_that_an_earlier_version_stores_during_the_conversion_are_kept(
    store: Opened,
) -> None:
    rows = mixture()
    await write_old(store, rows[:500])
    steps = store.keeper.pack(0)
    await anext(steps)
    await write_old(store, rows[500:600])
    async for _ in steps:
        pass
    await write_old(store, rows[600:])
    assert contents(await everything(store)) == contents(rows)
    await store.pack()
    assert await store.keeper.unpacked() == 0
    assert contents(await everything(store)) == contents(rows)


async def test_a_reading_that_both_versions_stored_does_not_stop_the_conversion(
    store: Opened,
) -> None:
    twice = NewRow("ab" * 16, reading(FIRST_MS, source_digest="d"), HOUR_MS)
    await store.history.write([], [twice])
    other = NewRow("cd" * 16, reading(FIRST_MS + 1, source_digest="d"))
    await write_old(store, [twice, other])
    await store.pack()
    assert await store.history.count() == 3
    assert (await store.history.known("default", [twice.id, other.id])).keys() == {
        twice.id,
        other.id,
    }


async def test_a_reading_that_would_not_be_kept_as_it_is_stops_the_conversion(
    store: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = mixture()
    await write_old(store, rows)
    exact = conversion.row_of
    monkeypatch.setattr(
        conversion, "row_of", lambda one, series: exact(one, series)._replace(temp=0)
    )
    with pytest.raises(RuntimeError, match="would not be kept"):
        await store.pack()
    monkeypatch.undo()
    assert contents(await everything(store)) == contents(rows)
    await store.pack()
    assert contents(await everything(store)) == contents(rows)


class Killed(Exception):
    """Stands for the end of the process."""


async def die_after(store: Opened, writes: int) -> bool:
    """Pack, and end it after this many transactions; return whether there were as many."""
    run: Callable[..., Awaitable[object]] = store.client.writer.run
    left = writes

    async def counted(apply: Callable[[sqlite3.Connection], object]) -> object:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return await run(apply)

    store.client.writer.run = counted  # type: ignore[assignment]
    try:
        await store.pack()
    except Killed:
        return True
    return False


async def test_an_end_after_any_transaction_loses_and_doubles_no_reading(
    path: Path, tmp_path: Path
) -> None:
    """Documents, new readings and late ones are converted and sealed."""
    rows = mixture()
    async with opened(path) as store:
        await write_all(store.history, rows[:200:2])
        await store.pack()
        await write_all(store.history, [*rows[1:200:2], *rows[600:]])
        await write_old(store, rows[200:600])
        expected = list(map(content_of, await everything(store)))
    number, dies = 0, True
    while dies:
        copy = tmp_path / f"copy-{number}.db"
        shutil.copy(path, copy)
        async with opened(copy) as store:
            dies = await die_after(store, number)
        async with opened(copy) as store:
            assert list(map(content_of, await everything(store))) == expected
            assert await store.history.count() == len(rows)
            await store.pack()
            assert await store.keeper.unpacked() == 0
            assert list(map(content_of, await everything(store))) == expected
        number += 1
    assert number > 10
