"""The dashboard of zones that the server does not trust, or of a server that was lost.

The test writes the stream and, where it needs to, sets the clock.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.desk import Desk, card
from tests.e2e.looks import WEAKEST_CONTRAST, overflow
from tests.e2e.written_stream import begin, lose, send, send_snapshot
from tests.e2e.zone_events import COOLING, NOW, TRUSTED, reading, zone_event

pytestmark = pytest.mark.asyncio(loop_scope="session")

TITLE = "Building automation"
MINUTE_MS = 60_000
WELL = {"trust": TRUSTED, "received": NOW, "age_ms": 0}
OFF = {"cool_active": False, "heat_active": False, "state": "FAULT", "sensor_ok": False}

# State, reason, name of the state on the card, text on the card.
SUSPECT = [
    (
        "suspect",
        "jump",
        "In doubt",
        "jumped by more than 10.0 °C: it changes no relay until the next",
    ),
    ("suspect", "power_on", "In doubt", "85.0 °C is what a DS18B20 sensor sends right after power"),
    ("suspect", "implausible", "In doubt", "outside the range that is plausible for this site"),
    (
        "suspect",
        "two_sources",
        "In doubt",
        "Two devices at two addresses post as this zone by turns",
    ),
    ("suspect", "late", "Late dates", "dates are late: its readings are kept but do not control"),
    ("suspect", "a_new_one", "In doubt", "The readings are in doubt: a_new_one."),
    ("suspect", None, "In doubt", "The readings are in doubt."),
]
SILENT = [
    ("silent", "no_reading", "Silent", "sent nothing for three of its usual periods"),
]
STUCK = [
    ("stuck", "not_obeyed", "Not obeyed", "for 30 s or more that its relays are not as commanded"),
    ("stuck", "a_new_one", "Not obeyed", "The device does not obey: a_new_one."),
]
REFUSED = [
    ("refused", "DEVICE_KEY_REQUIRED", "Refused", "Give the device its key."),
    ("refused", "INVALID_DEVICE_KEY", "Refused", "their key is wrong"),
    ("refused", "DEVICE_MISMATCH", "Refused", "their key is that of another device"),
    ("refused", "DEVICE_LIMIT", "Refused", "as many zones as it may have. Register the device."),
    ("refused", "PAYLOAD_TOO_LARGE", "Refused", "posts are refused: PAYLOAD_TOO_LARGE."),
]
FAULTS = [
    ("fault", "untrusted", "Fault", "no reading was believed for a minute. Both relays are off."),
    ("fault", "no_value", "Sensor fault", "its sensor may be unplugged. Both relays are off."),
    ("fault", "out_of_range", "Sensor fault", "outside \N{MINUS SIGN}55.0 to 125.0 °C"),
    ("fault", "unreadable", "Device fault", "its message could not be read"),
]
DISTRUSTED = [*SUSPECT, *SILENT, *STUCK, *REFUSED, *FAULTS]
ANNOUNCED = {
    "In doubt": "the readings are in doubt",
    "Late dates": "the device's dates are late",
    "Silent": "the device is silent",
    "Not obeyed": "the device does not obey",
    "Refused": "the device's posts are refused",
    "Fault": "fault",
    "Sensor fault": "sensor fault",
    "Device fault": "device fault",
}
COUNTED = {
    "In doubt": "1 in doubt",
    "Late dates": "1 with late dates",
    "Silent": "1 silent",
    "Not obeyed": "1 not obeyed",
    "Refused": "1 refused",
    "Fault": "1 with a fault",
    "Sensor fault": "1 with a fault",
    "Device fault": "1 with a fault",
}


def trust(state: str, reason: str | None, since: int = NOW) -> dict[str, Any]:
    return {"state": state, "since": since, "reason": reason}


def relays(state: str) -> dict[str, Any]:
    """The control state that goes with a trust state: only a fault switches the relays off."""
    return {"state": "FAULT"} if state == "fault" else {"state": "IDLE_WITH_LEDS"}


@pytest_asyncio.fixture(loop_scope="session")
async def page(desk: Desk, site: str) -> Page:
    """A dashboard with one zone, `office`, that the server trusts."""
    page = await desk.window()
    await begin(page, site, reading(NOW, 200, **WELL))
    return page


@pytest_asyncio.fixture(loop_scope="session")
async def timed(desk: Desk, site: str) -> Page:
    """The same dashboard, with a clock at 14:13 UTC that the test can advance."""
    page = await desk.window(timezone_id="UTC", locale="en-GB")
    await page.clock.install(time=datetime.fromtimestamp(NOW / 1000, UTC))
    await begin(page, site, reading(NOW, 200, **WELL))
    return page


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def shared(browser: Browser, site: str) -> AsyncIterator[tuple[Desk, Page, Iterator[int]]]:
    """The same dashboard for several tests, and the times of its events; a page takes seconds."""
    desk = Desk(browser)
    page = await desk.window()
    await begin(page, site, reading(NOW, 200, **WELL))
    yield desk, page, count(NOW + 1)
    await desk.close()


@pytest.mark.parametrize(("state", "reason", "name", "words"), DISTRUSTED)
async def test_a_card_shows_why_its_zone_is_not_trusted(
    shared: tuple[Desk, Page, Iterator[int]],
    state: str,
    reason: str | None,
    name: str,
    words: str,
) -> None:
    desk, page, times = shared
    event = zone_event(next(times), trust=trust(state, reason), **relays(state))
    await send(page, "zone", event)

    office = card(page, "office")
    await expect(office.locator(".state")).to_have_text(name)
    await expect(office.locator(".why")).to_contain_text(words)
    await expect(page.locator("#announcer")).to_have_text(f"office: {ANNOUNCED[name]}.")
    await expect(page.locator("#summary")).to_have_text(f"1 zone · 0 cooling · {COUNTED[name]}")
    await expect(page).to_have_title(f"(1) {TITLE}")

    await send(page, "telemetry", reading(next(times), 200))
    await expect(page.locator("#announcer")).to_have_text("office: working again.")
    assert desk.complaints == []


async def test_a_zone_that_is_trusted_again_shows_its_control_state_again(
    page: Page,
) -> None:
    office = card(page, "office")
    await send(page, "telemetry", reading(NOW + 1, 400, trust=trust("suspect", "jump")))
    await expect(office.locator(".state")).to_have_text("In doubt")

    await send(page, "telemetry", reading(NOW + 2, 200))

    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(office.locator(".warning")).to_be_hidden()
    await expect(page.locator("#announcer")).to_have_text("office: working again.")
    await expect(page.locator("#summary")).to_have_text("1 zone · 0 cooling")
    await expect(page).to_have_title(TITLE)


async def test_a_snapshot_can_contain_a_zone_that_is_not_trusted(page: Page) -> None:
    refused = trust("refused", "DEVICE_KEY_REQUIRED")

    await send_snapshot(page, reading(NOW, 200, **WELL | {"trust": refused}))

    await expect(card(page, "office").locator(".state")).to_have_text("Refused")


async def test_a_card_shows_since_when_and_for_how_long_its_zone_is_not_trusted(
    timed: Page,
) -> None:
    silent = trust("silent", "no_reading", since=NOW - 10 * MINUTE_MS)

    await send(timed, "zone", zone_event(NOW + 1, trust=silent))

    since = card(timed, "office").locator(".since")
    await expect(since).to_have_text("Since 14:03, for 10 min")
    time = since.locator("time")
    await expect(time).to_have_attribute("datetime", "2026-09-21T14:03:20.000Z")
    await expect(time).to_have_attribute(
        "title", re.compile("Monday.* 21 September 2026.*14:03:20")
    )
    await timed.clock.fast_forward(2 * MINUTE_MS)
    await expect(since).to_have_text("Since 14:03, for 12 min")


async def test_a_card_shows_the_date_if_the_state_began_on_another_day(timed: Page) -> None:
    silent = trust("silent", "no_reading", since=NOW - 24 * 60 * MINUTE_MS)

    await send(timed, "zone", zone_event(NOW + 1, trust=silent))

    since = card(timed, "office").locator(".since")
    await expect(since).to_have_text("Since 20 Sept, 14:13, for 24 h")


async def test_relays_in_an_unknown_state_are_shown_as_not_confirmed(page: Page) -> None:
    silent = trust("silent", "no_reading")
    office = card(page, "office")

    await send(page, "zone", zone_event(NOW + 1, trust=silent, relays_known=False, **COOLING))

    await expect(office.locator(".cooler")).to_have_text("On, not confirmed")
    await expect(office.locator(".heat")).to_have_text("On, not confirmed")
    await send(page, "telemetry", reading(NOW + 2, 200))
    await expect(office.locator(".cooler")).to_have_text("Off")

    await send_snapshot(page, reading(NOW, 200, **WELL, relays_known=False))

    await expect(office.locator(".cooler")).to_have_text("Off, not confirmed")


async def test_the_readings_of_a_device_that_does_not_obey_do_not_confirm_its_relays(
    page: Page,
) -> None:
    stuck = trust("stuck", "not_obeyed")

    await send(page, "telemetry", reading(NOW + 1, 300, trust=stuck, **COOLING))

    await expect(card(page, "office").locator(".cooler")).to_have_text("On, not confirmed")


async def test_the_title_counts_problem_zones_and_the_summary_counts_them_by_kind(
    page: Page,
) -> None:
    zones = [
        reading(NOW, 200, **WELL | {"trust": trust(state, reason)}, device_id=f"zone {n}")
        for n, (state, reason) in enumerate(
            [
                ("ok", None),
                ("never", None),
                ("suspect", "jump"),
                ("suspect", "late"),
                ("silent", "no_reading"),
                ("silent", "no_reading"),
                ("stuck", "not_obeyed"),
                ("refused", "INVALID_DEVICE_KEY"),
                ("fault", "untrusted"),
            ]
        )
    ]

    await send_snapshot(page, *zones)

    await expect(page).to_have_title(f"(7) {TITLE}")
    await expect(page.locator("#summary")).to_have_text(
        "9 zones · 0 cooling · 1 with a fault · 1 refused · 1 not obeyed · 2 silent"
        " · 1 with late dates · 1 in doubt"
    )


async def test_a_tab_in_the_background_reports_a_problem_in_its_title(
    desk: Desk, site: str
) -> None:
    page = await desk.window()
    await begin(page, site, reading(NOW, 200, **WELL))
    await page.evaluate("window.requestAnimationFrame = () => 1")  # as in a background tab

    await send(page, "zone", zone_event(NOW + 1, trust=trust("silent", "no_reading")))

    await expect(page).to_have_title(f"(1) {TITLE}")
    await expect(card(page, "office").locator(".state")).to_have_text("Idle")


async def test_a_device_that_posts_every_ten_minutes_is_not_stale(timed: Page) -> None:
    office = card(timed, "office")

    for minute in range(1, 10):  # heartbeats keep the page live
        await timed.clock.fast_forward(20_000)
        await send(timed, "heartbeat", {"ts": NOW + minute * 20_000})
    await send(timed, "telemetry", reading(NOW + 1, 210, received=NOW - 9 * MINUTE_MS))

    await expect(office.locator(".age")).to_have_text("Last reading 12 min ago")
    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(office.locator(".warning")).to_be_hidden()
    await expect(timed).to_have_title(TITLE)


async def test_the_age_of_a_reading_counts_from_its_receipt(timed: Page) -> None:
    behind = reading(NOW - 5 * 60 * MINUTE_MS, 210, received=NOW - 30_000)

    await send(timed, "telemetry", behind)

    age = card(timed, "office").locator(".age")
    await expect(age).to_have_text("Last reading 30 s ago")
    await expect(age).to_have_attribute("title", "14:12:50")
    await send_snapshot(timed, behind | {"age_ms": 45_000, "trust": TRUSTED})
    await expect(age).to_have_text("Last reading 45 s ago")


async def test_a_zone_is_stale_ten_seconds_after_the_stream_is_lost(timed: Page) -> None:
    office = card(timed, "office")
    old = {"received": NOW - 9 * MINUTE_MS, "age_ms": 9 * MINUTE_MS}
    await send_snapshot(timed, reading(NOW + 1, 210, **WELL | old))
    await lose(timed)
    await timed.clock.fast_forward(5000)
    await expect(office.locator(".age")).to_contain_text("9 min")
    await expect(office.locator(".state")).to_have_text("Idle")

    await timed.clock.fast_forward(6000)

    await expect(office.locator(".state")).to_have_text("Stale")
    await expect(office.locator(".why")).to_have_text("No new readings: these values are old.")
    await expect(office.locator(".since")).to_be_hidden()
    await expect(timed).to_have_title(f"Not live \N{EN DASH} (1) {TITLE}")

    await send_snapshot(timed, reading(NOW + 1, 210, **WELL | old))

    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(timed).to_have_title(TITLE)


async def test_a_zone_of_a_server_without_trust_states_is_stale_after_ten_seconds(
    timed: Page,
) -> None:
    office = card(timed, "office")
    await send_snapshot(timed, reading(NOW, 200, received=NOW, age_ms=0))
    await timed.clock.fast_forward(8000)
    await expect(office.locator(".state")).to_have_text("Idle")

    await timed.clock.fast_forward(3000)

    await expect(office.locator(".state")).to_have_text("Stale")
    await expect(timed.locator("#summary")).to_have_text(
        "1 zone · 0 cooling · 1 without new readings"
    )
    await expect(timed).to_have_title(f"(1) {TITLE}")
    await expect(timed.locator("#announcer")).to_have_text("office: no new readings.")


def every_kind() -> list[dict[str, Any]]:
    """One zone for each state and reason, and one without a problem."""
    zones = [reading(NOW, 215, device_id="a well one", **WELL)]
    for state, reason, _, _ in DISTRUSTED:
        more = WELL | {"trust": trust(state, reason, since=NOW - 26 * 60 * MINUTE_MS)}
        more |= OFF if state == "fault" else COOLING
        more |= {"relays_known": state not in ("silent", "refused")}
        zones.append(reading(NOW, 215, device_id=f"{state} {reason}", **more))
    return zones


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_each_problem_has_enough_contrast_and_fits_a_small_phone(
    desk: Desk, site: str, scheme: str
) -> None:
    page = await desk.window(color_scheme=scheme, viewport={"width": 320, "height": 640})

    await begin(page, site, *every_kind())

    await expect(page.locator(".warning:visible")).to_have_count(len(DISTRUSTED))
    await expect(page.locator(".since:visible")).to_have_count(len(DISTRUSTED))
    assert await page.evaluate(WEAKEST_CONTRAST) >= 4.5
    assert await overflow(page) <= 0
