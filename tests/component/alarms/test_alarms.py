"""Alarms of zones: when they begin and end, with one process, after a restart and with three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.alarms.alarm import Alarm, AlarmChange, AlarmListener
from server.alarms.alarm_actions import AlarmUser, NoSuchAlarm
from server.alarms.rules import MINUTE_MS
from server.config.config import ServerConfig
from server.services.firestore.models import ZoneRecord
from server.services.firestore.zones_store import ZONES
from server.services.ports.documents import Create, Filter, Query, Write
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.stream import eventually
from tests.support.unreliable import COLD, HOT, LAB, TENANT, Process, Site, of

pytestmark = pytest.mark.sqlite_only("its own store")

WARM = ServerConfig(alarm_tenths=(150, 280), alarm_delay_s=300)
HELD_S = 0.6


@pytest.fixture
async def site(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Site]:
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


async def rounds(*processes: Process, after_s: float = HELD_S) -> None:
    """Let what was noted become alarms."""
    for process in processes:
        await process.alarms.service.round()
    processes[0].clock.advance(after_s)  # type: ignore[attr-defined]
    for process in processes:
        await process.alarms.service.round()


async def steps(site: Site) -> list[tuple[str, str, str | None]]:
    """The steps, kinds and zones of the alarm events since the last call."""
    events = of(await site.events(), "alarm")
    return [(one["step"], one["kind"], one["device_id"]) for one in events]


async def stored(process: Process, **which: Any) -> list[Alarm]:
    return (await process.alarms.actions.page(TENANT, 100, **which))[0]


def user(name: str = "ada") -> AlarmUser:
    return AlarmUser(TENANT, name, "127.0.0.1", lambda _: None)


async def test_a_fault_is_an_alarm_until_the_sensor_works_again(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start()
    await process.post(HOT)
    await process.post(None)
    await rounds(process)
    (alarm,) = await stored(process, state="active")
    assert (alarm.kind, alarm.device_id, alarm.reason) == ("fault", LAB, "no_value")
    assert alarm.relays is not None
    assert (alarm.relays.cool, alarm.severity) == (False, "critical")
    gauge = process.metrics.alarms.labels("fault", "critical")
    clock.advance(2)
    await process.alarms.service.round()
    assert gauge._value.get() == 1
    await process.post(None, ok=False)
    await process.post(COLD)
    await rounds(process)
    assert await steps(site) == [("raised", "fault", LAB), ("cleared", "fault", LAB)]
    (over,) = await stored(process)
    assert (over.id, over.state, over.temp_tenths) == (alarm.id, "cleared", COLD)
    assert await stored(process, state="open") == []


async def test_a_fault_that_is_over_at_once_is_no_alarm(site: Site) -> None:
    process = await site.start()
    await process.post(COLD)
    await process.post(None, ok=False)
    await process.post(COLD)
    await rounds(process)
    assert await stored(process) == []


async def test_an_alarm_comes_again_under_another_id(site: Site, clock: ManualClock) -> None:
    process = await site.start()
    await process.post(COLD)
    for _ in range(2):
        await process.post(None, ok=False)
        await rounds(process)
        await process.post(COLD)
        await rounds(process)
        clock.advance(2)
    ids = {alarm.id for alarm in await stored(process, state="cleared")}
    assert len(ids) == 2


async def test_another_process_ends_an_alarm_that_it_has_not_seen_yet(site: Site) -> None:
    one, other = await site.start(), await site.start()
    await other.alarms.service.round()
    await one.post(COLD)
    await one.post(None, ok=False)
    await rounds(one)
    await other.post(COLD)
    await other.alarms.service.round()
    assert [step for step, *_ in await steps(site)] == ["raised", "cleared"]


async def test_of_three_processes_that_begin_an_alarm_at_once_one_does(
    site: Site, clock: ManualClock
) -> None:
    processes = [await site.start() for _ in range(3)]
    for number, process in enumerate(processes):
        await process.alarms.service.round()
        await process.post(COLD, device_id=f"zone{number}")
    for process in processes:
        await process.post(None, ok=False)
        process.alarms.watch.observe(None, await process.record(), None)
        await process.alarms.service.round()
    clock.advance(HELD_S)
    await asyncio.gather(*(process.alarms.service.round() for process in processes))
    assert await steps(site) == [("raised", "fault", LAB)]
    assert len(await stored(processes[0])) == 1
    # All of them know the same alarm, and one of them ends it.
    await processes[0].post(COLD)
    for process in processes:
        process.alarms.watch.observe(None, await process.record(), None)
    await asyncio.gather(*(process.alarms.service.round() for process in processes))
    assert await steps(site) == [("cleared", "fault", LAB)]


async def test_a_temperature_is_an_alarm_after_its_delay_whatever_the_clock_does(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=WARM)
    await process.post(270)
    await process.post(285)
    await process.alarms.service.round()
    clock.step_ms = HOUR_MS  # the clock leaps forward
    clock.advance(240)
    await rounds(process)
    assert [alarm.state for alarm in await stored(process)] == ["pending"]
    # A restarted process goes on with what is left of the delay.
    process = await site.start(config=WARM)
    clock.step_ms = -HOUR_MS  # and back
    await rounds(process, after_s=50)
    assert [alarm.state for alarm in await stored(process)] == ["pending"]
    clock.advance(11)
    await process.post(285)
    await rounds(process, after_s=2)
    (alarm,) = await stored(process)
    assert (alarm.kind, alarm.state, alarm.limit_tenths) == ("high", "active", 280)
    await process.post(276)  # within the hysteresis
    await rounds(process, after_s=2)
    assert [alarm.state for alarm in await stored(process)] == ["active"]
    await process.post(275)
    await rounds(process, after_s=2)
    assert [step for step, *_ in await steps(site)] == ["pending", "raised", "cleared"]


async def test_a_zone_s_own_threshold_counts_in_all_processes_until_it_is_taken_away(
    site: Site, clock: ManualClock
) -> None:
    config = ServerConfig(alarm_delay_s=0)  # the site has no thresholds
    first, other = await site.start(config=config), await site.start(config=config)

    async def set_high(tenths: int | None) -> None:
        before = await first.stores.zone_settings.get(TENANT, LAB)
        new = msgspec.structs.replace(before.settings, high_tenths=tenths, limits_at=clock.now_ms())
        await first.store.write([first.stores.zone_settings.settings_write(new, before)])
        clock.advance(11)  # until thresholds are read again

    await first.post(COLD)
    await rounds(first, other)
    await set_high(COLD - 10)
    await rounds(other)
    await other.post(COLD)
    await rounds(other)
    (alarm,) = await stored(other, state="active")
    assert (alarm.kind, alarm.limit_tenths) == ("high", COLD - 10)
    await set_high(None)
    await rounds(other)
    await other.post(COLD)
    await rounds(other)
    assert [step for step, *_ in await steps(site)] == ["raised", "cleared"]
    # A zone that is deleted, and comes again under its name, has no threshold left.
    await set_high(COLD - 10)
    await rounds(other)
    await first.store.write([first.stores.zone_settings.deletion(TENANT, LAB)])
    await other.post(COLD)
    await rounds(other)
    assert await steps(site) == []


async def test_a_temperature_that_is_back_before_its_delay_leaves_nothing(site: Site) -> None:
    process = await site.start(config=WARM)
    for tenths in (270, 285):
        await process.post(tenths)
    await rounds(process)
    await process.post(279)
    await rounds(process)
    assert [step for step, *_ in await steps(site)] == ["pending", "dropped"]
    assert await stored(process) == []


async def test_a_new_setpoint_makes_temperature_alarms_wait_longer(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=WARM)
    await process.post(270)
    await process.control.setpoints.set(TENANT, LAB, _setpoint(265), "ada", "")
    for _ in range(2):
        clock.advance(2)
        await process.post(285)
    await rounds(process)
    (alarm,) = await stored(process)
    # 2.0 °C from the new setpoint: 36 minutes, and then the usual delay.
    assert alarm.delay_ms == pytest.approx(41 * MINUTE_MS, abs=5000)


def _setpoint(tenths: int) -> Any:
    from server.control.rules.setpoint_rules import SetpointChange

    return SetpointChange(setpoint_tenths=tenths)


async def test_users_acknowledge_shelve_and_comment_an_alarm(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start()
    act = process.alarms.actions
    await process.post(COLD)
    await process.post(None, ok=False)
    await rounds(process)
    (alarm,) = await stored(process)
    for _ in range(2):
        assert (await act.acknowledge(user(), alarm.id)).acknowledged_by == "ada"
        await act.shelve(user("bob"), alarm.id, HOUR_MS)
        await act.comment(user(), alarm.id, "the cable is loose")
    (seen,) = await stored(process, state="acknowledged")
    assert (seen.shelved_by, [one.text for one in seen.comments]) == ("bob", ["the cable is loose"])
    clock.advance(HOUR_MS / 1000)
    await rounds(process)
    assert [step for step, *_ in await steps(site)] == [
        *("raised", "acknowledged", "shelved", "commented"),
        "unshelved",
    ]
    entries = await process.stores.audit.query_recent(TENANT, 10)
    assert sorted(entry.action for entry in entries) == [
        *("ALARM_ACKNOWLEDGED", "ALARM_COMMENTED", "ALARM_SHELVED"),
    ]
    for wrong in ("x", f"{alarm.slot}-2", "0" * 5000):
        with pytest.raises(NoSuchAlarm):
            await act.acknowledge(user(), wrong)
    with pytest.raises(NoSuchAlarm):
        await act.acknowledge(user()._replace(tenant_id="other"), alarm.id)


async def test_an_alarm_about_the_store_is_in_memory_and_becomes_history(site: Site) -> None:
    sent = Sent()
    process = await site.start(listener=sent)
    await site.lose()
    await process.alarms.service.round()
    (alarm,), count = await process.alarms.actions.open_alarms(TENANT)
    assert (alarm.kind, alarm.state, count) == ("store_away", "active", 1)
    await process.alarms.actions.acknowledge(user(), alarm.id)
    await site.come_back()
    await process.alarms.service.round()
    assert sent.at_once == ["raised", "cleared"]
    assert [one.state for one in await stored(process)] == ["cleared"]
    assert [step for step, *_ in await steps(site)] == ["raised", "acknowledged", "cleared"]


class Sent(AlarmListener):
    """A sender of notices that stores one document for each."""

    def __init__(self) -> None:
        self.at_once: list[str] = []
        self.steps: list[str] = []

    async def documents_for(self, change: AlarmChange) -> Sequence[Write]:
        fields = {"tenant_id": change.alarm.tenant_id, "step": change.step}
        return [Create("outbox", f"{change.alarm.id}-{change.step}", fields)]

    def stored(self, change: AlarmChange) -> None:
        self.steps.append(change.step)

    def send_at_once(self, change: AlarmChange) -> None:
        self.at_once.append(change.step)


async def test_a_notice_is_stored_with_its_alarm_or_neither_is(site: Site) -> None:
    sent = Sent()
    process = await site.start(listener=sent)
    await process.post(COLD)
    await process.alarms.service.round()
    await process.post(None, ok=False)
    process.store.how = "gone"
    with pytest.raises(Exception, match="STORE_UNAVAILABLE"):
        await process.alarms.service.round()
    process.store.how = "unanswered"  # stored, but nobody learns of it
    with pytest.raises(Exception, match="STORE_UNAVAILABLE"):
        await process.alarms.service.round()
    process.store.how = "works"
    await process.come_back()
    await rounds(process, after_s=61)
    (alarm,) = await stored(process)
    raised = Query("outbox", (Filter("step", "==", "raised"),))
    notices = await process.store._client.query(raised, 9)
    assert [one.id for one in notices.documents] == [f"{alarm.id}-raised"]


@pytest.mark.parametrize("killed", ["before the alarm", "before the event"])
async def test_a_process_that_is_killed_between_two_steps_loses_no_alarm(
    site: Site, clock: ManualClock, killed: str
) -> None:
    first = await site.start()
    await first.alarms.service.round()
    await first.post(COLD)
    await first.post(None, ok=False)  # stored and answered
    if killed == "before the event":
        first.alarms.service._rounds._writer.announce = _nothing  # type: ignore[method-assign]
        await first.alarms.service.round()
    # Nothing of the first process runs from here on.
    sent = Sent()
    second = await site.start(listener=sent)
    await rounds(second)
    (alarm,) = await stored(second)
    assert (alarm.state, alarm.number) == ("active", 1)
    assert sent.steps == (["raised"] if killed == "before the alarm" else [])
    # A stream that opens now has it in its snapshot, whether its event was sent or not.
    assert await second.alarms.actions.open_alarms(TENANT) == ([alarm], 1)
    await second.post(COLD)
    await rounds(second)
    assert [step for step, *_ in await steps(site)][-1] == "cleared"


async def _nothing(changes: Sequence[AlarmChange]) -> None:
    """Announce no changes."""


async def test_ten_thousand_silent_zones_are_one_alarm_of_the_site(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start()
    seen_ms, now_ms = clock.steady_ms(), clock.now_ms()
    zones = [
        ZoneRecord(
            tenant_id=TENANT,
            device_id=f"zone{number}",
            last_seen_ms=seen_ms,
            received_ms=now_ms,
            sensor_ok=True,
            trust_state="ok",
            gaps=[20, 20, 20],
        )
        for number in range(10_000)
    ]
    for start in range(0, len(zones), 500):
        some = zones[start : start + 500]
        await process.store.write(
            [Create(ZONES, f"{TENANT}_{one.device_id}", msgspec.to_builtins(one)) for one in some]
        )
    await process.alarms.service.round()
    clock.advance(11)
    watching = asyncio.create_task(process.control.watch.check())
    watch = process.alarms.watch
    # The clock stands still, and goes on by seconds at once: half of them must be known before.
    await eventually(lambda: len(watch._noted) >= len(zones) // 2, "half of the zones are silent")
    await rounds(process)
    assert await steps(site) == [("raised", "many_silent", None)]
    (alarm,) = await stored(process)
    assert alarm.zones >= 5_000  # from half of them on, before all are known to be silent
    assert process.alarms.watch._board.held == {}
    watching.cancel()


async def test_zones_count_as_silent_before_that_is_written(site: Site, clock: ManualClock) -> None:
    process = await site.start()
    for number in range(3):
        if number:
            clock.advance(2)
        await _post_all(process, [f"zone{one}" for one in range(12)], COLD)
    await process.alarms.service.round()
    clock.advance(10)
    for number in range(3):  # the zone watch has written these
        record = await process.stores.zones.get(TENANT, f"zone{number}")
        silent = msgspec.structs.replace(record.zone, trust_state="silent")
        await process.store.write(
            [process.stores.zones.zone_write(silent, record.version, typed=True)]
        )
        process.alarms.watch.observe(record.zone, silent, None)
    await rounds(process)
    assert await steps(site) == []
    await rounds(process, after_s=3)
    assert await steps(site) == [("raised", "many_silent", None)]


async def test_an_alarm_of_the_site_ends_when_few_zones_are_left(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start()
    zones = [f"zone{number}" for number in range(12)]
    await _post_all(process, zones, COLD)
    await process.alarms.service.round()
    await _post_all(process, zones, None)
    await rounds(process)
    assert await steps(site) == [("raised", "many_fault", None)]
    await _post_all(process, zones[3:], COLD)
    await rounds(process, after_s=30)
    assert await steps(site) == []
    clock.advance(31)
    await rounds(process)
    await rounds(process, after_s=9)
    found = await steps(site)
    assert found[0] == ("cleared", "many_fault", None)
    assert sorted(found[1:]) == [("raised", "fault", name) for name in zones[:3]]


async def _post_all(process: Process, zones: Sequence[str], tenths: int | None) -> None:
    for name in zones:
        await process.post(tenths, device_id=name)
