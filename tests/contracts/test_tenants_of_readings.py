"""The contract of ReadingHistory: which tenants there are, and the deletion of one of them."""

from __future__ import annotations

from server.services.ports.readings import ALWAYS, NewRow
from tests.support.histories import contents, scan_all, write_all
from tests.support.history_stores import Store
from tests.support.tenants import of_tenant


async def filled(store: Store) -> tuple[list[NewRow], list[NewRow]]:
    """The readings of two tenants, in all forms that the store has."""
    going, staying = of_tenant("going", 60, 1), of_tenant("staying", 60, 2)
    both = [row for pair in zip(going, staying, strict=True) for row in pair]
    await store.add(both[:100])
    await write_all(store.history, both[100:])
    return going, staying


async def test_the_readings_of_one_tenant_are_deleted_and_those_of_others_stay(
    store: Store,
) -> None:
    going, staying = await filled(store)
    deleted = [count async for count in store.history.delete_tenant("going")]
    assert sum(deleted) >= len(going)
    assert contents(await scan_all(store.history)) == contents(staying)
    assert await store.history.known("going", [row.id for row in going]) == {}
    assert (await store.history.figures("going", None, ALWAYS)).count == 0
    assert (await store.history.figures("staying", None, ALWAYS)).count == len(staying)
    known = await store.history.known("staying", [row.id for row in staying])
    assert len(known) == len(staying)


async def test_a_deletion_may_be_stopped_after_any_step_and_begun_again(store: Store) -> None:
    _, staying = await filled(store)
    for stop_after in range(1, 200):
        steps = store.history.delete_tenant("going")
        left = stop_after
        async for _ in steps:
            left -= 1
            if not left:
                break
        if left:
            break
        await steps.aclose()  # type: ignore[attr-defined]
    assert stop_after > 1
    assert contents(await scan_all(store.history)) == contents(staying)
    assert await store.history.tenant_ids() == ["staying"]


async def test_the_tenants_with_readings_are_known_and_a_deleted_one_is_not(store: Store) -> None:
    assert await store.history.tenant_ids() == []
    await filled(store)
    assert await store.history.tenant_ids() == ["going", "staying"]
    async for _ in store.history.delete_tenant("going"):
        pass
    assert await store.history.tenant_ids() == ["staying"]


async def test_a_device_of_another_tenant_may_report_after_a_deletion(store: Store) -> None:
    await filled(store)
    async for _ in store.history.delete_tenant("going"):
        pass
    more = of_tenant("coming", 20, 3)
    await store.add(more)
    page = await store.history.page("coming", None, 100)
    assert contents(page.readings) == contents(more)
    assert (await store.history.figures("coming", None, ALWAYS)).count == len(more)
    assert (await store.history.page("going", None, 100)).readings == []
