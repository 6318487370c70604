"""Alarms after earlier ones of their zone and kind, and of a zone that is gone."""

from __future__ import annotations

import pytest

from server.alarms.alarm import AlarmChange
from server.config.config import ServerConfig
from server.services.firestore.base import document_id
from server.services.firestore.zones_store import ZONES
from server.services.ports.documents import Delete
from tests.component.alarms.test_alarms import Sent, rounds, site, stored, user
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.unreliable import COLD, LAB, TENANT, Process, Site

__all__ = ["site"]

pytestmark = pytest.mark.sqlite_only("its own store")

WARM = ServerConfig(alarm_tenths=(150, 280), alarm_delay_s=60)
FINE, TOO_WARM = 270, 285


async def too_warm(process: Process) -> str:
    """Let the zone be too warm; return the id of its alarm, which is pending."""
    await process.post(FINE)
    await process.post(TOO_WARM)
    await rounds(process)
    (alarm,) = await stored(process, state="pending")
    return alarm.id


async def test_an_alarm_comes_again_after_a_comment_on_an_old_one(
    site: Site, clock: ManualClock
) -> None:
    sent = Sent()
    process = await site.start(listener=sent)
    await process.post(COLD)
    for _ in range(3):
        await process.post(None, ok=False)
        await rounds(process)
        await process.post(COLD)
        await rounds(process)
        clock.advance(2)
    oldest = min(await stored(process), key=lambda alarm: alarm.number)
    await process.alarms.actions.comment(user(), oldest.id, "the cable was loose")
    sent.steps.clear()
    await process.post(None, ok=False)
    await rounds(process)
    assert [alarm.number for alarm in await stored(process, state="active")] == [4]
    assert sent.steps == ["raised"]


async def test_a_shelf_holds_after_an_alarm_that_never_became_active(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=WARM)
    first = await too_warm(process)
    await process.alarms.actions.shelve(user("bob"), first, HOUR_MS)
    for _ in range(2):
        await process.post(FINE)
        await rounds(process)
        assert await stored(process) == []
        clock.advance(2)
        await too_warm(process)
        (alarm,) = await stored(process)
        assert (alarm.id != first, alarm.shelved_by) == (True, "bob")
    await process.post(FINE)
    await rounds(process)
    clock.advance(HOUR_MS / 1000)
    await too_warm(process)
    assert [alarm.shelved_by for alarm in await stored(process)] == [""]


async def test_nobody_gets_a_notice_of_a_pending_alarm(site: Site) -> None:
    process = await site.start(config=WARM)
    alarm_id = await too_warm(process)
    await process.alarms.actions.shelve(user(), alarm_id, HOUR_MS)
    taken = await process.alarms.actions.shelve(user(), alarm_id, 0)
    assert not AlarmChange("unshelved", taken).is_notice


async def test_the_alarms_of_a_zone_that_is_deleted_are_over(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=WARM)
    await too_warm(process)
    clock.advance(61)
    await process.post(TOO_WARM)
    await rounds(process, after_s=2)
    assert [alarm.kind for alarm in await stored(process, state="active")] == ["high"]
    await process.store.write([Delete(ZONES, document_id(TENANT, LAB))])
    clock.advance(61)
    await rounds(process)
    assert [alarm.state for alarm in await stored(process)] == ["cleared"]


async def test_the_limit_of_open_alarms_holds_for_zones_and_not_for_the_site(
    site: Site, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.alarms.alarm_writer.OPEN_MAX", 3)
    process = await site.start()
    for number in range(5):
        await process.post(COLD, device_id=f"zone{number}")
        await process.post(None, ok=False, device_id=f"zone{number}")
    await rounds(process)
    assert len(await stored(process, state="open")) == 3
    process.alarms.reports.report(TENANT, "disk_nearly_full", is_on=True)
    await rounds(process)
    assert [alarm.kind for alarm in await stored(process, device_id="")] == ["disk_nearly_full"]
    assert process.metrics.registry.get_sample_value("bas_alarms_dropped_total")


async def test_an_alarm_begins_again_although_another_process_ended_the_last_one(
    site: Site, clock: ManualClock
) -> None:
    one, other = await site.start(), await site.start()
    await one.post(COLD)
    await one.post(None, ok=False)
    await rounds(one)
    await other.post(COLD)
    await rounds(other)
    clock.advance(2)
    assert await stored(one, state="open") == []
    await one.post(None, ok=False)
    await rounds(one)
    assert [alarm.number for alarm in await stored(one, state="active")] == [2]


async def test_a_later_alarm_of_another_process_ends_with_its_condition(
    site: Site, clock: ManualClock
) -> None:
    one, other = await site.start(), await site.start()
    await one.post(COLD)
    await one.post(None, ok=False)
    await rounds(one)
    await other.post(COLD)
    await rounds(other)
    await other.post(None, ok=False)
    await rounds(other)
    assert [alarm.number for alarm in await stored(other, state="active")] == [2]
    await one.post(COLD)
    await rounds(one)
    assert await stored(one, state="open") == []
