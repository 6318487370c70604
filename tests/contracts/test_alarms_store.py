"""AlarmsStore on each DocumentClient: one open alarm of a zone and kind, pages, history."""

from __future__ import annotations

import asyncio

import pytest

from server.alarms import steps
from server.alarms.alarm import Alarm
from server.alarms.alarms_store import AlarmsStore, begin_writes, change_writes, drop_writes
from server.alarms.rules import AlarmMoment, Sign
from server.common.errors import Conflict
from server.services.ports.documents import DocumentClient

ON = Sign(on=True, off=False)


def at(now_ms: int) -> AlarmMoment:
    return AlarmMoment(now_ms, now_ms, now_ms, "boot", 0)


async def begin(
    client: DocumentClient, device_id: str, now_ms: int, kind: str = "fault", tenant: str = "t"
) -> Alarm:
    slot_id = steps.slot_id(tenant, device_id, kind)
    slot = (await AlarmsStore(client).slots([slot_id]))[slot_id]
    alarm = steps.begun((tenant, device_id, kind), slot.number + 1, ON, at(now_ms))
    await client.write(begin_writes(alarm, slot))
    return alarm


async def end(client: DocumentClient, alarm: Alarm, now_ms: int) -> Alarm:
    stored = await AlarmsStore(client).get(alarm.id)
    assert stored is not None
    over = steps.cleared(stored.alarm, at(now_ms), 1000)
    await client.write(change_writes(over, stored.version))
    return over


async def test_of_many_that_begin_an_alarm_at_once_one_succeeds(client: DocumentClient) -> None:
    slot_id = steps.slot_id("t", "lab", "fault")
    for number in (1, 2):
        slot = (await AlarmsStore(client).slots([slot_id]))[slot_id]
        alarm = steps.begun(("t", "lab", "fault"), slot.number + 1, ON, at(number))

        async def attempt(writes: list[object]) -> bool:
            try:
                await client.write(writes)  # type: ignore[arg-type]
            except Conflict:
                return False
            return True

        begun = await asyncio.gather(*(attempt([*begin_writes(alarm, slot)]) for _ in range(4)))
        assert sum(begun) == 1
        assert alarm.number == number
        await end(client, alarm, 10 * number)
    found, _ = await AlarmsStore(client).page_of_alarms("t", 10)
    assert [(one.number, one.state) for one in found] == [(2, "cleared"), (1, "cleared")]


async def test_alarms_are_found_by_state_zone_and_time_page_by_page(
    client: DocumentClient,
) -> None:
    store = AlarmsStore(client)
    alarms = [await begin(client, name, 10 + number) for number, name in enumerate("abc")]
    site = await begin(client, "", 20, "many_fault")
    await begin(client, "a", 21, tenant="other")
    over = await end(client, alarms[0], 30)

    async def ids(**which: object) -> list[str]:
        return [one.id for one in (await store.page_of_alarms("t", 10, **which))[0]]  # type: ignore[arg-type]

    assert await ids() == [over.id, site.id, alarms[2].id, alarms[1].id]
    assert await ids(state="open") == [site.id, alarms[2].id, alarms[1].id]
    assert await ids(state="cleared") == [over.id]
    assert await ids(device_id="b") == await ids(device_id="b", state="active") == [alarms[1].id]
    assert await ids(device_id="") == [site.id]
    assert await ids(since_ms=20) == [over.id, site.id]
    first, cursor = await store.page_of_alarms("t", 3)
    rest, end_of = await store.page_of_alarms("t", 3, cursor=cursor)
    assert [one.id for one in first + rest] == await ids()
    assert end_of is None
    assert await store.count_open("t") == 3
    every = [one.alarm.tenant_id async for some in store.all_open() for one in some]
    assert sorted(every) == ["other", "t", "t", "t"]


async def test_a_step_over_an_old_version_and_a_dropped_alarm(client: DocumentClient) -> None:
    store = AlarmsStore(client)
    alarm = await begin(client, "lab", 1)
    stored = await store.get(alarm.id)
    assert stored is not None
    assert stored.alarm == alarm
    seen = steps.acknowledged(alarm, "ada", at(2))
    await client.write(change_writes(seen, stored.version))
    with pytest.raises(Conflict):
        await client.write(change_writes(seen, stored.version))
    with pytest.raises(Conflict):
        await client.write(drop_writes(alarm, stored.version))
    newer = await store.get(alarm.id)
    assert newer is not None
    assert newer.alarm == seen
    await client.write(drop_writes(seen, newer.version))
    assert await store.get(alarm.id) is None
    assert (await begin(client, "lab", 3)).number == 2
