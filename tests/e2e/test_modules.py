"""The page's own modules, run in the browser: what a whole page cannot show reliably."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.e2e.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = 1_790_000_000_000


@pytest.fixture
def hello() -> dict[str, Any]:
    return {"resume": "recovered", "ts": NOW, "heartbeat_s": 20}


def reading(timestamp: int, temp_tenths: int, **more: Any) -> dict[str, Any]:
    """A reading of the zone `office`, or its status in a snapshot."""
    return {
        "device_id": "office",
        "timestamp": timestamp,
        "temp_tenths": temp_tenths,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "state": "IDLE_WITH_LEDS",
        "cool_active": False,
        "heat_active": True,
        "sensor_ok": True,
    } | more


def setpoint(timestamp: int, tenths: int) -> dict[str, Any]:
    return {
        "device_id": "office",
        "setpoint_tenths": tenths,
        "deadband_tenths": 10,
        "updated_by": "somebody",
        "timestamp": timestamp,
    }


async def play(page: Page, *events: tuple[str, dict[str, Any]]) -> list[Any]:
    """After each event, the temperature and the setpoint that `office` stands at."""
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


@pytest_asyncio.fixture(loop_scope="session")
async def page(desk: Desk, site: str) -> Page:
    page = await desk.window()
    await page.goto(f"{site}/auth/login")
    return page


async def test_a_temperature_is_read_back_as_it_was_written(page: Page) -> None:
    wrong = await page.evaluate(
        """async () => {
          const { degrees, tenths } = await import("/static/units.js");
          const all = Array.from({ length: 1801 }, (_, i) => i - 550);
          return all.filter((t) => tenths(degrees(t)) !== t || tenths((t / 10).toFixed(1)) !== t);
        }"""
    )
    assert wrong == []


async def test_a_replayed_reading_does_not_take_a_zone_back(
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

    # Two readings share a millisecond with the snapshot's: the one before it and the one after.
    assert [temp for temp, _ in shown[3:]] == [203, 203, 203, 203, 204]


async def test_a_device_whose_clock_is_set_back_does_not_stand_still(
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


async def test_a_heartbeat_ends_the_wait_for_a_reading_that_never_comes(
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


async def test_a_reading_decided_before_a_new_setpoint_does_not_bring_the_old_one_back(
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

    # The last one heals a setpoint whose event was lost.
    assert shown[2:] == [[200, 260], [201, 260], [202, 255]]


async def test_a_snapshot_is_all_there_is(page: Page, hello: dict[str, Any]) -> None:
    shown = await play(
        page,
        ("hello", hello),
        ("snapshot", {"zones": [reading(NOW, 200)]}),
        ("hello", hello | {"resume": "reset"}),
        ("snapshot", {"zones": [reading(NOW, 210, device_id="another")]}),
    )

    assert shown[-1] is None
