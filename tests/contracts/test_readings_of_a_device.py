"""The contract of ReadingHistory: the deletion of the readings of one device."""

from __future__ import annotations

from server.services.ports.readings import ALWAYS, Span
from tests.support.histories import contents, scan_all, write_all
from tests.support.history_stores import NOW_MS, WEEK_MS, Rows, Sealed, Store
from tests.support.tenants import of_tenant


async def test_the_readings_of_one_device_are_deleted_and_all_others_stay(store: Store) -> None:
    rows, others = of_tenant("here", 60, 1), of_tenant("there", 60, 2)
    await store.add([*rows[:40], *others])
    await write_all(store.history, rows[40:])
    staying = [*(row for row in rows if row.reading.device_id != "lab"), *others]
    deleted = [count async for count in store.history.delete_readings_of("here", "lab")]
    assert sum(deleted) >= len(rows) + len(others) - len(staying)
    assert contents(await scan_all(store.history)) == contents(staying)
    assert (await store.history.page("here", "lab", 100)).readings == []
    for span in (ALWAYS, Span(NOW_MS - 5 * WEEK_MS, NOW_MS)):
        assert (await store.history.figures("here", "lab", span)).count == 0
    assert (await store.history.figures("here", None, ALWAYS)).count == len(staying) - len(others)
    use = await store.history.relay_use("here", NOW_MS) or {}
    assert use["lab"].cool_ms == 0 if "lab" in use else True
    async for count in store.history.delete_readings_of("here", "lab"):
        assert count == 0
    async for _ in store.history.delete_readings_of("nowhere", "lab"):
        raise AssertionError


async def test_it_may_be_stopped_and_the_device_goes_on_and_is_packed_again(store: Store) -> None:
    rows = of_tenant("here", 60, 1)
    await store.add(rows[:40])
    async for _ in store.history.delete_readings_of("here", "lab"):
        break
    async for _ in store.history.delete_readings_of("here", "lab"):
        pass
    await write_all(store.history, rows[40:])
    await store.settle()
    staying = [row for row in rows[:40] if row.reading.device_id != "lab"] + rows[40:]
    assert contents(await scan_all(store.history)) == contents(staying)
    if isinstance(store, Rows | Sealed):
        # The keys of posts stay: a repeat is still a repeat.
        gone = [row for row in rows[:40] if row.reading.device_id == "lab"]
        known = await store.history.known("here", [row.id for row in gone])
        assert len(known) > 0
