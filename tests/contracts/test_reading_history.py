"""The contract of ReadingHistory: each test runs on every implementation, in every state.

On SQLite readings may lie in rows as they were written, in sealed blocks, or in all forms at once.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.common.errors import Invalid
from server.services.firestore.document_history import DocumentHistory
from server.services.history.contents import content_of
from server.services.history.measured import TEMP_MAX, TEMP_MIN
from server.services.ports.cursors import encode_cursor
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Document,
    Put,
    Query,
    VersionConflict,
)
from server.services.ports.readings import ALWAYS, NewRow, Reading, ReadingHistory, Span
from tests.support.clock import HOUR_MS
from tests.support.forms import amount
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tests.support.history_stores import NOW_MS, WEEK_MS, Mixed, Store, Stores, mixture

same_store = settings(
    deadline=None,
    max_examples=amount(8, 300),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


async def pages(
    history: ReadingHistory,
    device_id: str | None = None,
    limit: int = 3,
    span: Span = ALWAYS,
    tenant_id: str = "default",
) -> list[Reading]:
    """All readings of a tenant or a device, page by page."""
    found: list[Reading] = []
    cursor = None
    while True:
        page = await history.page(tenant_id, device_id, limit, span, cursor)
        assert len(page.readings) <= limit
        found += page.readings
        cursor = page.next_cursor
        if cursor is None:
            return found


def key(number: int) -> str:
    """An id as a post with a key has it."""
    return f"{number:032x}"


async def test_every_method_sees_readings_whose_write_returned(store: Store) -> None:
    readings = [reading(START_MS + number, number, source_digest="d") for number in range(8)]
    rows = [NewRow(key(number), one, 6 * WEEK_MS) for number, one in enumerate(readings)]
    await store.add(rows)
    history = store.history
    everything = contents(rows)
    assert contents((await history.known("default", [row.id for row in rows])).values()) == (
        everything
    )
    for device_id in ("lab", None):
        assert contents((await history.page("default", device_id, 100)).readings) == everything
        assert (await history.figures("default", device_id, Span(START_MS, NOW_MS))).count == 8
    assert await history.count() == 8
    assert contents(await scan_all(history)) == everything
    assert await history.missing(rows) == []


async def test_an_empty_history_has_no_readings(store: Store) -> None:
    history, span = store.history, Span(START_MS, NOW_MS)
    assert await history.known("default", [key(1)]) == {}
    assert await history.page("default", None, 5) == ([], None)
    figures = await history.figures("default", None, span)
    assert (figures.count, figures.good, figures.mean, figures.minimum) == (0, 0, None, None)
    assert await history.count() == 0
    assert await history.scan(5) == ([], None)
    row = NewRow(key(1), reading())
    assert await history.missing([row]) == [row]


async def test_a_remembered_reading_is_read_back_with_its_receipt_and_its_digest(
    store: Store,
) -> None:
    """Several readings of one device have the same time."""
    rows = [
        NewRow(
            key(number),
            reading(
                START_MS, number, received_ms=START_MS + number // 2, source_digest=f"{number}"
            ),
            6 * WEEK_MS,
        )
        for number in range(6)
    ]
    await store.add(rows)
    await store.add([NewRow(key(9), reading(START_MS, 9))])
    found = await store.history.known("default", [key(number) for number in range(8)])
    assert found == {row.id: row.reading for row in rows}
    assert await store.history.known("elsewhere", list(found)) == {}


async def test_readings_and_documents_of_a_write_are_stored_together(store: Store) -> None:
    create = Create("zones", "lab", {"n": 1})
    (version,) = await store.history.write([create], [NewRow(key(1), reading())])
    await store.settle()
    assert await store.documents.get("zones", "lab") == Document("lab", version, {"n": 1})
    assert await store.history.count() == 1


async def test_a_conflict_of_a_document_stores_no_reading(store: Store) -> None:
    await store.documents.write([Create("zones", "lab", {})])
    rows = [NewRow(key(number), reading(START_MS + number), HOUR_MS) for number in range(3)]
    with pytest.raises(AlreadyExists):
        await store.history.write([Create("zones", "lab", {"n": 1})], rows)
    with pytest.raises(VersionConflict):
        await store.history.write([Put("zones", "lab", {"n": 1}, if_version="1")], rows)
    assert await store.history.count() == 0
    assert await store.history.known("default", [row.id for row in rows]) == {}


async def test_a_known_id_stores_no_document_and_no_other_reading(store: Store) -> None:
    rows = [NewRow(key(number), reading(START_MS + number), 6 * WEEK_MS) for number in range(8)]
    await store.add(rows)
    for row in rows:
        new = [NewRow(key(99), reading(START_MS + 99, 1), HOUR_MS), row]
        with pytest.raises(AlreadyExists):
            await store.history.write([Create("zones", "lab", {})], new)
    assert await store.documents.get("zones", "lab") is None
    assert await store.history.count() == 8
    assert contents(await pages(store.history)) == contents(rows)


async def test_pages_are_newest_first_and_those_of_the_same_time_have_a_fixed_order(
    store: Store,
) -> None:
    rows = mixture()
    await store.add(rows)
    for device_id in (None, "lab"):
        whole = (await store.history.page("default", device_id, 100)).readings
        expected = [row for row in rows if device_id in (None, row.reading.device_id)]
        assert contents(whole) == contents(expected)
        times = [one.timestamp_ms for one in whole]
        assert times == sorted(times, reverse=True)
        for limit in (1, 2, 7, len(whole)):
            again = await pages(store.history, device_id, limit)
            assert list(map(content_of, again)) == list(map(content_of, whole))


async def test_pages_repeat_and_omit_nothing_while_readings_are_added_and_packed(
    store: Store,
) -> None:
    rows = mixture()
    await store.add(rows)
    number = 0
    for device_id in (None, "lab"):
        whole = (await store.history.page("default", device_id, 1000)).readings
        before = list(map(content_of, whole))
        seen: list[object] = []
        page = await store.history.page("default", device_id, 7)
        while True:
            seen += map(content_of, page.readings)
            if page.next_cursor is None:
                break
            number += 1
            around = page.readings[-1].timestamp_ms
            times = (around + 1, around - 1, around - HOUR_MS, START_MS - HOUR_MS, NOW_MS - number)
            new = [reading(at_ms, 1000 + number) for at_ms in times]
            await write_all(store.history, rows_of(new, f"new-{number}"))
            if number % 2:
                await store.settle()
            page = await store.history.page("default", device_id, 7, cursor=page.next_cursor)
        assert [one for one in seen if one in before] == before
    assert number >= 4


async def test_a_reading_of_the_time_at_which_a_page_ended_disturbs_no_page(
    stores: Stores,
) -> None:
    """A device without a clock sends a batch: its readings have the same time."""
    store = await stores.open()
    if isinstance(store, Mixed):
        pytest.skip("readings of this time are not converted yet: the order is that of the ids")
    await store.add(rows_of([reading(START_MS, number) for number in range(6)]))
    before = (await store.history.page("default", None, 100)).readings
    first = await store.history.page("default", None, 3)
    await store.add(rows_of([reading(START_MS, number) for number in range(10, 13)], "new"))
    rest = await store.history.page("default", None, 100, cursor=first.next_cursor)
    seen = [one for one in [*first.readings, *rest.readings] if one.temp_tenths in range(6)]
    assert list(map(content_of, seen)) == list(map(content_of, before))


async def test_both_ends_of_a_window_belong_to_it(store: Store) -> None:
    times = [START_MS + number * HOUR_MS for number in range(6)]
    await store.add(rows_of(reading(at_ms, number) for number, at_ms in enumerate(times)))
    for start, end in ((1, 4), (2, 2), (0, 5)):
        span = Span(times[start], times[end])
        expected = list(range(end, start - 1, -1))
        assert [one.temp_tenths for one in await pages(store.history, "lab", 2, span)] == expected
        figures = await store.history.figures("default", "lab", span)
        assert (figures.count, figures.minimum, figures.maximum) == (len(expected), start, end)
        narrower = Span(times[start] + 1, times[end] - 1)
        inside = expected[1:-1] if len(expected) > 1 else []
        assert [one.temp_tenths for one in await pages(store.history, "lab", 2, narrower)] == inside
        assert (await store.history.figures("default", None, narrower)).count == len(inside)
    assert len(await pages(store.history, "lab", 2, Span(times[3]))) == 3
    assert len(await pages(store.history, "lab", 2, Span(None, times[3]))) == 4


async def test_tenants_see_only_their_own_readings(store: Store) -> None:
    own = [reading(START_MS + number, number) for number in range(6)]
    foreign = [reading(START_MS + number, 900, tenant_id="elsewhere") for number in range(6)]
    await store.add([*rows_of(own), *rows_of(foreign, "foreign")])
    for device_id in ("lab", None):
        assert contents(await pages(store.history, device_id)) == contents(own)
        assert contents(await pages(store.history, device_id, tenant_id="elsewhere")) == (
            contents(foreign)
        )
        figures = await store.history.figures("default", device_id, Span(START_MS, NOW_MS))
        assert (figures.count, figures.maximum) == (6, 5)
    assert await pages(store.history, tenant_id="nobody") == []
    assert await store.history.count() == 12


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
ticks = st.none() | st.integers(-(2**53), 2**53)
fields = st.fixed_dictionaries(
    {
        "device_id": names.filter(lambda name: len(name) < 100),
        "timestamp_ms": st.integers(START_MS - WEEK_MS, START_MS + WEEK_MS),
        "setpoint_tenths": st.integers(100, 400),
        "deadband_tenths": st.integers(0, 50),
        "cool_active": st.booleans(),
        "heat_active": st.booleans(),
        "state": st.sampled_from(["IDLE", "COOLING", "FAULT", "COOLING_WITH_LEDS", ""]) | names,
        "device_ticks_ms": ticks,
        "device_time_ms": ticks,
        "clock": st.sampled_from(["", "unknown"]),
        "present": st.booleans(),
    }
)
temps = st.integers(TEMP_MIN, TEMP_MAX)
states = st.fixed_dictionaries({"temp_tenths": temps, "sensor_ok": st.just(True)}) | (
    st.fixed_dictionaries(
        {
            "temp_tenths": st.none() | temps,
            "sensor_ok": st.just(False),
            "fault_reason": st.sampled_from(["", "no_value", "out_of_range", "unreadable"]),
        }
    )
)


@same_store
@given(st.lists(st.tuples(fields, states), min_size=1, max_size=12))
async def test_every_field_is_read_back_as_it_was_written(
    stores: Stores, given_fields: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    store = await stores.open()
    readings = [
        reading(**one | {"at_ms": one["timestamp_ms"]} | more) for one, more in given_fields
    ]
    await store.add(rows_of(readings))
    assert contents(await pages(store.history)) == contents(readings)
    assert contents(await scan_all(store.history)) == contents(readings)


def cursor_of(*values: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "%%%", "\ud800", "ä", "[1]", "W10", "e30", "bnVsbA"),
        *(cursor_of(), cursor_of("x"), cursor_of(1), cursor_of(None, 1), cursor_of([], {})),
        cursor_of(2**63, "lab", 0),
        cursor_of(START_MS, "lab", 0) + "=",
        base64.urlsafe_b64encode(b'[ 1, "lab", 0]').decode().rstrip("="),
    ],
)
async def test_a_malformed_cursor_is_invalid(store: Store, cursor: str) -> None:
    await store.add(rows_of([reading()]))
    with pytest.raises(Invalid):
        await store.history.page("default", None, 5, cursor=cursor)


@pytest.mark.parametrize(
    "cursor",
    ["x", "%%%", "\ud800", "W10", "e30", cursor_of(), cursor_of(1), cursor_of("a", "b")],
)
async def test_a_malformed_cursor_of_a_scan_is_invalid(store: Store, cursor: str) -> None:
    await store.add(rows_of([reading()]))
    with pytest.raises(Invalid):
        await store.history.scan(5, cursor)


@pytest.mark.parametrize("text", ["~", "~x,y,z", "~1", "~1,2", "~1,2,3,4", "~1,2,-3", "~1,2,٣"])
async def test_a_malformed_cursor_into_the_tables_is_invalid(store: Store, text: str) -> None:
    if isinstance(store.history, DocumentHistory):
        pytest.skip("it may be the id of a document")
    with pytest.raises(Invalid):
        await store.history.scan(5, cursor_of(text))


async def test_a_cursor_of_an_earlier_version_continues_at_its_time(store: Store) -> None:
    """It names the document of the last reading of a page."""
    times = [START_MS + number * HOUR_MS for number in range(6)]
    await store.add(rows_of(reading(at_ms, number) for number, at_ms in enumerate(times)))
    query = Query("telemetry", order_by="timestamp_ms", direction="desc")
    last = Document("zzz", "1", {"timestamp_ms": times[3]})
    page = await store.history.page("default", "lab", 10, cursor=encode_cursor(query, last))
    assert [one.temp_tenths for one in page.readings] == [3, 2, 1, 0]
