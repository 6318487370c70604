"""Alarms about how a cooler runs, and about the machine of the server."""

from __future__ import annotations

from dataclasses import replace

from server.alarms.server_checks import ServerChecks
from server.config.config import ServerConfig
from tests.component.alarms.test_alarms import pytestmark, rounds, site, steps, stored
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.unreliable import COLD, HOT, LAB, Site

__all__ = ["pytestmark", "site"]

KINDS = ServerConfig(alarms="stuck,short_cycling,long_running")
APART_S = 15  # more than the minimum time of a relay


async def test_a_cooler_that_starts_twelve_times_in_an_hour_cycles_too_shortly(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=KINDS)
    for start in range(12):
        await rounds(process)
        assert await steps(site) == [], f"after {start} starts"
        for tenths in (HOT, COLD):
            clock.advance(APART_S)
            await process.post(tenths)
    await process.post(HOT)
    await rounds(process)
    clock.advance(APART_S)
    await process.post(HOT)
    await rounds(process)
    assert await steps(site) == [("raised", "short_cycling", LAB)]
    (alarm,) = await stored(process)
    assert (alarm.severity, alarm.state) == ("warning", "active")
    # It is over when half of these starts are more than an hour ago.
    clock.advance(HOUR_MS / 1000 - 30)
    await process.post(COLD)
    await rounds(process, after_s=61)
    assert await steps(site) == [("cleared", "short_cycling", LAB)]


async def test_a_cooler_that_runs_for_four_hours_is_an_alarm_until_it_stops(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=KINDS)
    await process.post(HOT)
    clock.advance(APART_S)
    await process.post(HOT)
    assert (await process.record()).cool
    clock.step_ms = 5 * HOUR_MS  # the clock is set: the cooler has not run longer for that
    await process.post(HOT)
    await rounds(process)
    assert await steps(site) == []
    # A restarted process knows how long the cooler has run.
    process = await site.start(config=KINDS)
    clock.advance(4 * 3600)
    await process.post(HOT)
    await rounds(process)
    assert await steps(site) == [("raised", "long_running", LAB)]
    await process.post(COLD)
    clock.advance(APART_S)
    await process.post(COLD)
    await rounds(process)
    assert await steps(site) == [("cleared", "long_running", LAB)]


async def test_a_device_that_does_not_obey_is_an_alarm_until_it_does(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start(config=KINDS)
    command = await process.post(COLD)
    while (await process.record()).trust_state != "stuck":
        clock.advance(APART_S)
        await process.post(COLD, cool_active=not command.cool_active)
        assert clock.monotonic() < 1_790_000_000 + 3600, "it is never stuck"
    await rounds(process)
    assert await steps(site) == [("raised", "stuck", LAB)]
    for _ in range(3):
        clock.advance(APART_S)
        await process.post(COLD, cool_active=command.cool_active)
    await rounds(process)
    assert await steps(site) == [("cleared", "stuck", LAB)]


async def test_a_disk_that_is_nearly_full_is_an_alarm_of_the_server_until_it_has_room(
    site: Site,
) -> None:
    process = await site.start()
    small = replace(ServerConfig(), data_dir=site.path.parent, disk_min_free_mb=10**9)
    checks = ServerChecks(small, process.alarms.reports, process.clock)
    for _ in range(2):
        await checks.check()
        await rounds(process)
    assert await steps(site) == [("raised", "disk_nearly_full", None)]
    (alarm,) = await stored(process)
    assert (alarm.severity, alarm.device_id) == ("critical", "")
    large = replace(small, disk_min_free_mb=0)
    await ServerChecks(large, process.alarms.reports, process.clock).check()
    await rounds(process)
    assert await steps(site) == [("cleared", "disk_nearly_full", None)]


async def test_a_clock_that_was_set_by_more_than_five_minutes_is_an_alarm_for_an_hour(
    site: Site, clock: ManualClock
) -> None:
    process = await site.start()
    checks = ServerChecks(
        replace(ServerConfig(), data_dir=site.path.parent, disk_min_free_mb=0),
        process.alarms.reports,
        clock,
    )

    async def after(step_ms: int, seconds: float) -> list[tuple[str, str, str | None]]:
        clock.step_ms += step_ms
        clock.advance(seconds)
        await checks.check()
        await rounds(process)
        return await steps(site)

    assert await after(4 * 60_000, 1) == []
    assert await after(2 * 60_000, 1) == [("raised", "clock_wrong", None)]
    assert await after(0, 3590) == []
    assert await after(0, 20) == [("cleared", "clock_wrong", None)]
    assert await after(-HOUR_MS, 1) == [("raised", "clock_wrong", None)]
