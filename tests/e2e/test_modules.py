"""The page's JavaScript modules, run alone in the browser with chosen events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.e2e.desk import Desk
from tests.e2e.zone_events import (
    COOLING,
    HOUR_MS,
    LATE,
    NOW,
    TRUSTED,
    reading,
    setpoint,
    zone_event,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def hello() -> dict[str, Any]:
    return {"resume": "recovered", "ts": NOW, "heartbeat_s": 20}


async def play(page: Page, *events: tuple[str, dict[str, Any]]) -> list[Any]:
    """The temperature and the setpoint of `office` after each event; None if there is no zone."""
    shown: list[Any] = await page.evaluate(
        """async (events) => {
          const { Zones } = await import("/static/zones.js");
          const zones = new Zones();
          return events.map(([name, data]) => {
            zones[name](data);
            const zone = zones.get("office");
            return zone ? [zone.temp_tenths, zone.setpoint_tenths] : null;
          });
        }""",
        list(events),
    )
    return shown


async def after(page: Page, *events: tuple[str, Any]) -> dict[str, Any]:
    """The zone `office` after these events; `changed` is the result of the last event."""
    zone: dict[str, Any] = await page.evaluate(
        """async (events) => {
          const { Zones } = await import("/static/zones.js");
          const zones = new Zones();
          let answer;
          for (const [name, data] of events) answer = zones[name](data);
          const zone = zones.get("office");
          if (zone === undefined) return { changed: answer };
          const { age, stale, fault, late, hasReading, faultReason, relaysNewer } = zone;
          const got = { age, stale, fault, late, hasReading, faultReason, relaysNewer };
          return { ...zone, ...got, changed: answer };
        }""",
        list(events),
    )
    return zone


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def shared(browser: Browser, site: str) -> AsyncIterator[tuple[Desk, Page]]:
    """One page for all tests, which leave nothing in it: a new one takes more than a second."""
    desk = Desk(browser)
    page = await desk.window()
    await page.goto(f"{site}/auth/login")
    yield desk, page
    await desk.close()


@pytest.fixture
def page(shared: tuple[Desk, Page]) -> Iterator[Page]:
    desk, page = shared
    yield page
    assert desk.complaints == []


async def test_every_temperature_survives_formatting_and_parsing(page: Page) -> None:
    wrong = await page.evaluate(
        """async () => {
          const { degrees, tenths } = await import("/static/units.js");
          const all = Array.from({ length: 1801 }, (_, i) => i - 550);
          return all.filter((t) => tenths(degrees(t)) !== t || tenths((t / 10).toFixed(1)) !== t);
        }"""
    )
    assert wrong == []


async def test_a_replayed_reading_does_not_replace_a_newer_one(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW + 3, 203)]}),
        ("telemetry", reading(NOW + 1, 201)),
        ("telemetry", reading(NOW + 3, 202)),
        ("telemetry", reading(NOW + 3, 203)),
        ("telemetry", reading(NOW + 3, 204)),
    )

    # 202 and 204 have the same millisecond as the reading of the snapshot, 203.
    assert [temp for temp, _ in shown[3:]] == [203, 203, 203, 203, 204]


async def test_readings_are_still_taken_after_the_devices_clock_is_set_back(
    page: Page, hello: dict[str, Any]
) -> None:
    known = reading(NOW, 200)
    shown = await play(
        page,
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [known]}),
        ("telemetry", reading(NOW - 60_000, 201)),
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW - 60_000, 201)]}),
        ("telemetry", reading(NOW - 120_000, 202)),
    )

    assert [temp for temp, _ in shown[1:]] == [200, 201, 201, 201, 202]


async def test_a_heartbeat_ends_a_replay_that_never_reaches_the_snapshots_reading(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("telemetry", reading(NOW - 5, 190)),
        ("heartbeat", {"ts": NOW + 20_000}),
        ("telemetry", reading(NOW - 4, 191)),
    )

    assert [temp for temp, _ in shown[1:]] == [200, 200, 200, 191]


async def test_a_replayed_setpoint_does_not_undo_a_later_one(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200, setpoint_tenths=250)]}),
        ("setpoint", setpoint(NOW - 9, 240)),
        ("setpoint", setpoint(NOW - 8, 250)),
        ("setpoint", setpoint(NOW + 5, 260)),
    )

    assert [value for _, value in shown[1:]] == [250, 250, 250, 260]


async def test_a_reading_decided_before_a_setpoint_change_does_not_restore_the_old_setpoint(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("setpoint", setpoint(NOW + 10, 260)),
        ("telemetry", reading(NOW + 9, 201, setpoint_tenths=230)),
        ("telemetry", reading(NOW + 11, 202, setpoint_tenths=255)),
    )

    # A later reading corrects a setpoint whose event was lost.
    assert shown[2:] == [[200, 260], [201, 260], [202, 255]]


async def test_a_snapshot_after_a_reset_replaces_all_zones(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("hello", hello | {"resume": "reset"}),
        ("snapshot", {"zones": [reading(NOW, 210, device_id="another")]}),
    )

    assert shown[-1] is None


async def test_the_age_of_a_zone_counts_from_the_receipt_and_not_from_the_devices_date(
    page: Page, hello: dict[str, Any]
) -> None:
    five_hours_behind = NOW - 5 * HOUR_MS
    began: tuple[tuple[str, dict[str, Any]], ...] = (
        ("hello", hello | {"resume": "fresh"}),
        (
            "snapshot",
            {"zones": [reading(five_hours_behind - 4000, 200, received=NOW - 4000, age_ms=4000)]},
        ),
    )
    zone = await after(page, *began)
    assert 4000 <= zone["age"] < 6000
    assert not zone["stale"]

    zone = await after(
        page, *began, ("telemetry", reading(five_hours_behind, 201, received=NOW - 1000))
    )

    assert 1000 <= zone["age"] < 3000
    assert not zone["stale"]


async def test_a_reading_without_a_receipt_time_counts_as_received_at_its_date(
    page: Page, hello: dict[str, Any]
) -> None:
    zone = await after(page, ("hello", hello), ("telemetry", reading(NOW - 330_000, 150)))

    assert 330_000 <= zone["age"] < 332_000
    assert zone["stale"]


async def test_the_age_of_a_snapshots_reading_is_the_one_that_the_server_sends(
    page: Page, hello: dict[str, Any]
) -> None:
    # It was received by another process, whose clock is an hour ahead.
    status = reading(NOW, 200, received=NOW + HOUR_MS, age_ms=45_000)

    zone = await after(page, ("hello", hello), ("snapshot", {"zones": [status]}))

    assert 45_000 <= zone["age"] < 47_000


async def test_the_same_reading_in_a_second_snapshot_is_not_younger(
    page: Page, hello: dict[str, Any]
) -> None:
    status = reading(NOW - HOUR_MS, 200, received=NOW, age_ms=8000)

    zone = await after(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [status]}),
        ("hello", hello),
        ("snapshot", {"zones": [status | {"age_ms": 10}]}),
    )

    assert zone["age"] >= 8000


async def test_a_device_whose_date_does_not_change_is_not_stale(
    page: Page, hello: dict[str, Any]
) -> None:
    zone = await after(
        page,
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW - HOUR_MS, 200, received=NOW, age_ms=60_000)]}),
        ("telemetry", reading(NOW - HOUR_MS, 200, received=NOW + 1)),
    )

    assert not zone["stale"]


@pytest.mark.parametrize(
    ("state", "minutes", "stale"),
    [
        ("ok", 24 * 60, False),
        ("suspect", 24 * 60, False),
        # In these states the server does not report that a zone is silent.
        ("stuck", 59, False),
        ("stuck", 61, True),
        ("refused", 61, True),
        ("fault", 61, True),
        # The server has had no post of this zone, so it does not watch it.
        ("never", 1, True),
    ],
)
async def test_a_live_page_calls_a_zone_stale_only_where_the_server_reports_no_silence(
    page: Page, hello: dict[str, Any], state: str, minutes: int, stale: bool
) -> None:
    trust = {"state": state, "since": NOW, "reason": None}
    zone = await after(
        page,
        ("setLive", True),
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200, age_ms=minutes * 60_000, trust=trust)]}),
    )

    assert zone["stale"] == stale


async def test_a_zone_with_late_dates_is_stale_because_late_posts_change_no_value(
    page: Page, hello: dict[str, Any]
) -> None:
    zone = await after(
        page,
        ("setLive", True),
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200, age_ms=11_000, trust=LATE)]}),
    )

    assert zone["stale"]


@pytest.mark.parametrize(
    ("live", "more"),
    [(False, {"trust": TRUSTED}), (True, {})],
    ids=["not live", "no trust"],
)
async def test_a_page_that_is_not_live_or_gets_no_trust_calls_a_zone_stale_by_its_age(
    page: Page, hello: dict[str, Any], live: bool, more: dict[str, Any]
) -> None:
    zone = await after(
        page,
        ("setLive", live),
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200, age_ms=11_000, **more)]}),
    )

    assert zone["stale"]


async def test_a_zone_whose_first_reading_arrives_on_a_live_page_is_not_stale(
    page: Page, hello: dict[str, Any]
) -> None:
    zone = await after(
        page,
        ("setLive", True),
        ("hello", hello),
        ("snapshot", {"zones": []}),
        ("telemetry", reading(NOW, 200, received=NOW - 11_000)),
    )

    assert not zone["stale"]


async def test_a_reading_of_a_backlog_ends_the_silence_of_a_zone(
    page: Page, hello: dict[str, Any]
) -> None:
    silent = {"state": "silent", "since": NOW, "reason": "no_reading"}
    row = reading(NOW - HOUR_MS, 300, received=NOW + 2000, present=False, **COOLING)
    zone = await after(
        page,
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW, 200, trust=silent)]}),
        ("telemetry", row),
    )

    assert zone["changed"] == "office"
    assert zone["trust"]["state"] == "ok"
    assert (zone["temp_tenths"], zone["cool_active"]) == (200, False)


async def test_a_zone_without_a_present_reading_counts_as_one_that_never_posted(
    page: Page, hello: dict[str, Any]
) -> None:
    status = reading(NOW, 0, received=0, age_ms=None, sensor_ok=False, state="IDLE")

    zone = await after(page, ("hello", hello), ("snapshot", {"zones": [status]}))

    assert not zone["hasReading"]
    assert not zone["stale"]
    assert not zone["fault"]


async def test_a_replay_is_ordered_by_receipt_and_not_by_the_devices_dates(
    page: Page, hello: dict[str, Any]
) -> None:
    # The device's clock was set back by an hour between 201 and 202.
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW - HOUR_MS, 203, received=NOW, age_ms=0)]}),
        ("telemetry", reading(NOW - 4000, 201)),
        ("telemetry", reading(NOW - HOUR_MS - 2000, 202, received=NOW - 2000)),
        ("telemetry", reading(NOW - HOUR_MS, 203, received=NOW)),
        ("telemetry", reading(NOW - HOUR_MS - 5, 204, received=NOW + 2000)),
    )

    assert [temp for temp, _ in shown[1:]] == [203, 203, 203, 203, 204]


async def test_a_reading_received_after_the_snapshot_is_taken_despite_its_earlier_date(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200, received=NOW, age_ms=0)]}),
        ("telemetry", reading(NOW - HOUR_MS, 201, received=NOW + 2000)),
    )

    assert [temp for temp, _ in shown[1:]] == [200, 201]


async def test_a_setpoint_is_compared_with_the_receipt_of_a_reading_and_not_with_its_date(
    page: Page, hello: dict[str, Any]
) -> None:
    behind, ahead = NOW - 5 * HOUR_MS, NOW + 120_000
    shown = await play(
        page,
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW - 5, 200)]}),
        ("setpoint", setpoint(NOW + 10, 260)),
        ("telemetry", reading(ahead, 201, received=NOW + 9, setpoint_tenths=230)),
        ("telemetry", reading(behind, 202, received=NOW + 11, setpoint_tenths=255)),
    )

    assert [value for _, value in shown[2:]] == [260, 260, 255]


async def test_a_reading_that_is_not_present_changes_nothing(
    page: Page, hello: dict[str, Any]
) -> None:
    backlog = reading(
        NOW - HOUR_MS, 300, received=NOW + 9000, present=False, setpoint_tenths=400, **COOLING
    )
    began: tuple[tuple[str, dict[str, Any]], ...] = (
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW, 200, age_ms=7000)]}),
    )
    before = await after(page, *began)

    zone = await after(page, *began, ("telemetry", backlog))

    assert zone.pop("changed") is None
    assert 7000 <= zone["age"] < 9000
    assert zone | {"age": 0, "changed": None} == before | {"age": 0, "changed": None}


async def test_a_reading_that_is_not_present_creates_no_zone(
    page: Page, hello: dict[str, Any]
) -> None:
    backlog = reading(NOW - HOUR_MS, 300, received=NOW, present=False)

    assert await after(page, ("hello", hello), ("telemetry", backlog)) == {"changed": None}


async def test_a_reading_that_is_not_present_does_not_end_a_replay(
    page: Page, hello: dict[str, Any]
) -> None:
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("telemetry", reading(NOW - HOUR_MS, 190, received=NOW + 1, present=False)),
        ("telemetry", reading(NOW - 5, 195)),
    )

    assert [temp for temp, _ in shown[1:]] == [200, 200, 200]


async def test_a_zone_is_late_until_its_next_present_reading(
    page: Page, hello: dict[str, Any]
) -> None:
    late_row = reading(NOW - HOUR_MS, 300, received=NOW + 1, present=False, trust=LATE, **COOLING)
    events: list[tuple[str, dict[str, Any]]] = [
        ("hello", hello | {"resume": "fresh"}),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("telemetry", late_row),
    ]
    zone = await after(page, *events)
    assert zone["late"]
    assert (zone["temp_tenths"], zone["cool_active"]) == (200, False)

    zone = await after(page, *events, ("telemetry", reading(NOW + 2000, 201)))

    assert not zone["late"]


async def test_a_replayed_late_reading_does_not_make_a_trusted_zone_late(
    page: Page, hello: dict[str, Any]
) -> None:
    late_row = reading(NOW - HOUR_MS, 300, received=NOW - 10, present=False, trust=LATE)
    zone = await after(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW - 5, 200, trust=TRUSTED)]}),
        ("telemetry", late_row),
    )

    assert not zone["late"]


async def test_a_failed_sensor_has_no_temperature(page: Page, hello: dict[str, Any]) -> None:
    fault = {"state": "FAULT", "sensor_ok": False, "heat_active": False}
    zone = await after(
        page,
        ("hello", hello),
        ("telemetry", reading(NOW, 200)),
        ("telemetry", reading(NOW + 1, None, fault_reason="no_value", **fault)),
    )

    assert zone["temp_tenths"] is None
    assert zone["fault"]
    assert zone["faultReason"] == "no_value"


async def test_a_zone_event_without_a_reading_changes_neither_temperature_nor_age(
    page: Page, hello: dict[str, Any]
) -> None:
    cut = zone_event(
        NOW + 1,
        state="FAULT",
        trust={"state": "fault", "since": NOW, "reason": "out_of_range"},
    )
    events: list[tuple[str, dict[str, Any]]] = [
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW - 30_000, 300, age_ms=30_000, **COOLING)]}),
        ("zone", cut),
    ]
    zone = await after(page, *events)

    assert zone["changed"] == "office"
    assert (zone["cool_active"], zone["heat_active"]) == (False, False)
    assert zone["fault"]
    assert zone["faultReason"] == "out_of_range"
    assert zone["relaysNewer"]
    assert zone["temp_tenths"] == 300
    assert 30_000 <= zone["age"] < 32_000

    zone = await after(page, *events, ("telemetry", reading(NOW + 2, 299)))

    assert not zone["relaysNewer"]  # the reading is newer than the zone event


async def test_a_zone_event_ends_a_fault_although_no_reading_was_stored(
    page: Page, hello: dict[str, Any]
) -> None:
    fault = {"state": "FAULT", "sensor_ok": False}
    zone = await after(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, None, **fault)]}),
        ("zone", zone_event(NOW + 1)),
    )

    assert not zone["fault"]


async def test_a_replayed_zone_event_does_not_replace_the_relays_of_the_snapshot(
    page: Page, hello: dict[str, Any]
) -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW - 5, 300, **COOLING)]}),
        ("zone", zone_event(NOW - 9)),
    ]
    zone = await after(page, *events)
    assert zone["changed"] is None
    assert zone["cool_active"]

    # After the replay a zone event is applied whatever its timestamp, since clocks differ.
    zone = await after(
        page, *events, ("heartbeat", {"ts": NOW + 20_000}), ("zone", zone_event(NOW - 8))
    )

    assert not zone["cool_active"]


async def test_replaying_the_snapshots_reading_does_not_restore_its_relays(
    page: Page, hello: dict[str, Any]
) -> None:
    newest = reading(NOW - 20, 300, **COOLING)
    cut = {"state": "FAULT", "cool_active": False, "heat_active": False}
    zone = await after(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [newest | cut]}),
        ("telemetry", newest),
        ("zone", zone_event(NOW - 10, **cut)),
    )

    assert not zone["cool_active"]
    assert zone["fault"]
